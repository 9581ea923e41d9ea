//! Whom we believe: the certificates that `authenticate` names, and what these have signed.
//!
//! A certificate counts when it is listed, byte for byte, or when a listed authority signed it. The
//! first is what OpenSSL makes of a self-signed certificate in its store, whatever it says of being
//! an authority; the strict library beneath us knows only the second. That the peer has the key of
//! the certificate is not asked here: the handshake's signature is verified in either case.

use std::collections::HashMap;
use std::path::Path;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};

use super::error::TlsError;
use super::facts::{Age, Facts, Purpose, fingerprint, print_fingerprint};
use super::files::{certificates, read_sections, trusted_files};
use super::provider;

/// Certificates that are believed.
pub(super) struct Trust {
    listed: HashMap<Vec<u8>, Facts>,
    authorities: Vec<(Facts, TrustAnchor<'static>)>,
    revoked: Vec<CertRevocationList<'static>>,
}

impl Trust {
    /// What a file or a directory has.
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let mut trust = Self::empty();
        for file in trusted_files(path)? {
            let sections = read_sections(&file)?;
            let wrong = |what: String| TlsError::File {
                path: file.clone(),
                what,
            };
            for certificate in certificates(&sections) {
                trust.add(&certificate).map_err(wrong)?;
            }
            for list in sections
                .iter()
                .filter(|section| section.label == "X509 CRL")
            {
                let list = OwnedCertRevocationList::from_der(&list.der)
                    .map_err(|error| wrong(format!("a list of revoked certificates: {error}")))?;
                trust.revoked.push(list.into());
            }
        }
        if trust.listed.is_empty() {
            return Err(TlsError::File {
                path: path.to_owned(),
                what: "there is no certificate in it".to_owned(),
            });
        }
        Ok(trust)
    }

    /// What the system believes.
    pub(super) fn of_the_system() -> Self {
        let mut trust = Self::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // Old ones that we cannot read are of no use to anybody.
            let _unreadable = trust.add(&certificate).is_err();
        }
        trust
    }

    /// This one alone.
    pub(super) fn of(certificate: &CertificateDer<'static>) -> Result<Self, String> {
        let mut trust = Self::empty();
        trust.add(certificate)?;
        Ok(trust)
    }

    fn empty() -> Self {
        Self {
            listed: HashMap::new(),
            authorities: Vec::new(),
            revoked: Vec::new(),
        }
    }

    fn add(&mut self, certificate: &CertificateDer<'static>) -> Result<(), String> {
        let facts = Facts::read(certificate)?;
        if facts.is_authority {
            let anchor = anchor_from_trusted_cert(certificate)
                .map_err(|error| format!("it is no certificate that we understand ({error})"))?;
            self.authorities.push((facts.clone(), anchor.to_owned()));
        }
        self.listed.insert(certificate.to_vec(), facts);
        Ok(())
    }

    /// How many certificates are listed.
    pub(super) fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether a peer's certificate is believed.
    pub(super) fn check(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), CertificateError> {
        let checked = match self.listed.get(shown.as_ref()) {
            Some(facts) => self.check_listed(facts, shown, now, purpose),
            None => self.check_signed(shown, between, now, purpose),
        };
        if let Err(error) = &checked {
            let subject = Facts::read(shown).ok().and_then(|facts| facts.common_name);
            let subject = subject.as_deref().unwrap_or("-");
            let sha256 = print_fingerprint(&fingerprint(shown));
            tracing::info!(subject, sha256, ?error, "refused a certificate");
        }
        checked
    }

    fn check_listed(
        &self,
        facts: &Facts,
        shown: &CertificateDer<'_>,
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), CertificateError> {
        match facts.age(now) {
            Age::Young => return Err(CertificateError::NotValidYet),
            Age::Expired => return Err(CertificateError::Expired),
            Age::Valid => {}
        }
        if !facts.is_for(purpose) {
            return Err(CertificateError::InvalidPurpose);
        }
        let shown = EndEntityCert::try_from(shown).map_err(translate)?;
        for list in &self.revoked {
            if list.issuer() == shown.issuer()
                && list
                    .find_serial(shown.serial())
                    .map_err(translate)?
                    .is_some()
            {
                return Err(CertificateError::Revoked);
            }
        }
        Ok(())
    }

    fn check_signed(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), CertificateError> {
        let shown = EndEntityCert::try_from(shown).map_err(translate)?;
        // The library does not ask how old an authority is, nor what it is for.
        let authorities: Vec<_> = self
            .authorities
            .iter()
            .filter(|(facts, _)| facts.age(now) == Age::Valid)
            .map(|(_, anchor)| anchor.clone())
            .collect();
        let usage = match purpose {
            Purpose::Client => KeyUsage::client_auth(),
            Purpose::Server => KeyUsage::server_auth(),
        };
        let lists: Vec<_> = self.revoked.iter().collect();
        // As the original asks: where there are lists, one must speak of the certificate's issuer.
        let revocation = RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|builder| builder.with_depth(RevocationCheckDepth::EndEntity).build());
        let algorithms = provider().signature_verification_algorithms.all;
        shown
            .verify_for_usage(
                algorithms,
                &authorities,
                between,
                now,
                usage,
                revocation,
                None,
            )
            .map(drop)
            .map_err(translate)
    }

    /// Whether a server's certificate is one of this host.
    ///
    /// As in Python, the common name stands in where the certificate has no list of names; here
    /// only if the certificate itself is listed, for an authority vouches for lists.
    pub(super) fn check_host(
        &self,
        shown: &CertificateDer<'_>,
        host: &ServerName<'_>,
    ) -> Result<(), CertificateError> {
        if let Some(facts) = self.listed.get(shown.as_ref())
            && !facts.has_host_names
            && let (Some(common_name), ServerName::DnsName(host)) = (&facts.common_name, host)
        {
            let is_it = common_name.eq_ignore_ascii_case(host.as_ref());
            return is_it.then_some(()).ok_or(CertificateError::NotValidForName);
        }
        let shown = EndEntityCert::try_from(shown).map_err(translate)?;
        shown
            .verify_is_valid_for_subject_name(host)
            .map_err(translate)
    }
}

/// The alert that is sent depends on this.
#[allow(clippy::needless_pass_by_value, reason = "fits map_err")]
fn translate(error: webpki::Error) -> CertificateError {
    use webpki::Error;
    match error {
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateError::BadEncoding,
        Error::CertExpired { .. } | Error::InvalidCertValidity => CertificateError::Expired,
        Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Error::CertRevoked => CertificateError::Revoked,
        Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        // An authority's own certificate that is not listed.
        Error::UnknownIssuer | Error::CaUsedAsEndEntity => CertificateError::UnknownIssuer,
        Error::CertNotValidForName(_) => CertificateError::NotValidForName,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Error::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        other => CertificateError::Other(rustls::OtherError(std::sync::Arc::new(other))),
    }
}
