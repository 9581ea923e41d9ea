//! One connection to a server for one call after the other: no cache, no other threads.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use zeo::{Event, FRAME_BYTES_MAX, ProtocolError, Refusal, Reply, Request, Session};
use zeo_net::TlsClientOptions;

use super::address::{ServerAddress, Stream};
use crate::clock;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("the server refused {call}: {class} {data}")]
    Refused {
        call: &'static str,
        class: String,
        data: String,
    },
}

/// A connection that is registered for one storage, and never writes.
pub(super) struct Caller {
    stream: Stream,
    session: Session,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

/// How long a connection and the first answers may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 << 10;

impl Caller {
    pub(super) fn connect(
        address: &ServerAddress,
        tls: Option<&TlsClientOptions>,
        storage: &str,
    ) -> Result<Self, CallError> {
        let mut caller = Self {
            stream: address.connect_with(CONNECT_TIMEOUT, tls)?,
            session: Session::new(clock::now(), FRAME_BYTES_MAX),
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
        };
        let deadline = clock::now() + CONNECT_TIMEOUT;
        while !matches!(caller.next_event(Some(deadline))?, Event::Connected(_)) {}
        let register = Request::Register {
            storage: storage.to_owned(),
            read_only: true,
        };
        caller.call("register", &register, Some(deadline))?;
        Ok(caller)
    }

    /// The answer to a call, waited for up to the deadline, or as long as the connection lasts.
    pub(super) fn call(
        &mut self,
        name: &'static str,
        request: &Request,
        deadline: Option<Instant>,
    ) -> Result<Reply, CallError> {
        let asked = self.session.call(request);
        loop {
            match self.next_event(deadline)? {
                Event::Replied { id, outcome } if id == asked => {
                    return outcome.map_err(|refusal| refused(name, &refusal));
                }
                _ => {}
            }
        }
    }

    fn next_event(&mut self, deadline: Option<Instant>) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            // It shows that it lives, so that nothing on the way forgets a connection of a long call.
            self.session.handle_timeout(clock::now());
            if self.session.poll_transmit(&mut self.out) {
                self.stream.write_all(&self.out)?;
                self.out.clear();
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(CallError::Closed),
                Ok(length) => self.session.receive(&self.buffer[..length])?,
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether nothing came for a while, or a signal did.
fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn refused(call: &'static str, refusal: &Refusal) -> CallError {
    CallError::Refused {
        call,
        class: refusal.class().to_owned(),
        data: format!("{:?}", refusal.data()),
    }
}
