//! Publishers and requests for tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use publisher::{Body, Publisher, PublisherOptions, Request, Response};
use storage::{
    Changes, Commit, MemoryStorage, Oid, Revision, Storage, StorageError, StorageStats, Tid,
    TransactionMeta,
};
use zodb::{Database, DatabaseOptions};

/// A publisher of the stock classes on a storage, with a clock that stands still.
pub(crate) fn publisher(storage: Arc<dyn Storage>) -> Publisher {
    let database = Database::new(storage, DatabaseOptions::default());
    let options = PublisherOptions::new(
        || Duration::from_secs(1_800_000_000),
        |_pause| {
            std::thread::yield_now();
        },
    );
    Publisher::new(database, ofs::registry(), options)
}

/// A request of localhost.
pub(crate) fn request(method: &str, path: &str) -> Request {
    Request {
        method: method.to_owned(),
        scheme: "http".to_owned(),
        host: "localhost:8080".to_owned(),
        path: path.to_owned(),
        ..Request::default()
    }
}

/// The whole body.
pub(crate) fn body(response: Response) -> Vec<u8> {
    match response.body {
        Body::Bytes(bytes) => bytes,
        Body::Stream { length, chunks } => {
            let pieces: Vec<_> = chunks.collect::<Result<_, _>>().unwrap();
            let whole = pieces.concat();
            assert_eq!(whole.len() as u64, length, "a stream is as long as it says");
            whole
        }
    }
}

/// A storage that remembers what transactions said of themselves, and lets others be faster.
pub(crate) struct Recorder {
    inner: Arc<MemoryStorage>,
    metas: Mutex<Vec<TransactionMeta>>,
    hook: Mutex<Option<Hook>>,
}

struct Hook {
    times: u32,
    act: Box<dyn FnMut() -> Result<(), StorageError> + Send>,
}

impl Recorder {
    pub(crate) fn new(inner: MemoryStorage) -> Self {
        Self {
            inner: Arc::new(inner),
            metas: Mutex::default(),
            hook: Mutex::default(),
        }
    }

    pub(crate) fn metas(&self) -> Vec<TransactionMeta> {
        self.metas.lock().unwrap().clone()
    }

    /// Acts when a commit begins, so many times, commits of the act itself not counted.
    pub(crate) fn before_votes(&self, times: u32, mut act: impl FnMut() + Send + 'static) {
        self.hook(times, move || {
            act();
            Ok(())
        });
    }

    /// Refuses so many commits.
    pub(crate) fn refuse(&self, times: u32, error: StorageError) {
        self.hook(times, move || Err(error.clone()));
    }

    fn hook(&self, times: u32, act: impl FnMut() -> Result<(), StorageError> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Hook {
            times,
            act: Box::new(act),
        });
    }
}

impl Storage for Recorder {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn last_tid(&self) -> Tid {
        self.inner.last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.inner.load_before(oid, before)
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.inner.new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            let result = (hook.act)();
            hook.times -= 1;
            if hook.times > 0 {
                *self.hook.lock().unwrap() = Some(hook);
            }
            result?;
        }
        self.metas.lock().unwrap().push(meta.clone());
        self.inner.clone().begin(meta)
    }

    fn stats(&self) -> StorageStats {
        self.inner.stats()
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        self.inner.changes_since(since, transactions_max)
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        self.inner.recent_changes(transactions_max)
    }
}
