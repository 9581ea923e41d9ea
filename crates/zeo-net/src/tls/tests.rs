//! Whom we believe, at which time, and keys with passwords.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::facts::{Purpose, fingerprint, print_fingerprint};
use super::key::KeyPassword;
use super::trust::Trust;
use super::{TlsClientOptions, TlsError, TlsServerOptions, own_certificate};

/// In 2030, when everything here is valid that is not said to be old or young.
const NOW: Duration = Duration::from_secs(1_900_000_000);
const CLIENT: Purpose = Purpose::Client;

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(NOW)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn self_signed(params: &CertificateParams) -> Certificate {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::with(params("authority"))
    }

    fn with(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn sign(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap()
    }
}

/// Believes what these PEM texts have.
fn trust(texts: &[String]) -> Trust {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trusted.pem");
    fs::write(&file, texts.concat()).unwrap();
    Trust::read(&file).unwrap()
}

fn check(
    trust: &Trust,
    shown: &CertificateDer<'_>,
    purpose: Purpose,
) -> Result<(), CertificateError> {
    trust.check(shown, &[], now(), purpose)
}

#[test]
fn a_listed_certificate_is_believed_whatever_it_says_of_being_an_authority() {
    let plain = self_signed(&params("client"));
    let mut as_openssl_makes_them = params("client");
    as_openssl_makes_them.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = self_signed(&as_openssl_makes_them);
    let trust = trust(&[plain.pem(), authority.pem()]);
    check(&trust, plain.der(), CLIENT).unwrap();
    check(&trust, authority.der(), CLIENT).unwrap();
    check(&trust, authority.der(), Purpose::Server).unwrap();
}

#[test]
fn who_is_not_listed_is_not_believed_whatever_the_name() {
    let listed = self_signed(&params("client"));
    let trust = trust(&[listed.pem()]);
    let namesake = self_signed(&params("client"));
    let refused = check(&trust, namesake.der(), CLIENT);
    assert_eq!(refused, Err(CertificateError::UnknownIssuer));
    let mut authority = params("client");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let refused = check(&trust, self_signed(&authority).der(), CLIENT);
    assert_eq!(refused, Err(CertificateError::UnknownIssuer));
}

#[test]
fn an_authority_vouches_for_what_it_signed_and_a_client_for_nothing() {
    let authority = Authority::new();
    let client = authority.sign(&params("client"));
    check(&trust(&[authority.certificate.pem()]), client.der(), CLIENT).unwrap();
    // A listed client that signs: its certificate is none of an authority.
    let key = KeyPair::generate().unwrap();
    let listed = params("client");
    let listed_certificate = listed.self_signed(&key).unwrap();
    let forged = Authority {
        certificate: listed_certificate,
        issuer: Issuer::new(listed, key),
    };
    let shown = forged.sign(&params("another"));
    let refused = check(&trust(&[forged.certificate.pem()]), shown.der(), CLIENT);
    assert_eq!(refused, Err(CertificateError::UnknownIssuer));
}

#[test]
fn the_time_counts_for_clients_and_authorities() {
    let mut old = params("client");
    old.not_after = date_time_ymd(2025, 1, 1);
    let mut young = params("client");
    young.not_before = date_time_ymd(2035, 1, 1);
    let (old_client, young_client) = (self_signed(&old), self_signed(&young));
    let listed = trust(&[old_client.pem(), young_client.pem()]);
    let refused = check(&listed, old_client.der(), CLIENT);
    assert_eq!(refused, Err(CertificateError::Expired));
    let refused = check(&listed, young_client.der(), CLIENT);
    assert_eq!(refused, Err(CertificateError::NotValidYet));

    let authority = Authority::with(old);
    let signed = authority.sign(&params("client"));
    let refused = check(&trust(&[authority.certificate.pem()]), signed.der(), CLIENT);
    assert_eq!(refused, Err(CertificateError::UnknownIssuer));
}

#[test]
fn a_certificate_for_servers_makes_no_client() {
    let mut params = params("server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let authority = Authority::new();
    let (listed, signed) = (self_signed(&params), authority.sign(&params));
    let trust = trust(&[listed.pem(), authority.certificate.pem()]);
    for shown in [listed, signed] {
        check(&trust, shown.der(), Purpose::Server).unwrap();
        let refused = check(&trust, shown.der(), CLIENT);
        assert_eq!(refused, Err(CertificateError::InvalidPurpose));
    }
}

#[test]
fn who_is_revoked_is_refused_listed_or_not() {
    let mut of_authority = params("authority");
    of_authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = Authority::with(of_authority);
    let client = |serial: u64| {
        let mut params = params("client");
        params.serial_number = Some(SerialNumber::from(serial));
        authority.sign(&params)
    };
    let (good, bad, bad_and_listed) = (client(1), client(2), client(3));
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2029, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 1, 1),
        next_update: date_time_ymd(2039, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked(2), revoked(3)],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority.issuer).unwrap().pem().unwrap();
    let trust = trust(&[authority.certificate.pem(), bad_and_listed.pem(), list]);
    check(&trust, good.der(), CLIENT).unwrap();
    for shown in [bad, bad_and_listed] {
        let refused = check(&trust, shown.der(), CLIENT);
        assert_eq!(refused, Err(CertificateError::Revoked));
    }
}

#[test]
fn a_server_has_the_names_in_its_list_or_its_common_name() {
    let host = |name: &'static str| ServerName::try_from(name).unwrap();
    let common = self_signed(&params("zodb.org"));
    let mut with_list = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    with_list.distinguished_name = params("zodb.org").distinguished_name;
    let list = self_signed(&with_list);
    let authority = Authority::new();
    let signed = authority.sign(&params("zodb.org"));
    let trust = trust(&[common.pem(), list.pem(), authority.certificate.pem()]);
    trust.check_host(common.der(), &host("ZODB.org")).unwrap();
    trust.check_host(list.der(), &host("a.example")).unwrap();
    for (shown, name) in [
        (&common, "b.example"),
        (&common, "127.0.0.1"),
        // Where there is a list of names, only that counts.
        (&list, "zodb.org"),
        (&signed, "zodb.org"),
    ] {
        let refused = trust.check_host(shown.der(), &host(name));
        assert_eq!(refused, Err(CertificateError::NotValidForName), "{name}");
    }
}

#[test]
fn a_fingerprint_is_the_one_that_openssl_prints() {
    let pem = fs::read(data("certificate.pem")).unwrap();
    let sections = super::pem::sections(&pem).unwrap();
    let printed = print_fingerprint(&fingerprint(&sections[0].der));
    assert_eq!(
        printed,
        include_str!("../../tests/data/tls/fingerprint").trim()
    );
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/tls")
        .join(name)
}

const LOCKED: [&str; 4] = [
    "key-pbes2-aes.pem",
    "key-pbes2-des3.pem",
    "key-openssl-aes.pem",
    "key-openssl-des3.pem",
];

fn unlock(key: &str, password: Option<KeyPassword>) -> Result<(), TlsError> {
    let certificate = data("certificate.pem");
    own_certificate(&certificate, Some(&data(key)), password.as_ref()).map(drop)
}

#[test]
fn a_password_from_a_file_or_a_command_unlocks_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "zeo\r\nmore").unwrap();
    for key in LOCKED {
        unlock(key, Some(KeyPassword::File(file.clone()))).unwrap();
        unlock(key, Some(KeyPassword::Command("echo zeo".to_owned()))).unwrap();
    }
}

#[test]
fn without_the_right_password_a_key_stays_locked() {
    let error = |key, command: &str| {
        let password = KeyPassword::Command(command.to_owned());
        unlock(key, Some(password)).unwrap_err().to_string()
    };
    for key in LOCKED {
        let wrong = error(key, "echo ZEO");
        // By chance the padding of garbage is right once in a while; the key is none then.
        assert!(wrong.contains("is the password right?"), "{wrong}");
        let missing = unlock(key, None).unwrap_err().to_string();
        assert!(missing.contains("it needs a password"), "{missing}");
    }
    let failed = error(LOCKED[0], "echo zeo; exit 3");
    assert!(
        failed.contains("it failed") && failed.contains('3'),
        "{failed}"
    );
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let key = KeyPair::generate().unwrap();
    let certificate = params("server").self_signed(&key).unwrap();
    let both = certificate.pem() + &key.serialize_pem();
    fs::write(path("both.pem"), both).unwrap();
    fs::write(path("certificate.pem"), certificate.pem()).unwrap();
    fs::write(
        path("other.pem"),
        KeyPair::generate().unwrap().serialize_pem(),
    )
    .unwrap();
    fs::write(path("empty.pem"), "nothing").unwrap();
    let options = |certificate: &str, authenticate: &str| {
        TlsServerOptions::new(path(certificate), path(authenticate))
    };
    options("both.pem", "certificate.pem").check().unwrap();
    let error = |options: TlsServerOptions| options.check().unwrap_err().to_string();
    let missing = error(options("missing.pem", "both.pem"));
    assert!(missing.contains("missing.pem: No such file"), "{missing}");
    let keyless = error(options("certificate.pem", "both.pem"));
    assert!(keyless.contains("there is none in this file"), "{keyless}");
    let empty = error(options("both.pem", "empty.pem"));
    assert!(empty.contains("there is no certificate"), "{empty}");
    let mut mismatched = options("certificate.pem", "both.pem");
    mismatched.key = Some(path("other.pem"));
    let mismatched = error(mismatched);
    assert!(mismatched.contains("KeyMismatch"), "{mismatched}");
    for word in ["DYNAMIC", "SIGNED"] {
        let mut options = options("both.pem", "both.pem");
        options.authenticate = word.into();
        let refused = error(options);
        assert!(
            refused.starts_with(&format!("authenticate {word}: ")),
            "{refused}"
        );
    }
    let mut client = TlsClientOptions::new(path("both.pem"), path("certificate.pem"));
    client.check().unwrap();
    client.server_hostname = Some("no name".to_owned());
    let unnamed = client.check().unwrap_err().to_string();
    assert!(unnamed.contains("\"no name\" is neither"), "{unnamed}");
}
