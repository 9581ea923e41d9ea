//! One live connection, shared by the callers and the thread that reads.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use storage::{Oid, Record, Revision, StorageError, Tid};
use zeo::{BlobPart, CallId, ClientCache, LoadTicket, Refusal, Reply, Request, Session};

use super::blobs::Download;
use super::stream::{Stream, is_timeout};
use crate::clock;

/// A connection whose cache is verified.
///
/// Two locks: `calls` is held for moments only, so that the reading thread never waits for a
/// socket; `writer` is held while bytes go out, at most until the deadline of whoever writes, and
/// is never taken while `calls` is held.
pub(crate) struct Link {
    pub(super) calls: Mutex<Calls>,
    /// What is to be written.
    writer: Mutex<Vec<u8>>,
    stream: Arc<Stream>,
    generation: Generation,
    peer: Peer,
    /// The files that the server was asked for. The reading thread writes them.
    downloads: Mutex<HashMap<(Oid, Tid), Download>>,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The server's address, as it is configured.
    pub(super) address: String,
    /// Whether it takes no commits of this client.
    pub(super) is_read_only: bool,
}

/// Tells the connections of one storage apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

impl Generation {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

pub(super) struct Calls {
    pub(super) session: Session,
    pub(super) pending: BTreeMap<CallId, Pending>,
    /// Loads under way, until the cache has what they brought: who wants the same one waits for
    /// it, too.
    loads: HashMap<(Oid, Tid), Arc<Slot<Loaded>>>,
    dead: bool,
}

type Loaded = Result<Option<Revision>, StorageError>;
pub(super) type Fetched = Result<(), StorageError>;
pub(super) type Called = Result<Reply, Refusal>;

/// What is to be done when a call is answered.
pub(super) enum Pending {
    Load(PendingLoad),
    /// The answer to `tpc_finish`: what was stored goes into the cache before anybody hears of it.
    Finish(Vec<(Oid, Option<Record>)>, Arc<Slot<Called>>),
    /// The answer to `sendBlob`, which comes behind the file.
    Blob(Oid, Tid, Arc<Slot<Fetched>>),
    Other(Arc<Slot<Called>>),
}

pub(super) struct PendingLoad {
    pub(super) oid: Oid,
    pub(super) before: Tid,
    pub(super) ticket: LoadTicket,
    pub(super) slot: Arc<Slot<Loaded>>,
}

/// An answer, or the loss of the connection that should have brought it.
#[derive(Clone, Debug)]
pub(crate) enum Answer<T> {
    Said(T),
    Lost,
}

/// Where a caller waits for its answer.
pub(crate) struct Slot<T> {
    answer: Mutex<Option<Answer<T>>>,
    filled: Condvar,
}

impl<T: Clone> Slot<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(None),
            filled: Condvar::new(),
        })
    }

    fn lost() -> Arc<Self> {
        let slot = Self::new();
        slot.fill(Answer::Lost);
        slot
    }

    pub(super) fn fill(&self, answer: Answer<T>) {
        *self.answer.lock() = Some(answer);
        self.filled.notify_all();
    }

    /// The answer, or `None` when the time is over. A loss of the connection is an answer, too.
    pub(crate) fn wait_until(&self, deadline: Instant) -> Option<Answer<T>> {
        let mut answer = self.answer.lock();
        while answer.is_none() {
            if self.filled.wait_until(&mut answer, deadline).timed_out() {
                break;
            }
        }
        answer.clone()
    }
}

/// How many loads may be under way for another one to be asked for in advance.
const PREFETCHES_MAX: usize = 1000;
/// What is written goes out in pieces of about this size.
const WRITE_BYTES: usize = 256 << 10;
/// Room that the write buffer keeps.
const KEEP_BYTES: usize = 1 << 20;

impl Link {
    pub(super) fn new(
        session: Session,
        stream: Arc<Stream>,
        generation: Generation,
        peer: Peer,
    ) -> Self {
        Self {
            calls: Mutex::new(Calls {
                session,
                pending: BTreeMap::new(),
                loads: HashMap::new(),
                dead: false,
            }),
            writer: Mutex::default(),
            stream,
            generation,
            peer,
            downloads: Mutex::default(),
        }
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Loads, joining a load of the same revision that is under way.
    pub(super) fn load(
        &self,
        cache: &ClientCache,
        oid: Oid,
        before: Tid,
        deadline: Instant,
    ) -> Arc<Slot<Loaded>> {
        let mut calls = self.calls.lock();
        if calls.dead {
            return Slot::lost();
        }
        if let Some(slot) = calls.loads.get(&(oid, before)) {
            return slot.clone();
        }
        let slot = Slot::new();
        // One that has just ended left its revision there.
        if let Some(revision) = cache.lookup(oid, before) {
            slot.fill(Answer::Said(Ok(Some(revision))));
            return slot;
        }
        calls.ask_for(cache, oid, before, slot.clone());
        drop(calls);
        self.flush(deadline);
        slot
    }

    /// Asks for all of these that are not known, and waits for none. Who loads one of them meanwhile
    /// joins. Beyond so many that are under way the rest is passed over.
    pub(super) fn prefetch(
        &self,
        cache: &ClientCache,
        oids: &[Oid],
        before: Tid,
        deadline: Instant,
    ) {
        let unknown = oids
            .iter()
            .filter(|oid| cache.lookup(**oid, before).is_none());
        for &oid in unknown {
            let mut calls = self.calls.lock();
            if calls.dead || calls.loads.len() >= PREFETCHES_MAX {
                break;
            }
            if !calls.loads.contains_key(&(oid, before)) {
                calls.ask_for(cache, oid, before, Slot::new());
            }
        }
        self.flush(deadline);
    }

    /// Makes a call.
    pub(super) fn call(&self, request: &Request, deadline: Instant) -> Arc<Slot<Called>> {
        self.call_with(request, Pending::Other, deadline)
            .unwrap_or_else(Slot::lost)
    }

    /// Finishes a transaction; `None` when the connection was lost before the order was given.
    pub(super) fn finish(
        &self,
        request: &Request,
        stored: Vec<(Oid, Option<Record>)>,
        deadline: Instant,
    ) -> Option<Arc<Slot<Called>>> {
        self.call_with(request, |slot| Pending::Finish(stored, slot), deadline)
    }

    /// Asks for the file of a blob, for which nobody else asks meanwhile.
    pub(super) fn fetch_blob(
        &self,
        oid: Oid,
        tid: Tid,
        download: Download,
        deadline: Instant,
    ) -> Arc<Slot<Fetched>> {
        let slot = Slot::new();
        let mut calls = self.calls.lock();
        if calls.dead {
            return Slot::lost();
        }
        self.downloads.lock().insert((oid, tid), download);
        let id = calls.session.call(&Request::SendBlob { oid, tid });
        calls
            .pending
            .insert(id, Pending::Blob(oid, tid, slot.clone()));
        drop(calls);
        self.flush(deadline);
        slot
    }

    /// Lets a part go where it belongs; one that nobody asked for is passed over.
    pub(super) fn take_blob(&self, oid: Oid, tid: Tid, part: &BlobPart) {
        if let Some(download) = self.downloads.lock().get_mut(&(oid, tid)) {
            download.take(part);
        }
    }

    /// The file is there, or will not come.
    pub(super) fn end_blob(&self, oid: Oid, tid: Tid, outcome: Called) -> Fetched {
        let download = self.downloads.lock().remove(&(oid, tid));
        match (outcome, download) {
            (Ok(_), Some(download)) => download.end(oid),
            (Ok(_), None) => Err(StorageError::NotFound { oid }),
            (Err(refusal), _) => Err(refusal.to_storage_error(Some(oid))),
        }
    }

    /// Whether everybody was told that the connection is lost.
    pub(super) fn is_dead(&self) -> bool {
        self.calls.lock().dead
    }

    fn call_with(
        &self,
        request: &Request,
        pending: impl FnOnce(Arc<Slot<Called>>) -> Pending,
        deadline: Instant,
    ) -> Option<Arc<Slot<Called>>> {
        let slot = Slot::new();
        let mut calls = self.calls.lock();
        if calls.dead {
            return None;
        }
        let id = calls.session.call(request);
        calls.pending.insert(id, pending(slot.clone()));
        drop(calls);
        self.flush(deadline);
        Some(slot)
    }

    /// Makes calls that are not answered: all of them, unless the connection is lost. Waits for the
    /// socket when the server is slow.
    pub(super) fn send_all(&self, requests: impl Iterator<Item = Request>, deadline: Instant) {
        let mut gathered = 0;
        for request in requests {
            if let Request::Store { record, .. } = &request {
                gathered += record.len();
            }
            let mut calls = self.calls.lock();
            if calls.dead {
                return;
            }
            calls.session.send(&request);
            drop(calls);
            if gathered >= WRITE_BYTES {
                self.flush(deadline);
                gathered = 0;
            }
        }
        self.flush(deadline);
    }

    /// Writes out what was said. A failure ends the connection, which the reading thread sees, and
    /// so does a deadline that comes in the middle. One that comes while others write leaves it to
    /// them.
    pub(super) fn flush(&self, deadline: Instant) {
        if let Some(mut writer) = self.writer.try_lock_until(deadline) {
            self.write_out(&mut writer, deadline);
        }
    }

    /// The same for the reading thread, which must not wait for a writer: whoever writes takes
    /// this along, or shows that we live.
    pub(super) fn flush_unless_busy(&self, deadline: Instant) {
        if let Some(mut writer) = self.writer.try_lock() {
            self.write_out(&mut writer, deadline);
        }
    }

    fn write_out(&self, buffer: &mut Vec<u8>, deadline: Instant) {
        while self.calls.lock().session.poll_transmit(buffer) {
            let written = write_until(&self.stream, buffer, deadline);
            buffer.clear();
            buffer.shrink_to(KEEP_BYTES);
            if let Err(error) = written {
                tracing::info!(%error, "cannot write to the storage server");
                self.kill();
                return;
            }
        }
    }

    /// Ends the connection; the reading thread tells everybody.
    pub(super) fn kill(&self) {
        self.stream.shutdown();
    }

    /// Tells everybody who waits that the connection is lost.
    pub(super) fn bury(&self, cache: &ClientCache) {
        let pending = {
            let mut calls = self.calls.lock();
            calls.dead = true;
            calls.loads.clear();
            std::mem::take(&mut calls.pending)
        };
        // Gone before anybody begins anew.
        self.downloads.lock().clear();
        for (_, pending) in pending {
            match pending {
                Pending::Load(load) => {
                    cache.abandon_load(load.ticket);
                    load.slot.fill(Answer::Lost);
                }
                Pending::Blob(_, _, slot) => slot.fill(Answer::Lost),
                Pending::Finish(_, slot) | Pending::Other(slot) => slot.fill(Answer::Lost),
            }
        }
    }
}

/// Writes everything, or fails when the time is over. The stream's write timeout is how often that
/// is looked at.
fn write_until(stream: &Stream, mut rest: &[u8], deadline: Instant) -> io::Result<()> {
    loop {
        match stream.send(&mut rest) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        if clock::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

impl Calls {
    fn ask_for(&mut self, cache: &ClientCache, oid: Oid, before: Tid, slot: Arc<Slot<Loaded>>) {
        self.loads.insert((oid, before), slot.clone());
        // Announced before it is asked: no invalidation slips in between.
        let ticket = cache.begin_load(oid);
        let id = self.session.call(&Request::LoadBefore { oid, before });
        let load = PendingLoad {
            oid,
            before,
            ticket,
            slot,
        };
        self.pending.insert(id, Pending::Load(load));
    }

    /// Takes the call that a reply belongs to.
    pub(super) fn take(&mut self, id: CallId) -> Option<Pending> {
        self.pending.remove(&id)
    }

    /// Nobody joins this load any more.
    pub(super) fn end_load(&mut self, oid: Oid, before: Tid) {
        self.loads.remove(&(oid, before));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn peer() -> Peer {
        Peer {
            address: "test".to_owned(),
            is_read_only: false,
        }
    }

    #[test]
    fn a_server_that_does_not_read_is_given_up_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut session = Session::new(clock::now(), zeo::FRAME_BYTES_MAX);
        session.receive(b"\0\0\0\x02Z5").unwrap();
        let stream = Arc::new(Stream::plain(stream.into()));
        let link = Link::new(session, stream, Generation::default(), peer());
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let store = |number| Request::Store {
                oid: Oid::new(number),
                base: Tid::ZERO,
                record: Record::from(vec![7; 1 << 20]),
                id: zeo::Value::Int(1),
            };
            let deadline = clock::now() + Duration::from_millis(200);
            link.send_all((0..64).map(store), deadline);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(PATIENCE).unwrap();
        // The rest of what was begun never comes: the server sees the end.
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let received = io::copy(&mut server, &mut io::sink());
        assert!(received.is_ok_and(|length| length < 64 << 20));
    }
}
