//! Failures of the TLS library in plain words, for logs.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a connection was not made, or ended.
pub(super) fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(error) => explain_tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection during the handshake; it may not believe our certificate"
                .to_owned()
        }
        None => error.to_string(),
    }
}

fn explain_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(reason) => explain_certificate(reason),
        Error::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        Error::AlertReceived(alert) if is_of_certificates(*alert) => {
            format!("the peer refused our certificate ({alert:?})")
        }
        Error::AlertReceived(alert) => format!("the peer broke off ({alert:?})"),
        other => other.to_string(),
    }
}

fn explain_certificate(reason: &CertificateError) -> String {
    let text = match reason {
        CertificateError::UnknownIssuer => {
            "the peer's certificate is neither listed nor signed by a listed authority"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the peer's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet"
        }
        CertificateError::Revoked => "the peer's certificate is revoked",
        CertificateError::UnknownRevocationStatus => {
            "there is no list of revoked certificates of the issuer of the peer's certificate"
        }
        CertificateError::ExpiredRevocationList => "the list of revoked certificates has expired",
        CertificateError::InvalidPurpose => "the peer's certificate is not for this purpose",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another host name"
        }
        other => return format!("the peer's certificate is refused: {other}"),
    };
    text.to_owned()
}

fn is_of_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::NoCertificate
    )
}
