//! TLS for programs with one connection and one thread.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::client::{TlsClientOptions, TlsLink, handshake};

/// An encrypted connection to a server.
pub struct TlsStream {
    socket: Socket,
    link: TlsLink,
}

impl TlsClientOptions {
    /// Shakes hands with the server at an address, `host:port` or a path, over a fresh connection
    /// whose timeouts are set.
    ///
    /// # Errors
    /// What is wrong with the files, or with the server's certificate, or what the system says.
    pub fn connect(
        &self,
        address: &str,
        socket: impl Into<OwnedFd>,
        deadline: Instant,
    ) -> io::Result<TlsStream> {
        let mut socket = Socket::from(socket.into());
        let link = handshake(self, address, &mut socket, deadline)?;
        Ok(TlsStream { socket, link })
    }
}

impl TlsStream {
    /// When the certificate expires that the server has shown, since 1970.
    pub fn certificate_expires(&self) -> Option<Duration> {
        self.link.certificate_expires()
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.link.read(&self.socket, buffer)
    }
}

/// After an error, what was sent is unknown: the connection is of no more use.
impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        loop {
            match self.link.send(&self.socket, &mut rest) {
                Ok(true) => return Ok(bytes.len()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsStream").field(&self.socket).finish()
    }
}
