//! Making certificates: a private authority, and what it signs.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::UnixTime;

use super::error::TlsError;
use super::facts::{Facts, Purpose, fingerprint, print_fingerprint};
use super::trust::Trust;
use super::{files, own_certificate};

/// A private authority: it signs certificates for one cluster, and nobody else believes it.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    trust: Trust,
    not_after: Duration,
}

/// A certificate that was made, with its key.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its private key, in PEM, without a password.
    pub key: String,
    /// The SHA-256 of the certificate.
    pub fingerprint: String,
    /// When it ends, since 1970.
    pub not_after: Duration,
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder<'a> {
    /// A server with these names and addresses.
    Server(&'a [String]),
    /// A client.
    Client,
}

/// Clocks may differ by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// The longest common name that other programs take.
pub const COMMON_NAME_CHARS_MAX: usize = 64;

impl Authority {
    /// A new authority, and its own certificate.
    ///
    /// # Errors
    /// When the name cannot be one, or the system gives no random numbers.
    pub fn make(
        name: &str,
        now: Duration,
        not_after: Duration,
    ) -> Result<(Self, Certified), TlsError> {
        let wrong = |error: rcgen::Error| failed(name, &error.to_string());
        let key = KeyPair::generate().map_err(wrong)?;
        let mut params = named(name, now, not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(wrong)?;
        let made = certified(&certificate, &key, not_after);
        let trust = Trust::of(certificate.der()).map_err(|error| failed(name, &error))?;
        let authority = Self {
            params,
            key,
            trust,
            not_after,
        };
        Ok((authority, made))
    }

    /// The authority that was made before.
    ///
    /// # Errors
    /// When the files are not those of one that [`make`](Self::make) made.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let wrong = |path: &Path, what: &str| TlsError::File {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        // Whether both belong together.
        own_certificate(certificate, Some(&key.to_owned()), None)?;
        let shown = files::certificates(&files::read_sections(certificate)?);
        let [shown] = &shown[..] else {
            return Err(wrong(certificate, "there must be one certificate in it"));
        };
        let facts = Facts::read(shown).map_err(|what| wrong(certificate, &what))?;
        let Some(name) = facts.common_name.as_deref().filter(|_| facts.is_authority) else {
            return Err(wrong(
                certificate,
                "this is the certificate of no authority",
            ));
        };
        let text = String::from_utf8(files::read(key)?).unwrap_or_default();
        let pair = KeyPair::from_pem(&text).map_err(|_| {
            wrong(
                key,
                "not the key of an authority that was made by this command",
            )
        })?;
        let mut params = named(name, facts.not_before, facts.not_after)?;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            params,
            key: pair,
            trust: Trust::of(shown).map_err(|what| wrong(certificate, &what))?,
            not_after: facts.not_after,
        })
    }

    /// When the authority's own certificate ends, since 1970: what it signs is worth nothing then.
    pub fn not_after(&self) -> Duration {
        self.not_after
    }

    /// Signs a new certificate.
    ///
    /// # Errors
    /// When a name cannot be one, or a certificate so made would not be believed: when the authority
    /// is another's, or has ended.
    pub fn certify(
        &self,
        name: &str,
        holder: Holder<'_>,
        now: Duration,
        not_after: Duration,
    ) -> Result<Certified, TlsError> {
        let wrong = |error: rcgen::Error| failed(name, &error.to_string());
        let key = KeyPair::generate().map_err(wrong)?;
        let mut params = named(name, now, not_after)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let (usage, purpose) = match holder {
            Holder::Server(hosts) => {
                let names = CertificateParams::new(hosts.to_vec()).map_err(wrong)?;
                params.subject_alt_names = names.subject_alt_names;
                (ExtendedKeyUsagePurpose::ServerAuth, Purpose::Server)
            }
            Holder::Client => (ExtendedKeyUsagePurpose::ClientAuth, Purpose::Client),
        };
        params.extended_key_usages = vec![usage];
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
        let now = UnixTime::since_unix_epoch(now);
        self.trust
            .check(certificate.der(), &[], now, purpose)
            .map_err(|error| failed(name, &format!("it would not be believed: {error}")))?;
        Ok(certified(&certificate, &key, not_after))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn failed(name: &str, what: &str) -> TlsError {
    TlsError::Certify {
        name: name.to_owned(),
        what: what.to_owned(),
    }
}

fn named(name: &str, now: Duration, not_after: Duration) -> Result<CertificateParams, TlsError> {
    let length = name.chars().count();
    if length == 0 || length > COMMON_NAME_CHARS_MAX {
        let what = format!("a name has 1 to {COMMON_NAME_CHARS_MAX} characters");
        return Err(failed(name, &what));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    let end = epoch.checked_add(not_after.try_into().map_err(|_| failed(name, TOO_LATE))?);
    params.not_after = end.ok_or_else(|| failed(name, TOO_LATE))?;
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    Ok(params)
}

const TOO_LATE: &str = "no certificate lasts so long";

fn certified(certificate: &rcgen::Certificate, key: &KeyPair, not_after: Duration) -> Certified {
    Certified {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        fingerprint: print_fingerprint(&fingerprint(certificate.der())),
        not_after,
    }
}

/// Whether a server's certificate may have this name: a host name, or an address.
pub fn is_host_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || rustls::pki_types::DnsName::try_from(name).is_ok()
}
