//! Why TLS cannot be had with what was configured.

use std::io;
use std::path::PathBuf;

/// What is wrong with certificates, keys or their files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {what}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A private key cannot be used.
    #[error("the private key in {path}: {what}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The command for the password of a key failed.
    #[error("the command for the key's password, {command:?}: {what}")]
    Command {
        /// The command.
        command: String,
        /// What is wrong.
        what: String,
    },
    /// A word that stands for no file.
    #[error("authenticate {word}: {what}")]
    Word {
        /// The word.
        word: &'static str,
        /// Why it is refused.
        what: &'static str,
    },
    /// Certificates and keys that do not work together.
    #[error("{path}: {source}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
    /// A certificate cannot be made.
    #[error("no certificate can be made for {name:?}: {what}")]
    Certify {
        /// Whom it should have been for.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The server's host name is no name.
    #[error("{name:?} is neither a host name nor an address that a certificate could have")]
    Name {
        /// What was given.
        name: String,
    },
}
