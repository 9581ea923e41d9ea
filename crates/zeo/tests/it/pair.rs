//! The harness: clients whose bytes go to a hub, and back, when the test says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{
    Changes, Commit, MemoryStorage, Oid, Record, Revision, Storage, StorageError, StorageStats,
    Tid, TransactionMeta,
};
use zeo::{
    CallId, Connection, Encoding, Event, FRAME_BYTES_MAX, Hub, HubOptions, Job, ProtocolError,
    Refusal, Reply, Request, Rights, Session, Value,
};

pub(crate) fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::new())
}

pub(crate) fn hub_with(storage: Arc<MemoryStorage>, options: HubOptions) -> Arc<Hub> {
    let storage = Arc::new(Plain(storage));
    Hub::new(vec![("1".to_owned(), storage)], options).unwrap()
}

/// A storage that loads and commits, and can do no more: what the genuine server had for the golden
/// files.
struct Plain(Arc<MemoryStorage>);

impl Storage for Plain {
    fn name(&self) -> String {
        self.0.name()
    }

    fn last_tid(&self) -> Tid {
        self.0.last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.0.load_before(oid, before)
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.0.new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        Arc::clone(&self.0).begin(meta)
    }

    fn stats(&self) -> StorageStats {
        self.0.stats()
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        self.0.changes_since(since, transactions_max)
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        self.0.recent_changes(transactions_max)
    }
}

pub(crate) fn hub(encoding: Encoding) -> Arc<Hub> {
    let options = HubOptions {
        encoding,
        ..HubOptions::default()
    };
    hub_with(memory(), options)
}

/// Commits straight into a storage, as another server's life before did.
pub(crate) fn commit_into(storage: &Arc<MemoryStorage>, oid: Oid, base: Tid, data: &[u8]) -> Tid {
    let storage: Arc<dyn Storage> = storage.clone();
    let mut commit = storage.begin(TransactionMeta::default()).unwrap();
    commit.store(oid, base, Record::from(data)).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

/// A client and its end at the server.
pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) connection: Connection,
    /// Work that the server has not done yet.
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) error: Option<ProtocolError>,
    next_transaction: i64,
}

/// The time does not pass here.
#[allow(clippy::disallowed_methods, reason = "a point to count from")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

impl Client {
    /// Connects and shakes hands.
    pub(crate) fn connect(hub: &Arc<Hub>) -> Self {
        Self::connect_with(hub, || {})
    }

    /// The same, with something to do when the server has said something.
    pub(crate) fn connect_with(hub: &Arc<Hub>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(hub.connect("test".to_owned(), wake))
    }

    /// The same, for one that may not do everything.
    pub(crate) fn with_rights(hub: &Arc<Hub>, rights: Rights) -> Self {
        Self::with(hub.connect_with("test".to_owned(), rights, || {}))
    }

    fn with(connection: Connection) -> Self {
        let mut client = Self {
            session: Session::new(epoch(), FRAME_BYTES_MAX),
            connection,
            jobs: VecDeque::new(),
            events: VecDeque::new(),
            error: None,
            next_transaction: 100,
        };
        client.hear();
        assert!(matches!(
            client.events.pop_front(),
            Some(Event::Connected(_))
        ));
        client
    }

    /// Connects and registers.
    pub(crate) fn registered(hub: &Arc<Hub>) -> Self {
        let mut client = Self::connect(hub);
        let reply = client.ask(&register(false));
        assert!(matches!(reply, Ok(Reply::Tid(_))), "{reply:?}");
        client
    }

    /// Brings what the client said to the server, which makes jobs of it.
    pub(crate) fn talk(&mut self) {
        let mut bytes = Vec::new();
        self.session.poll_transmit(&mut bytes);
        self.connection.receive(&bytes);
        loop {
            match self.connection.next_job() {
                Ok(Some(job)) => self.jobs.push_back(job),
                Ok(None) => break,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
    }

    /// Brings what the server said to the client.
    pub(crate) fn hear(&mut self) {
        let mut bytes = Vec::new();
        match self.connection.outbox().take(&mut bytes) {
            Ok(_) => self.session.receive(&bytes).unwrap(),
            Err(error) => self.error = Some(error),
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }

    pub(crate) fn run_jobs(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            job.run();
        }
    }

    /// Does everything there is to do for this client.
    pub(crate) fn settle(&mut self) {
        self.talk();
        self.run_jobs();
        self.hear();
    }

    pub(crate) fn call(&mut self, request: &Request) -> CallId {
        let id = self.session.call(request);
        self.talk();
        id
    }

    /// The answer to a call that nothing holds up.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let id = self.call(request);
        self.settle();
        self.answer(id).expect("answered")
    }

    /// The answer as it came.
    pub(crate) fn ask_raw(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let id = self.session.call_raw(request);
        self.settle();
        self.answer(id).expect("answered")
    }

    /// Takes the answer to a call out of the events.
    pub(crate) fn answer(&mut self, wanted: CallId) -> Option<Result<Reply, Refusal>> {
        let found = |event: &Event| matches!(event, Event::Replied { id, .. } if *id == wanted);
        let index = self.events.iter().position(found)?;
        match self.events.remove(index) {
            Some(Event::Replied { outcome, .. }) => Some(outcome),
            _ => None,
        }
    }

    pub(crate) fn send(&mut self, request: &Request) {
        self.session.send(request);
        self.talk();
    }

    /// Opens a transaction with one store.
    pub(crate) fn begin(&mut self, oid: Oid, base: Tid, data: &[u8]) -> Value<'static> {
        self.next_transaction += 1;
        let id = Value::Int(self.next_transaction);
        self.send(&Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        });
        self.store(oid, base, data, &id);
        id
    }

    pub(crate) fn store(&mut self, oid: Oid, base: Tid, data: &[u8], id: &Value<'static>) {
        self.send(&Request::Store {
            oid,
            base,
            record: Record::from(data),
            id: id.clone(),
        });
    }

    /// Commits one store.
    pub(crate) fn commit(&mut self, oid: Oid, base: Tid, data: &[u8]) -> Tid {
        let id = self.begin(oid, base, data);
        assert_eq!(
            self.ask(&Request::Vote(id.clone())),
            Ok(Reply::Voted(vec![]))
        );
        match self.ask(&Request::TpcFinish(id)) {
            Ok(Reply::Tid(tid)) => tid,
            other => panic!("{other:?}"),
        }
    }

    /// Only the invalidations that came, which are taken out.
    pub(crate) fn invalidations(&mut self) -> Vec<(Tid, Vec<Oid>)> {
        let events = std::mem::take(&mut self.events);
        let (pushes, others) = events
            .into_iter()
            .partition::<VecDeque<_>, _>(|event| matches!(event, Event::Invalidated { .. }));
        self.events = others;
        pushes
            .into_iter()
            .filter_map(|event| match event {
                Event::Invalidated { tid, oids } => Some((tid, oids)),
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn register(read_only: bool) -> Request {
    Request::Register {
        storage: "1".to_owned(),
        read_only,
    }
}

pub(crate) fn not_found(refusal: &Refusal) -> bool {
    matches!(
        refusal.to_storage_error(None),
        StorageError::NotFound { .. }
    )
}

#[test]
fn a_session_shows_every_minute_that_it_lives() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let due = client.session.poll_timeout().unwrap();
    client.session.handle_timeout(due - Duration::from_secs(1));
    let mut bytes = Vec::new();
    assert!(!client.session.poll_transmit(&mut bytes));
    client.session.handle_timeout(due);
    assert!(client.session.poll_timeout().unwrap() > due);
    // The server takes the heartbeat without a word.
    client.settle();
    assert_eq!(client.error, None);
    assert!(client.events.is_empty());
}
