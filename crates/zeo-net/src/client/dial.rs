//! Making a connection: dial, shake hands, register, and verify the cache.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Socket, TcpKeepalive};
use storage::{Oid, StorageError, StorageStats, Tid};
use zeo::{
    ClientCache, Event, ProtocolError, Refusal, Reply, Request, Session, Verification,
    VerificationStep, Verified,
};

use super::link::Peer;
use super::stream::Stream;
use super::{Capabilities, ClientOptions};
use crate::clock;

/// Why a server is not connected to, or why the connection to it ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{address}: {source}")]
    Connect { address: String, source: io::Error },
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
    #[error("the server is behind: its last transaction is {found}, and {seen} was seen already")]
    Behind { seen: Tid, found: Tid },
}

impl Failure {
    /// What to tell a caller, where the server has no storage of that name, or none for this client.
    /// Asking again is no use.
    pub(super) fn unknown_storage(&self) -> Option<StorageError> {
        match self {
            Self::Refused { call, class, data }
                if *call == REGISTER
                    && (class.ends_with("ValueError") && data.contains(UNKNOWN)
                        || class.ends_with("PermissionError")) =>
            {
                Some(StorageError::Remote {
                    class: class.clone(),
                    detail: data.clone(),
                })
            }
            _ => None,
        }
    }
}

/// A connection that is registered, with a cache that is verified.
pub(super) struct Connected {
    pub(super) stream: Arc<Stream>,
    pub(super) session: Session,
    pub(super) stats: StorageStats,
    pub(super) can: Capabilities,
    pub(super) peer: Peer,
    pub(super) verified: Verified,
}

/// What a server has to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Reading,
    Writing,
    /// Writing, or else reading.
    Any,
}

impl Wanted {
    pub(super) fn of(options: &ClientOptions) -> Self {
        match (options.read_only, options.read_only_fallback) {
            (true, _) => Self::Reading,
            (false, true) => Self::Any,
            (false, false) => Self::Writing,
        }
    }
}

/// A connection that is registered, and of which nobody knows yet.
pub(super) struct Registered {
    pub(super) peer: Peer,
    /// The server's last transaction.
    pub(super) tid: Tid,
    dialogue: Dialogue,
}

/// A peer that vanished without a word is noticed after less than a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the reading thread waits before it looks whether a heartbeat is due.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a writing thread waits before it looks whether its deadline is over.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 64 << 10;
const REGISTER: &str = "register";
/// How servers, ours and the genuine one, begin to say that they have no such storage.
const UNKNOWN: &str = "unknown storage";
/// How they say that they take no commits.
const READ_ONLY: &str = "ZODB.POSException.ReadOnlyError";

/// Connects to one server and registers there.
pub(super) fn register(
    address: &str,
    options: &ClientOptions,
    wanted: Wanted,
) -> Result<Registered, Failure> {
    let stream = connect(address, options)
        .and_then(|socket| Stream::new(socket, address, options.tls.as_ref(), patience(options)))
        .map_err(|source| Failure::Connect {
            address: address.to_owned(),
            source,
        })?;
    let mut dialogue = Dialogue {
        stream,
        session: Session::new(clock::now(), options.frame_bytes_max),
        patience: patience(options),
        invalidations: Vec::new(),
        buffer: vec![0; READ_BYTES],
        out: Vec::new(),
    };
    dialogue.shake_hands()?;
    let mut is_read_only = wanted == Wanted::Reading;
    let mut answer = dialogue.register(&options.storage, is_read_only);
    if wanted == Wanted::Any
        && let Err(Failure::Refused { class, .. }) = &answer
        && class == READ_ONLY
    {
        is_read_only = true;
        answer = dialogue.register(&options.storage, is_read_only);
    }
    let peer = Peer {
        address: address.to_owned(),
        is_read_only,
    };
    let tid = answer?;
    Ok(Registered {
        peer,
        tid,
        dialogue,
    })
}

impl Registered {
    /// Learns the server's last transaction anew, where some time has passed.
    pub(super) fn refresh(mut self) -> Result<Self, Failure> {
        let request = Request::LastTransaction;
        let Reply::Tid(tid) = self.dialogue.ask("lastTransaction", &request)? else {
            return Err(Failure::Closed);
        };
        self.tid = tid;
        Ok(self)
    }

    /// Brings the cache up to date.
    pub(super) fn connect(
        self,
        options: &ClientOptions,
        cache: &ClientCache,
    ) -> Result<Connected, Failure> {
        let Self {
            peer,
            tid,
            mut dialogue,
        } = self;
        let verified = dialogue.verify(cache, tid, &peer.address)?;
        let Reply::Info {
            stats,
            undoes,
            iterates,
            ..
        } = dialogue.ask("get_info", &Request::GetInfo)?
        else {
            return Err(Failure::Closed);
        };
        // Whatever was pushed during all this is newer than what the cache was verified against, or
        // covered by it.
        for (tid, oids) in std::mem::take(&mut dialogue.invalidations) {
            if tid > cache.last_tid() {
                cache.invalidate(tid, oids);
            }
        }
        if let Some(label) = &options.label {
            dialogue
                .session
                .send(&Request::SetClientLabel(label.clone()));
        }
        dialogue.stream.set_timeouts(READ_TIMEOUT, WRITE_TIMEOUT)?;
        Ok(Connected {
            stream: Arc::new(dialogue.stream),
            session: dialogue.session,
            stats,
            can: Capabilities { undoes, iterates },
            peer,
            verified,
        })
    }
}

/// A socket to the address, `host:port` or a path.
fn connect(address: &str, options: &ClientOptions) -> io::Result<Socket> {
    if address.contains('/') {
        let socket = Socket::from(OwnedFd::from(UnixStream::connect(address)?));
        return with_timeouts(socket, options);
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, options.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive = TcpKeepalive::new()
                    .with_time(KEEPALIVE_IDLE)
                    .with_interval(KEEPALIVE_INTERVAL);
                let socket = Socket::from(stream);
                socket.set_tcp_keepalive(&keepalive)?;
                return with_timeouts(socket, options);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn with_timeouts(socket: Socket, options: &ClientOptions) -> io::Result<Socket> {
    socket.set_read_timeout(Some(patience(options)))?;
    socket.set_write_timeout(Some(patience(options)))?;
    Ok(socket)
}

/// How long an answer may take: a server that accepts and then says nothing is as good as none.
fn patience(options: &ClientOptions) -> Duration {
    options.wait.max(options.connect_timeout)
}

/// Question and answer, while nobody else uses the connection.
struct Dialogue {
    stream: Stream,
    session: Session,
    patience: Duration,
    /// Pushed since the registration.
    invalidations: Vec<(Tid, Vec<Oid>)>,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

impl Dialogue {
    fn shake_hands(&mut self) -> Result<(), Failure> {
        let deadline = clock::now() + self.patience;
        match self.next_event(deadline)? {
            Event::Connected(_) => self.transmit(),
            other => Err(Failure::Protocol(ProtocolError::Unexpected {
                what: format!("{other:?} before the handshake"),
            })),
        }
    }

    fn register(&mut self, storage: &str, read_only: bool) -> Result<Tid, Failure> {
        let register = Request::Register {
            storage: storage.to_owned(),
            read_only,
        };
        match self.ask(REGISTER, &register)? {
            Reply::Tid(tid) => Ok(tid),
            _ => Err(Failure::Closed),
        }
    }

    fn verify(
        &mut self,
        cache: &ClientCache,
        server_tid: Tid,
        address: &str,
    ) -> Result<Verified, Failure> {
        let (mut verification, mut step) = Verification::begin(cache, server_tid);
        let verified = loop {
            match step {
                VerificationStep::Ask(request) => {
                    let outcome = self.ask_for_outcome(&request)?;
                    step = verification.answered(cache, outcome);
                }
                VerificationStep::Done(verified) => break verified,
            }
        };
        match &verified {
            Verified::Empty => {}
            Verified::Kept => tracing::info!(tid = %cache.last_tid(), "cache verified"),
            Verified::TooOld => {
                tracing::warn!("the server cannot tell what changed: the cache is dropped");
            }
            Verified::WentBack { seen, found } => tracing::error!(
                address,
                server_tid = %found,
                cache_tid = %seen,
                "the storage server lacks transactions that this client has seen; \
                 the whole cache is dropped"
            ),
        }
        Ok(verified)
    }

    fn ask(&mut self, call: &'static str, request: &Request) -> Result<Reply, Failure> {
        let outcome = self.ask_for_outcome(request)?;
        outcome.map_err(|refusal| refused(call, &refusal))
    }

    fn ask_for_outcome(&mut self, request: &Request) -> Result<Result<Reply, Refusal>, Failure> {
        let asked = self.session.call(request);
        self.transmit()?;
        let deadline = clock::now() + self.patience;
        loop {
            match self.next_event(deadline)? {
                Event::Replied { id, outcome } if id == asked => return Ok(outcome),
                Event::Invalidated { tid, oids } => self.invalidations.push((tid, oids)),
                Event::Replied { .. }
                | Event::Resized(_)
                | Event::Connected(_)
                | Event::Blob { .. } => {}
            }
        }
    }

    fn next_event(&mut self, deadline: Instant) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            // One that says something all the time, but never the answer, is no better.
            if clock::now() >= deadline {
                return Err(Failure::Io(io::ErrorKind::TimedOut.into()));
            }
            let length = self.stream.read(&mut self.buffer)?;
            if length == 0 {
                return Err(Failure::Closed);
            }
            self.session.receive(&self.buffer[..length])?;
        }
    }

    fn transmit(&mut self) -> Result<(), Failure> {
        if self.session.poll_transmit(&mut self.out) {
            self.stream.send_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

fn refused(call: &'static str, refusal: &Refusal) -> Failure {
    let data = match refusal.to_storage_error(None) {
        StorageError::Remote { detail, .. } => detail,
        other => other.to_string(),
    };
    Failure::Refused {
        call,
        class: refusal.class().to_owned(),
        data,
    }
}
