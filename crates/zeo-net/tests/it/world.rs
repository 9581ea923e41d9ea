//! A server in a thread that the test stops and starts, and a storage that the test holds up.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use storage::{
    Changes, Commit, CommitError, MemoryStorage, Oid, Publish, Record, Revision, Storage,
    StorageError, StorageStats, Tid, TransactionMeta, Voted,
};
use tokio::sync::oneshot;
use zeo_net::{ClientOptions, Server, ServerOptions, ZeoStorage};

/// A running server; stops when dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub(crate) fn start(storage: Arc<dyn Storage>) -> Self {
        Self::start_with(storage, any_port(), ServerOptions::default())
    }

    pub(crate) fn start_with(
        storage: Arc<dyn Storage>,
        address: SocketAddr,
        options: ServerOptions,
    ) -> Self {
        let server = Server::bind(address, options).unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let shutdown = async { stopped.await.unwrap_or_default() };
            let storages = vec![("1".to_owned(), storage)];
            runtime.block_on(server.run(storages, shutdown)).unwrap();
        });
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Begins the end, which [`stop`](Self::stop) waits for.
    pub(crate) fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _it_may_have_ended = stop.send(());
        }
    }

    pub(crate) fn stop(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn client(&self) -> Arc<ZeoStorage> {
        connect(self.address)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn options(address: SocketAddr) -> ClientOptions {
    ClientOptions {
        servers: vec![address.to_string()],
        ..ClientOptions::default()
    }
}

pub(crate) fn connect(address: SocketAddr) -> Arc<ZeoStorage> {
    ZeoStorage::connect(options(address)).unwrap()
}

/// Commits one store.
pub(crate) fn commit(
    storage: &Arc<impl Storage + 'static>,
    oid: Oid,
    base: Tid,
    data: &[u8],
) -> Result<Tid, CommitError> {
    let storage: Arc<dyn Storage> = storage.clone();
    let mut commit = storage.begin(TransactionMeta::default())?;
    commit.store(oid, base, Record::from(data))?;
    commit.vote()?.finish(Box::new(|_| {}))
}

/// A door that is open or shut; tells who stands before it.
#[derive(Default)]
pub(crate) struct Door {
    state: Mutex<DoorState>,
    changed: Condvar,
}

#[derive(Default)]
struct DoorState {
    shut: bool,
    broken: bool,
    waiting: usize,
    passed: usize,
}

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Door {
    pub(crate) fn shut(&self) {
        self.state.lock().shut = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().shut = false;
        self.changed.notify_all();
    }

    /// From now on whoever passes comes to grief.
    pub(crate) fn break_down(&self) {
        self.state.lock().broken = true;
    }

    /// How often somebody has come by.
    pub(crate) fn passed(&self) -> usize {
        self.state.lock().passed
    }

    pub(crate) fn wait_for(&self, waiting: usize) {
        let mut state = self.state.lock();
        while state.waiting < waiting {
            let timeout = self.changed.wait_for(&mut state, PATIENCE);
            assert!(!timeout.timed_out(), "nobody came to the door");
        }
    }

    /// Whether it went well.
    fn pass(&self) -> bool {
        let mut state = self.state.lock();
        state.passed += 1;
        state.waiting += 1;
        self.changed.notify_all();
        while state.shut {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
        !state.broken
    }
}

/// A storage in memory with doors before its loads and its finishes.
#[derive(Default)]
pub(crate) struct Doors {
    pub(crate) memory: Arc<MemoryStorage>,
    pub(crate) loads: Door,
    pub(crate) finishes: Arc<Door>,
}

struct DoorCommit(Box<dyn Commit>, Arc<Door>);
struct DoorVoted(Box<dyn Voted>, Arc<Door>);

impl Storage for Doors {
    fn name(&self) -> String {
        self.memory.name()
    }
    fn last_tid(&self) -> Tid {
        self.memory.last_tid()
    }
    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.loads.pass();
        self.memory.load_before(oid, before)
    }
    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.memory.new_oids(count)
    }
    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        let commit = self.memory.clone().begin(meta)?;
        Ok(Box::new(DoorCommit(commit, self.finishes.clone())))
    }
    fn stats(&self) -> StorageStats {
        self.memory.stats()
    }
    fn changes_since(&self, since: Tid, max: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        self.memory.changes_since(since, max)
    }
    fn recent_changes(&self, max: usize) -> Result<Vec<Changes>, StorageError> {
        self.memory.recent_changes(max)
    }
}

impl Commit for DoorCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        self.0.store(oid, base, record)
    }
    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.0.check_current(oid, base)
    }
    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        let voted = self.0.vote()?;
        Ok(Box::new(DoorVoted(voted, self.1)))
    }
}

impl Voted for DoorVoted {
    fn resolved(&self) -> &[Oid] {
        self.0.resolved()
    }
    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        if self.1.pass() {
            return self.0.finish(publish);
        }
        // What a disk does that takes the last word and fails to say so.
        self.0.finish(Box::new(|_| {}))?;
        let cause = "the door is broken".to_owned();
        Err(StorageError::Poisoned { cause }.into())
    }
}

/// A wire between client and server that the test can cut.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    streams: mpsc::Receiver<[TcpStream; 2]>,
    swallowing: Arc<AtomicBool>,
    swallowed: mpsc::Receiver<()>,
}

impl Wire {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel();
        let (swallow, swallowed) = mpsc::channel();
        let swallowing = Arc::new(AtomicBool::new(false));
        let mute = swallowing.clone();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(server).unwrap();
                let (mute, swallow) = (mute.clone(), swallow.clone());
                copy(&client, &server, move || {
                    let mute = mute.load(Ordering::SeqCst);
                    mute && swallow.send(()).is_ok()
                });
                copy(&server, &client, || false);
                if sender.send([client, server]).is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            streams,
            swallowing,
            swallowed,
        }
    }

    /// From now on the server hears nothing.
    pub(crate) fn swallow(&self) {
        self.swallowing.store(true, Ordering::SeqCst);
    }

    /// Waits until the server has missed something, and lets it hear again.
    pub(crate) fn wait_for_swallowed(&self) {
        self.swallowed.recv_timeout(PATIENCE).unwrap();
        self.swallowing.store(false, Ordering::SeqCst);
    }

    /// Cuts the oldest connection that is still whole.
    pub(crate) fn cut(&self) {
        for stream in self.streams.recv_timeout(PATIENCE).unwrap() {
            let _it_may_be_closed = stream.shutdown(Shutdown::Both);
        }
    }
}

fn copy(from: &TcpStream, to: &TcpStream, swallow: impl Fn() -> bool + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if !swallow() && to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _it_may_be_closed = to.shutdown(Shutdown::Both);
    });
}
