//! A client that does just what the test says, on a socket of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use storage::{Oid, Record, Tid, TransactionMeta};
use zeo::{CallId, Event, FRAME_BYTES_MAX, Refusal, Reply, Request, Session, Value};

use crate::world::{PATIENCE, TestServer};

pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
    session: Session,
}

type Outcome = Result<Reply, Refusal>;

impl RawClient {
    /// Connects and registers.
    pub(crate) fn registered(server: &TestServer) -> Self {
        Self::registered_at(server.address)
    }

    pub(crate) fn registered_at(server: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        #[allow(clippy::disallowed_methods, reason = "a point to count from")]
        let now = std::time::Instant::now();
        let session = Session::new(now, FRAME_BYTES_MAX);
        let mut client = Self { stream, session };
        assert!(matches!(client.event(), Some(Event::Connected(_))));
        let register = client.call(&Request::Register {
            storage: "1".to_owned(),
            read_only: false,
        });
        assert!(matches!(client.answer(register), Some(Ok(Reply::Tid(_)))));
        client
    }

    /// Registers and votes on a store of this object.
    pub(crate) fn voted(server: &TestServer, oid: Oid, id: &Value<'static>) -> Self {
        let mut client = Self::registered(server);
        client.vote(oid, id);
        client
    }

    pub(crate) fn vote(&mut self, oid: Oid, id: &Value<'static>) {
        let vote = self.begin_to_vote(oid, id);
        assert_eq!(self.answer(vote), Some(Ok(Reply::Voted(vec![]))));
    }

    pub(crate) fn begin_to_vote(&mut self, oid: Oid, id: &Value<'static>) -> CallId {
        self.session.send(&Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        });
        self.session.send(&Request::Store {
            oid,
            base: Tid::ZERO,
            record: Record::from(&b"state"[..]),
            id: id.clone(),
        });
        self.call(&Request::Vote(id.clone()))
    }

    pub(crate) fn call(&mut self, request: &Request) -> CallId {
        let id = self.session.call(request);
        self.transmit();
        id
    }

    /// A one-way call, which goes out with the next other one.
    pub(crate) fn tell(&mut self, request: &Request) {
        self.session.send(request);
    }

    /// Makes all calls in one piece.
    pub(crate) fn call_all(&mut self, requests: &[Request]) -> Vec<CallId> {
        let ids = requests.iter().map(|request| self.session.call(request));
        let ids = ids.collect();
        self.transmit();
        ids
    }

    fn transmit(&mut self) {
        let mut bytes = Vec::new();
        self.session.poll_transmit(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// What the server says next; `None` when it has closed the connection.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(event) = self.session.poll_event() {
                self.transmit();
                return Some(event);
            }
            match self.stream.read(&mut buffer) {
                Ok(length @ 1..) => self.session.receive(&buffer[..length]).unwrap(),
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The answer to a call; other events are dropped.
    pub(crate) fn answer(&mut self, wanted: CallId) -> Option<Outcome> {
        loop {
            match self.event()? {
                Event::Replied { id, outcome } if id == wanted => return Some(outcome),
                _ => {}
            }
        }
    }

    /// Waits until the server closes the connection.
    pub(crate) fn wait_for_end(&mut self) {
        while self.event().is_some() {}
    }
}

/// Does something that may hang, in a thread of its own; panics if it does.
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).unwrap()
}
