//! The flags of tools that speak TLS with a storage server.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use zeo_net::{KeyPassword, TlsClientOptions};

/// The keys `tls-...` of `[publish]`, as flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS, as in [publish] of zodiac.toml")]
pub(crate) struct TlsArguments {
    /// The certificate to show, in PEM: speak TLS
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// Its key [default: in the file of the certificate]
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The file whose first line is the key's password
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_password_file: Option<PathBuf>,
    /// A shell command that prints the key's password
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "tls_certificate",
        conflicts_with = "tls_password_file"
    )]
    tls_password_command: Option<String>,
    /// The server's certificate, or its authority's: a file or a directory [default: what the system trusts]
    #[arg(long, value_name = "PATH", requires = "tls_certificate")]
    tls_authenticate: Option<PathBuf>,
    /// The host that the server's certificate must be for [default: the host in its address]
    #[arg(long, value_name = "HOST", requires = "tls_certificate")]
    tls_server_hostname: Option<String>,
    /// Whether the server's certificate must be for its host at all [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, requires = "tls_certificate")]
    tls_check_hostname: Option<bool>,
}

impl TlsArguments {
    /// How to speak TLS, if at all.
    pub(crate) fn options(&self) -> Option<TlsClientOptions> {
        let password = match (&self.tls_password_file, &self.tls_password_command) {
            (Some(file), _) => Some(KeyPassword::File(file.clone())),
            (None, command) => command.clone().map(KeyPassword::Command),
        };
        Some(TlsClientOptions {
            certificate: self.tls_certificate.clone()?,
            key: self.tls_key.clone(),
            password,
            authenticate: self.tls_authenticate.clone(),
            check_hostname: self.tls_check_hostname.unwrap_or(true),
            server_hostname: self.tls_server_hostname.clone(),
        })
    }
}
