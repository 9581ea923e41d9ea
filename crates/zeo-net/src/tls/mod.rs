//! TLS between a server and its clients: certificates on both sides, as the original configures it.

mod authority;
mod client;
mod error;
mod expiry;
mod explain;
mod facts;
mod files;
mod key;
mod pem;
mod rights;
mod server;
mod stream;
mod trust;
mod verifier;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

pub use self::authority::{Authority, COMMON_NAME_CHARS_MAX, Certified, Holder, is_host_name};
pub use self::client::TlsClientOptions;
pub(crate) use self::client::{TlsLink, handshake};
pub use self::error::TlsError;
pub use self::expiry::CERTIFICATE_EXPIRES_SOON;
pub use self::key::KeyPassword;
pub use self::rights::{ClientName, ClientRights, ClientRule, Fingerprint};
pub use self::server::TlsServerOptions;
pub(crate) use self::server::{Guest, TlsServer};
pub use self::stream::TlsStream;

/// The cryptography: one for the whole process, whatever others install as their default.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

/// The certificate that we show, with its key: both may be in one file.
fn own_certificate(
    certificate: &Path,
    key: Option<&PathBuf>,
    password: Option<&KeyPassword>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let sections = files::read_sections(certificate)?;
    let chain = files::certificates(&sections);
    if chain.is_empty() {
        return Err(TlsError::File {
            path: certificate.to_owned(),
            what: "there is no certificate in it".to_owned(),
        });
    }
    let key = match key {
        Some(path) => key::private_key(path, files::read_sections(path)?, password)?,
        None => key::private_key(certificate, sections, password)?,
    };
    let certified = CertifiedKey::from_der(chain, key, provider());
    certified
        .map(Arc::new)
        .map_err(|source| TlsError::Unusable {
            path: certificate.to_owned(),
            source,
        })
}
