//! Private keys, and the passwords that some of them need.

use std::fmt::Debug;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use md5::{Digest, Md5};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::PrivateKeyDer;

use super::error::TlsError;
use super::files::read;
use super::pem::Section;

/// Where the password of a private key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPassword {
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a shell command prints.
    Command(String),
}

/// How long the command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest password.
const PASSWORD_BYTES_MAX: u64 = 4 << 10;

impl KeyPassword {
    fn read(&self) -> Result<Vec<u8>, TlsError> {
        let text = match self {
            Self::File(path) => read(path)?,
            Self::Command(command) => run(command).map_err(|what| TlsError::Command {
                command: command.clone(),
                what,
            })?,
        };
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
    }
}

/// What a shell command prints.
fn run(command: &str) -> Result<Vec<u8>, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run it: {error}"))?;
    let stdout = child.stdout.take();
    let (say, said) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map(|out| out.take(PASSWORD_BYTES_MAX).read_to_end(&mut text));
        // Nobody listens any more when the time was over.
        let _late = say.send(read.map(|read| read.map(|_| text)));
    });
    let text = said.recv_timeout(COMMAND_TIMEOUT);
    if text.is_err() {
        // It may have ended just now.
        let _ended = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match text {
        Err(_) => Err(format!("it took more than {} s", COMMAND_TIMEOUT.as_secs())),
        Ok(Some(Ok(text))) if status.success() => Ok(text),
        Ok(_) => Err(format!("it failed: {status}")),
    }
}

/// The first private key in a file, unlocked.
pub(super) fn private_key(
    path: &Path,
    sections: Vec<Section>,
    password: Option<&KeyPassword>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let refused = |what: String| TlsError::Key {
        path: path.to_owned(),
        what,
    };
    let is_key = |section: &Section| section.label.ends_with("PRIVATE KEY");
    let Some(section) = sections.into_iter().find(is_key) else {
        return Err(refused("there is none in this file".to_owned()));
    };
    let password = || match password {
        Some(password) => password.read(),
        None => Err(refused(
            "it needs a password; name a file or a command that has it".to_owned(),
        )),
    };
    if section.label == "ENCRYPTED PRIVATE KEY" {
        let der = decrypt_pkcs8(&section.der, &password()?).map_err(refused)?;
        return Ok(PrivateKeyDer::Pkcs8(der.into()));
    }
    let cipher = section.headers.iter().find(|(name, _)| name == "DEK-Info");
    let der = match cipher {
        Some((_, cipher)) => decrypt_old(cipher, &section.der, &password()?).map_err(refused)?,
        None => section.der,
    };
    match section.label.as_str() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(der.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(der.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(der.into())),
        other => Err(refused(format!("a {other} is not supported"))),
    }
}

fn decrypt_pkcs8(der: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| error.to_string())?;
    let key = info.decrypt(password);
    key.map(|key| key.as_bytes().to_vec())
        .map_err(|error| format!("cannot unlock it, is the password right? ({error})"))
}

/// The encryption that OpenSSL used before PKCS #8: `CIPHER,IV`, and a key made of the password by
/// MD5. Weak by today's measure, and still what many key files have.
fn decrypt_old(cipher: &str, data: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let (name, iv) = cipher.split_once(',').unwrap_or((cipher, ""));
    let iv = unhex(iv.trim()).ok_or("its DEK-Info is not hexadecimal")?;
    let decrypted = match name {
        "DES-EDE3-CBC" => decrypt_cbc::<des::TdesEde3>(24, data, password, &iv),
        "AES-128-CBC" => decrypt_cbc::<aes::Aes128>(16, data, password, &iv),
        "AES-192-CBC" => decrypt_cbc::<aes::Aes192>(24, data, password, &iv),
        "AES-256-CBC" => decrypt_cbc::<aes::Aes256>(32, data, password, &iv),
        other => return Err(format!("its encryption with {other} is not supported")),
    };
    decrypted.ok_or_else(|| "cannot unlock it, is the password right?".to_owned())
}

fn decrypt_cbc<C>(key_bytes: usize, data: &[u8], password: &[u8], iv: &[u8]) -> Option<Vec<u8>>
where
    C: BlockCipherDecrypt + KeyInit,
    cbc::Decryptor<C>: KeyIvInit + BlockModeDecrypt,
{
    let key = derive(key_bytes, password, iv.get(..8)?);
    let cipher = cbc::Decryptor::<C>::new_from_slices(&key, iv).ok()?;
    let mut data = data.to_vec();
    let length = cipher.decrypt_padded::<Pkcs7>(&mut data).ok()?.len();
    data.truncate(length);
    Some(data)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn derive(bytes: usize, password: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    let mut last = Vec::new();
    while key.len() < bytes {
        let mut hash = Md5::new();
        hash.update(&last);
        hash.update(password);
        hash.update(salt);
        last = hash.finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(bytes);
    key
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
