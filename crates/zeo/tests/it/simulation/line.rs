//! The way between a client and the hub: what was said and not yet heard.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use storage::Tid;
use zeo::{
    Connection, Done, Event, FRAME_BYTES_MAX, Hub, Job, Outbox, Reply, Request, Rights, Session,
};

use super::history::History;
use crate::pair::{epoch, register};

/// What the hub has said, in the order in which it said it.
pub(super) struct Ether {
    /// Each thing is taken from its outbox as soon as it is there: stamps tell which was first.
    pub(super) is_eager: bool,
    said: Mutex<Said>,
    probe: Mutex<Option<Probe>>,
    history: Arc<History>,
}

#[derive(Default)]
struct Said {
    outboxes: BTreeMap<u64, Arc<Outbox>>,
    chunks: BTreeMap<u64, VecDeque<Chunk>>,
    stamp: u64,
    lines: u64,
}

/// Bytes on their way to a client.
pub(super) struct Chunk {
    pub(super) stamp: u64,
    pub(super) bytes: Vec<u8>,
}

impl Ether {
    pub(super) fn new(is_eager: bool, history: Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            is_eager,
            said: Mutex::default(),
            probe: Mutex::default(),
            history,
        })
    }

    /// From now on, whenever something is said, the server knows what it is about.
    pub(super) fn probe(&self, hub: Option<&Arc<Hub>>) {
        *self.probe.lock().unwrap() = hub.map(Probe::new);
    }

    /// The server has just said something: it may be in the middle of anything.
    fn noticed(&self, line: u64) {
        if !self.is_eager {
            return;
        }
        self.flush(line);
        if let Ok(mut probe) = self.probe.try_lock()
            && let Some(probe) = &mut *probe
        {
            let (found, last) = (probe.last_transaction(), self.history.last());
            self.history.check(found == last, || {
                format!("{last} is published, and the server says that {found} is the last one")
            });
        }
    }

    /// Takes what is in an outbox.
    pub(super) fn flush(&self, line: u64) {
        let outbox = self.said.lock().unwrap().outboxes.get(&line).cloned();
        let mut bytes = Vec::new();
        if outbox.is_some_and(|outbox| outbox.take(&mut bytes).unwrap_or(false)) {
            let mut said = self.said.lock().unwrap();
            said.stamp += 1;
            let stamp = said.stamp;
            if let Some(chunks) = said.chunks.get_mut(&line) {
                chunks.push_back(Chunk { stamp, bytes });
            }
        }
    }

    fn take(&self, line: u64) -> Option<Chunk> {
        self.said.lock().unwrap().chunks.get_mut(&line)?.pop_front()
    }

    fn give_back(&self, line: u64, chunk: Chunk) {
        if let Some(chunks) = self.said.lock().unwrap().chunks.get_mut(&line) {
            chunks.push_front(chunk);
        }
    }
}

/// A client that is asked while the server is busy with something else.
struct Probe {
    session: Session,
    connection: Connection,
}

impl Probe {
    fn new(hub: &Arc<Hub>) -> Self {
        let mut probe = Self {
            session: Session::new(epoch(), FRAME_BYTES_MAX),
            connection: hub.connect("probe".to_owned(), || {}),
        };
        assert!(matches!(probe.hear(), Some(Event::Connected(_))));
        probe.ask(&register(true));
        probe
    }

    fn last_transaction(&mut self) -> Tid {
        match self.ask(&Request::LastTransaction) {
            Event::Replied {
                outcome: Ok(Reply::Tid(tid)),
                ..
            } => tid,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Event {
        self.session.call(request);
        let mut bytes = Vec::new();
        self.session.poll_transmit(&mut bytes);
        self.connection.receive(&bytes);
        assert!(self.connection.next_job().unwrap().is_none());
        self.hear().expect("it is answered at once")
    }

    /// The last of what was said.
    fn hear(&mut self) -> Option<Event> {
        let mut bytes = Vec::new();
        self.connection.outbox().take(&mut bytes).unwrap();
        self.session.receive(&bytes).unwrap();
        std::iter::from_fn(|| self.session.poll_event()).last()
    }
}

/// A connection and all that is under way on it.
pub(super) struct Line {
    number: u64,
    ether: Arc<Ether>,
    pub(super) connection: Connection,
    pub(super) to_server: VecDeque<u8>,
    pub(super) work: Vec<Doing>,
}

/// A job at one of its two stages.
pub(super) enum Doing {
    Job(Job),
    Done(Done),
}

impl Doing {
    /// One stage further.
    pub(super) fn step(self) -> Option<Self> {
        match self {
            Self::Job(job) => Some(Self::Done(job.perform())),
            Self::Done(done) => done.deliver().map(Self::Job),
        }
    }
}

impl Line {
    pub(super) fn new(hub: &Arc<Hub>, ether: &Arc<Ether>) -> Self {
        let number = {
            let mut said = ether.said.lock().unwrap();
            said.lines += 1;
            said.lines
        };
        let wake = {
            let ether = ether.clone();
            move |_: zeo::Notice| ether.noticed(number)
        };
        let connection = hub.connect_noticing("simulated".to_owned(), Rights::ALL, wake);
        let mut said = ether.said.lock().unwrap();
        said.outboxes.insert(number, connection.outbox().clone());
        said.chunks.insert(number, VecDeque::new());
        drop(said);
        ether.flush(number);
        Self {
            number,
            ether: ether.clone(),
            connection,
            to_server: VecDeque::new(),
            work: Vec::new(),
        }
    }

    pub(super) fn flush(&self) {
        self.ether.flush(self.number);
    }

    /// The next bytes for the client: all that was said at once, or its beginning.
    pub(super) fn hear(&self, random: &mut fastrand::Rng) -> Option<Chunk> {
        let mut chunk = self.ether.take(self.number)?;
        if random.u8(..8) == 0 {
            let cut = random.usize(..chunk.bytes.len());
            let rest = chunk.bytes.split_off(cut);
            let stamp = chunk.stamp;
            self.ether
                .give_back(self.number, Chunk { stamp, bytes: rest });
        }
        Some(chunk)
    }

    /// Brings some of what the client said to the server. The new jobs that finish transactions come
    /// back; `Err` where the server gives the connection up.
    pub(super) fn serve(&mut self, random: &mut fastrand::Rng) -> Result<Vec<Job>, ()> {
        let all = self.to_server.len();
        let count = if random.bool() {
            all
        } else {
            random.usize(..=all)
        };
        let bytes: Vec<u8> = self.to_server.drain(..count).collect();
        self.connection.receive(&bytes);
        let mut finishes = Vec::new();
        while self.work.len() < WORK_MAX {
            let Some(job) = self.connection.next_job().map_err(drop)? else {
                break;
            };
            if job.is_shared() {
                finishes.push(job);
            } else {
                self.work.push(Doing::Job(job));
            }
        }
        Ok(finishes)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut said = self.ether.said.lock().unwrap();
        said.outboxes.remove(&self.number);
        said.chunks.remove(&self.number);
    }
}

/// Jobs of one connection that are under way side by side.
const WORK_MAX: usize = 4;
