//! The bytes to and from a server, encrypted or not.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use crate::clock;
use crate::tls::{TlsClientOptions, TlsLink, handshake};

/// A connection that one thread reads while others write, in turn.
pub(super) struct Stream {
    socket: Socket,
    tls: Option<Box<TlsLink>>,
}

impl Stream {
    /// Shakes hands where `tls` says so, within `patience`.
    pub(super) fn new(
        mut socket: Socket,
        address: &str,
        tls: Option<&TlsClientOptions>,
        patience: Duration,
    ) -> io::Result<Self> {
        let deadline = clock::now() + patience;
        let tls = tls
            .map(|options| handshake(options, address, &mut socket, deadline).map(Box::new))
            .transpose()?;
        Ok(Self { socket, tls })
    }

    #[cfg(test)]
    pub(super) fn plain(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    /// Reads some bytes; 0 when the server has closed the connection.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            Some(tls) => tls.read(&self.socket, buffer),
            None => (&self.socket).read(buffer),
        }
    }

    /// Sends some of `rest` and cuts it off there; whether everything is out. After a failure that
    /// is but a [timeout](is_timeout), the next call goes on.
    pub(super) fn send(&self, rest: &mut &[u8]) -> io::Result<bool> {
        if let Some(tls) = &self.tls {
            return tls.send(&self.socket, rest);
        }
        if !rest.is_empty() {
            let length = (&self.socket).write(rest)?;
            if length == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *rest = &rest[length..];
        }
        Ok(rest.is_empty())
    }

    /// Sends everything, or fails, also for lack of time.
    pub(super) fn send_all(&self, mut rest: &[u8]) -> io::Result<()> {
        while !self.send(&mut rest)? {}
        Ok(())
    }

    pub(super) fn set_timeouts(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(read))?;
        self.socket.set_write_timeout(Some(write))
    }

    /// Ends the connection, whoever reads or writes.
    pub(super) fn shutdown(&self) {
        // It may be closed already, which is as well.
        let _closed = self.socket.shutdown(Shutdown::Both);
    }
}

/// Whether a read or a write only came to nothing for this time.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
