//! The keys `tls-...` of `[zeo]` and `[publish]`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use zeo_net::{KeyPassword, TlsClientOptions, TlsServerOptions};

use super::{Config, Publish, Zeo};

impl Zeo {
    /// How the server speaks TLS, if it does.
    pub(crate) fn tls(&self) -> Option<TlsServerOptions> {
        let certificate = given(&self.tls_certificate)?;
        Some(TlsServerOptions {
            key: given(&self.tls_key),
            password: self.tls_password(),
            rights: self.client_rights(),
            ..TlsServerOptions::new(certificate, &self.tls_authenticate)
        })
    }

    /// Where the password of the server's key is.
    pub(crate) fn tls_password(&self) -> Option<KeyPassword> {
        password(&self.tls_password_file, &self.tls_password_command)
    }
}

impl Publish {
    /// How the publisher speaks TLS with the storage server, if it does.
    pub(crate) fn tls(&self) -> Option<TlsClientOptions> {
        let certificate = given(&self.tls_certificate)?;
        Some(TlsClientOptions {
            certificate,
            key: given(&self.tls_key),
            password: password(&self.tls_password_file, &self.tls_password_command),
            authenticate: given(&self.tls_authenticate),
            check_hostname: self.tls_check_hostname,
            server_hostname: Some(self.tls_server_hostname.clone()).filter(|name| !name.is_empty()),
        })
    }
}

fn given(path: &Path) -> Option<PathBuf> {
    Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty())
}

fn password(file: &Path, command: &str) -> Option<KeyPassword> {
    match given(file) {
        Some(file) => Some(KeyPassword::File(file)),
        None if command.is_empty() => None,
        None => Some(KeyPassword::Command(command.to_owned())),
    }
}

/// Keys that go together. What is in the files is looked at by those who use them.
pub(super) fn check(config: &Config) -> Result<()> {
    let (zeo, publish) = (&config.zeo, &config.publish);
    let has_certificate = given(&zeo.tls_certificate).is_some();
    let has_clients = given(&zeo.tls_authenticate).is_some();
    if has_certificate && !has_clients {
        bail!(
            "zeo.tls-authenticate: say whose certificates are accepted, where there is a \
            zeo.tls-certificate"
        );
    }
    if has_clients && !has_certificate {
        // It must not look as if clients were authenticated when they are not.
        bail!("zeo.tls-certificate: clients are authenticated by TLS only, and it needs this one");
    }
    if given(&publish.tls_authenticate).is_some() && given(&publish.tls_certificate).is_none() {
        bail!("publish.tls-certificate: a storage server with TLS wants to see one");
    }
    for (section, file, command) in [
        ("zeo", &zeo.tls_password_file, &zeo.tls_password_command),
        (
            "publish",
            &publish.tls_password_file,
            &publish.tls_password_command,
        ),
    ] {
        if given(file).is_some() && !command.is_empty() {
            bail!("{section}.tls-password-command: there is a tls-password-file already");
        }
    }
    Ok(())
}
