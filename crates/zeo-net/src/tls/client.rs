//! The client's side: plain threads that read and write one connection.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use socket2::Socket;

use super::error::TlsError;
use super::explain::explain;
use super::facts::Facts;
use super::key::KeyPassword;
use super::trust::Trust;
use super::verifier::Servers;
use super::{own_certificate, provider};
use crate::clock;

/// How a client shows itself, and which server it takes: the `<ssl>` section of the original's
/// client. The files are read for each connection that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClientOptions {
    /// The file of the client's certificate, in PEM, followed by what signed it if need be.
    pub certificate: PathBuf,
    /// The file of its key; `None` when the key is in the certificate's file.
    pub key: Option<PathBuf>,
    /// The password of the key, if it has one.
    pub password: Option<KeyPassword>,
    /// A file or a directory of certificates: the server's, or that of the authority that signed
    /// it. `None` for the authorities that the system trusts.
    pub authenticate: Option<PathBuf>,
    /// Whether the server's certificate must be for the server's host name.
    pub check_hostname: bool,
    /// The host name that it must be for; `None` for the host in the server's address.
    pub server_hostname: Option<String>,
}

impl TlsClientOptions {
    /// These files, a key without a password, and the host name checked.
    pub fn new(certificate: impl Into<PathBuf>, authenticate: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: None,
            password: None,
            authenticate: Some(authenticate.into()),
            check_hostname: true,
            server_hostname: None,
        }
    }

    /// Tries whether a client could start with these files.
    ///
    /// # Errors
    /// Says which file is missing or wrong.
    pub fn check(&self) -> Result<(), TlsError> {
        if let Some(name) = &self.server_hostname {
            server_name(name)?;
        }
        self.build().map(drop)
    }

    fn build(&self) -> Result<ClientConfig, TlsError> {
        let trust = match &self.authenticate {
            Some(path) => Trust::read(path)?,
            None => Trust::of_the_system(),
        };
        let own = own_certificate(&self.certificate, self.key.as_ref(), self.password.as_ref())?;
        let verifier = Servers {
            trust: Arc::new(trust),
            checks_host: self.check_hostname,
        };
        let own = Arc::try_unwrap(own).unwrap_or_else(|own| (*own).clone());
        let mut config = ClientConfig::builder_with_provider(provider().clone())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable {
                path: self.certificate.clone(),
                source,
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The name to ask for at an address `host:port`.
    fn server_name(&self, address: &str) -> Result<ServerName<'static>, TlsError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = self.server_hostname.as_deref().unwrap_or(host);
        match server_name(host) {
            // Nobody looks at it; a server may still want to hear one.
            Err(_) if !self.check_hostname => server_name("localhost"),
            name => name,
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name {
        name: name.to_owned(),
    })
}

/// Shakes hands with the server over a fresh connection, whose timeouts are set.
pub(crate) fn handshake(
    options: &TlsClientOptions,
    address: &str,
    socket: &mut Socket,
    deadline: Instant,
) -> io::Result<TlsLink> {
    let config = options.build().map_err(io::Error::other)?;
    let name = options.server_name(address).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(tls_error);
    let mut connection = connection?;
    while connection.is_handshaking() || connection.wants_write() {
        while connection.wants_write() {
            connection.write_tls(socket)?;
        }
        if !connection.is_handshaking() {
            break;
        }
        if clock::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if connection.read_tls(socket)? == 0 {
            let text = "the server closed the connection instead of shaking hands";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        if let Err(error) = connection.process_new_packets() {
            // The alert that tells the server why; it may be gone already.
            let _sent = connection.write_tls(socket);
            return Err(tls_error(error));
        }
    }
    connection.set_buffer_limit(None);
    Ok(TlsLink {
        connection: Mutex::new(connection),
        receiving: Mutex::default(),
        sending: Mutex::default(),
    })
}

fn tls_error(error: rustls::Error) -> io::Error {
    let error = io::Error::new(io::ErrorKind::InvalidData, error);
    io::Error::new(io::ErrorKind::InvalidData, explain(&error))
}

/// The TLS of one connection, for a thread that reads and others that write.
///
/// `connection` is held for moments, never while the socket makes somebody wait: `receiving` and
/// `sending` are, and keep what is on its way in order.
pub(crate) struct TlsLink {
    connection: Mutex<ClientConnection>,
    receiving: Mutex<Received>,
    sending: Mutex<Vec<u8>>,
}

/// Bytes from the socket that TLS has not taken yet.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    taken: usize,
}

/// How much is read from the socket at once.
const READ_BYTES: usize = 64 << 10;
/// How much is encrypted at once.
const WRITE_BYTES: usize = 64 << 10;

impl TlsLink {
    /// When the server's certificate expires, since 1970.
    pub(super) fn certificate_expires(&self) -> Option<Duration> {
        let connection = self.connection.lock();
        let shown = connection.peer_certificates()?.first()?;
        Facts::read(shown).ok().map(|facts| facts.not_after())
    }

    /// Reads some bytes; 0 when the server has closed the connection.
    pub(crate) fn read(&self, mut socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = self.receiving.lock();
        loop {
            if let Some(length) = self.take(&mut received, buffer)? {
                return Ok(length);
            }
            received.taken = 0;
            received.bytes.resize(READ_BYTES, 0);
            let read = socket.read(&mut received.bytes);
            received.bytes.truncate(*read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(0);
            }
        }
    }

    /// What can be had without the socket.
    fn take(&self, received: &mut Received, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut connection = self.connection.lock();
        loop {
            match connection.reader().read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let mut rest = &received.bytes[received.taken..];
            if rest.is_empty() {
                return Ok(None);
            }
            received.taken += connection.read_tls(&mut rest)?;
            connection.process_new_packets().map_err(tls_error)?;
        }
    }

    /// Sends some of `rest` and cuts it off there; whether everything is out.
    ///
    /// # Errors
    /// Of the socket; after one that only ran out of time, the next call goes on.
    pub(crate) fn send(&self, mut socket: &Socket, rest: &mut &[u8]) -> io::Result<bool> {
        let mut sending = self.sending.lock();
        if sending.is_empty() {
            let mut connection = self.connection.lock();
            let chunk = &rest[..rest.len().min(WRITE_BYTES)];
            connection.writer().write_all(chunk)?;
            *rest = &rest[chunk.len()..];
            while connection.wants_write() {
                connection.write_tls(&mut *sending)?;
            }
        }
        if !sending.is_empty() {
            let length = socket.write(&sending)?;
            if length == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sending.drain(..length);
        }
        Ok(rest.is_empty() && sending.is_empty())
    }
}
