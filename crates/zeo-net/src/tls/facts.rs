//! What a certificate says of itself, as far as the TLS library does not tell.

use std::fmt::Write;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Client,
    Server,
}

/// What counts of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) not_before: Duration,
    pub(super) not_after: Duration,
    /// Whether it may sign others.
    pub(super) is_authority: bool,
    for_clients: bool,
    for_servers: bool,
    pub(super) common_name: Option<String>,
    /// Whether it has a list of host names, so that its common name is none.
    pub(super) has_host_names: bool,
    /// Those of the list that are no addresses.
    pub(super) dns_names: Vec<String>,
}

/// Where in its time a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Young,
    Valid,
    Expired,
}

impl Facts {
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        read(der).map_err(|error| format!("it is no certificate that we understand ({error})"))
    }

    /// Since 1970.
    pub(super) fn not_after(&self) -> Duration {
        self.not_after
    }

    pub(super) fn age(&self, now: UnixTime) -> Age {
        let now = Duration::from_secs(now.as_secs());
        if now < self.not_before {
            Age::Young
        } else if now > self.not_after {
            Age::Expired
        } else {
            Age::Valid
        }
    }

    pub(super) fn is_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Client => self.for_clients,
            Purpose::Server => self.for_servers,
        }
    }
}

fn read(der: &[u8]) -> Result<Facts, x509_cert::der::Error> {
    let certificate = CertificateInner::<Raw>::from_der(der)?;
    let body = certificate.tbs_certificate();
    let constraints = body.get_extension::<BasicConstraints>()?;
    let usage = body.get_extension::<KeyUsage>()?.map(|(_, usage)| usage);
    let extended = body.get_extension::<ExtendedKeyUsage>()?;
    let names = body.get_extension::<SubjectAltName>()?;
    // As OpenSSL judges: what is not restricted is allowed.
    let extends_to = |purpose| {
        extended
            .as_ref()
            .is_none_or(|(_, ExtendedKeyUsage(purposes))| purposes.contains(&purpose))
    };
    let may = |allowed: fn(&KeyUsage) -> bool| usage.as_ref().is_none_or(allowed);
    let is_host_name =
        |name: &GeneralName| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_));
    Ok(Facts {
        not_before: body.validity().not_before.to_unix_duration(),
        not_after: body.validity().not_after.to_unix_duration(),
        is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca)
            && may(KeyUsage::key_cert_sign),
        for_clients: extends_to(ID_KP_CLIENT_AUTH)
            && may(|usage| usage.digital_signature() || usage.key_agreement()),
        for_servers: extends_to(ID_KP_SERVER_AUTH)
            && may(|usage| {
                usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
            }),
        common_name: body
            .subject()
            .common_name()?
            .map(|name| name.value().into_owned()),
        has_host_names: names
            .as_ref()
            .is_some_and(|(_, names)| names.0.iter().any(is_host_name)),
        dns_names: names
            .iter()
            .flat_map(|(_, names)| &names.0)
            .filter_map(dns_name)
            .collect(),
    })
}

fn dns_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` computes it.
pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// As tools print it: `EA:7E:...`.
pub(super) fn print_fingerprint(fingerprint: &[u8; 32]) -> String {
    let mut text = String::new();
    for byte in fingerprint {
        let separator = if text.is_empty() { "" } else { ":" };
        // A String takes everything.
        let _written = write!(text, "{separator}{byte:02X}");
    }
    text
}
