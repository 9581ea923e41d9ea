//! Where a server is, and a connection to it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use zeo_net::{TlsClientOptions, TlsStream};

use super::python;
use crate::clock;

/// The address of a ZEO server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ServerAddress {
    /// A host and a port.
    Inet(String, u16),
    /// A socket in the file system.
    Unix(String),
}

/// A connection; reads and writes give up after the time that it was made with.
#[derive(Debug)]
pub(super) enum Stream {
    Inet(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl ServerAddress {
    /// Connects, and shakes hands if TLS is to be spoken.
    pub(super) fn connect_with(
        &self,
        timeout: Duration,
        tls: Option<&TlsClientOptions>,
    ) -> io::Result<Stream> {
        let stream = self.connect(timeout)?;
        let Some(tls) = tls else {
            return Ok(stream);
        };
        let deadline = clock::now() + timeout;
        let shaken = match (self, stream) {
            (Self::Inet(host, port), Stream::Inet(socket)) => {
                tls.connect(&format!("{host}:{port}"), socket, deadline)?
            }
            (Self::Unix(path), Stream::Unix(socket)) => tls.connect(path, socket, deadline)?,
            // Never without, where it is asked for.
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Stream::Tls(Box::new(shaken)))
    }

    /// Connects, waiting for each of the name's addresses up to `timeout`.
    pub(super) fn connect(&self, timeout: Duration) -> io::Result<Stream> {
        let (host, port) = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(Stream::Unix(stream));
            }
            Self::Inet(host, port) => (host.as_str(), *port),
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Stream::Inet(stream));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl Stream {
    /// When the certificate expires that the server has shown, since 1970.
    pub(super) fn certificate_expires(&self) -> Option<Duration> {
        match self {
            Self::Inet(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.certificate_expires(),
        }
    }
}

/// As Python shows it.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(host, port) => write!(f, "({}, {port})", python::quoted(host)),
            Self::Unix(path) => f.write_str(&python::quoted(path)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Inet(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Inet(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
