//! Where a script plays: a disk, a clock that the script moves, and records that have references.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filestorage::{FileStorage, Options};
use pickle::Pickles;
use sha1::{Digest, Sha1};
use sim::SimDisk;
use storage::{Commit, Oid, Record, Storage, StorageError, Tid, TransactionMeta, Voted};
use vfs::{Disk, OpenMode};

/// The transactions of a storage: of each its id, and its records; no data where the object ceased to
/// exist.
pub(super) type Content = Vec<(Tid, Vec<(Oid, Option<Record>)>)>;

pub(super) const PATH: &str = "/db/Data.fs";
/// Where the judge looks for blobs.
const BLOBS: &str = "/db/blobs";

/// A change of an object: its number, a text, and the objects it refers to.
pub(super) type Change<'a> = (u64, &'a str, &'a [u64]);

#[derive(Clone)]
pub(super) struct Stage {
    disk: SimDisk,
    seconds: Arc<AtomicU64>,
    options: Options,
}

impl Stage {
    /// An empty disk that writes down what is done on it.
    pub(super) fn new() -> Self {
        let stage = Self::of(SimDisk::new(), 1_700_000_000);
        stage.disk.record();
        stage
    }

    fn of(disk: SimDisk, seconds: u64) -> Self {
        let seconds = Arc::new(AtomicU64::new(seconds));
        let clock = Arc::clone(&seconds);
        let options = Options {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(move || Duration::from_secs(clock.load(Ordering::Relaxed))),
            ..Options::default()
        };
        Self {
            disk,
            seconds,
            options,
        }
    }

    /// The same with a checkpoint of the index after every few transactions, made at once.
    pub(super) fn with_checkpoints() -> Self {
        let mut stage = Self::new();
        stage.options.checkpoint_every = Some(CHECKPOINT_EVERY as u64);
        stage.options.background = Arc::new(|work| work());
        stage
    }

    /// The same with a directory of blobs.
    pub(super) fn with_blobs() -> Self {
        let mut stage = Self::new();
        stage.options.blob_dir = Some(BLOBS.into());
        stage
    }

    /// Another disk at a later time.
    pub(super) fn on(&self, disk: &SimDisk) -> Self {
        let mut stage = Self::of(disk.clone(), self.seconds.load(Ordering::Relaxed) + 1);
        stage.options.blob_dir = self.options.blob_dir.clone();
        stage.options.checkpoint_every = self.options.checkpoint_every;
        stage.options.background = Arc::clone(&self.options.background);
        stage
    }

    pub(super) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(super) fn now(&self) -> Tid {
        Tid::from_unix_time((self.options.clock)())
    }

    pub(super) fn try_open(&self) -> Result<Arc<FileStorage>, StorageError> {
        FileStorage::open(PATH, self.options.clone())
    }

    pub(super) fn open(&self) -> Arc<FileStorage> {
        self.try_open().unwrap()
    }

    /// Closes and opens again, as a restart of the server does.
    pub(super) fn reopen(&self, storage: Arc<FileStorage>) -> Arc<FileStorage> {
        storage.close().unwrap();
        drop(storage);
        self.open()
    }

    /// Begins a commit a second later than the one before.
    pub(super) fn begin(&self, storage: &Arc<FileStorage>, description: &str) -> Box<dyn Commit> {
        self.seconds.fetch_add(1, Ordering::Relaxed);
        let meta = TransactionMeta {
            user: b"somebody".to_vec(),
            description: description.into(),
            extension: Vec::new(),
        };
        storage.clone().begin(meta).unwrap()
    }

    /// Commits changes made from what is current, and notes that this was acknowledged.
    pub(super) fn commit(&self, storage: &Arc<FileStorage>, changes: &[Change<'_>]) -> Tid {
        let mut commit = self.begin(storage, changes[0].1);
        for (oid, text, references) in changes {
            let oid = Oid::new(*oid);
            let record = record(text, references);
            commit.store(oid, base(storage, oid), record).unwrap();
        }
        self.finish(commit)
    }

    /// A root that refers to these objects, and them.
    pub(super) fn create(&self, storage: &Arc<FileStorage>, objects: &[u64]) -> Tid {
        let objects_changes = objects.iter().map(|oid| (*oid, "new", &[][..]));
        let root = (0, "root", objects);
        let changes: Vec<_> = std::iter::once(root).chain(objects_changes).collect();
        self.commit(storage, &changes)
    }

    /// Stores a blob whose record says what its file is.
    pub(super) fn store_blob(
        &self,
        commit: &mut dyn Commit,
        storage: &Arc<FileStorage>,
        oid: u64,
        text: &str,
    ) {
        let path = storage.blobs().unwrap().staging_file();
        let file = self.disk.open(&path, OpenMode::Create).unwrap();
        file.write_at(text.as_bytes(), 0).unwrap();
        let mut pickles = Pickles::new();
        let class = pickles.global("ZODB.blob", "Blob");
        pickles.push_root(class);
        let digest = pickles.str(&hex(&Sha1::digest(text)));
        pickles.push_root(digest);
        let record = Record::from(pickles.encode());
        let oid = Oid::new(oid);
        let base = base(storage, oid);
        commit.store_blob(oid, base, record, path).unwrap();
    }

    pub(super) fn finish(&self, commit: Box<dyn Commit>) -> Tid {
        self.finish_voted(commit.vote().unwrap())
    }

    pub(super) fn finish_voted(&self, voted: Box<dyn Voted>) -> Tid {
        let tid = voted.finish(Box::new(|_| {})).unwrap();
        self.disk.note(tid.number());
        tid
    }

    /// What is loaded is what iteration shows last: the index speaks of this file.
    pub(super) fn check_currency(
        &self,
        storage: &Arc<FileStorage>,
        content: &Content,
        context: &str,
    ) {
        assert_eq!(
            storage.last_tid(),
            content.last().map_or(Tid::ZERO, |last| last.0),
            "{context}"
        );
        for oid in (0..OBJECTS_MAX).map(Oid::new) {
            let mut newest_first = content.iter().rev();
            let newest = newest_first.find_map(|(tid, records)| {
                let record = records.iter().rev().find(|(changed, _)| *changed == oid);
                record.map(|(_, data)| (*tid, data.clone()))
            });
            let expected = newest.and_then(|(tid, data)| Some((tid, data?)));
            let found = match storage.load_before(oid, Tid::MAX) {
                Ok(found) => found.map(|found| (found.tid, found.record)),
                Err(StorageError::NotFound { .. }) => None,
                Err(error) => panic!("{context}: {error}"),
            };
            assert_eq!(found, expected, "{context}: object {oid}");
        }
    }
}

/// The transaction that a change made now is made from.
pub(super) fn base(storage: &Arc<FileStorage>, oid: Oid) -> Tid {
    match storage.current_tid(oid) {
        Ok(tid) => tid,
        Err(StorageError::NotFound { .. }) => Tid::ZERO,
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn read_all(storage: &FileStorage) -> Content {
    let transactions = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    transactions
        .map(|transaction| {
            let transaction = transaction.unwrap();
            let records = transaction.records().map(|record| {
                let record = record.unwrap();
                (record.oid, record.data)
            });
            (transaction.tid, records.collect())
        })
        .collect()
}

/// As the judge makes it.
pub(super) fn digest(content: &Content) -> String {
    let mut digest = Sha1::new();
    for (tid, records) in content {
        digest.update(b"t");
        digest.update(tid.to_bytes());
        for (oid, data) in records {
            digest.update(b"r");
            digest.update(oid.to_bytes());
            let bytes = data.as_deref().unwrap_or_default();
            let size = data.as_ref().map_or(u64::MAX, |data| data.len() as u64);
            digest.update(size.to_be_bytes());
            digest.update(bytes);
        }
    }
    hex(&digest.finalize())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A record with a text in it that refers to these objects.
pub(super) fn record(text: &str, references: &[u64]) -> Record {
    let mut pickles = Pickles::new();
    let class = pickles.global("persistent.list", "PersistentList");
    pickles.push_root(class);
    let mut items = vec![pickles.str(text)];
    for &number in references {
        let oid = pickles.bytes(&Oid::new(number).to_bytes());
        let id = pickles.tuple(vec![oid, class]);
        items.push(pickles.persistent(id));
    }
    let list = pickles.list(items);
    let key = pickles.str("data");
    let state = pickles.dict(vec![(key, list)]);
    pickles.push_root(state);
    Record::from(pickles.encode())
}

/// In bytes of the file.
pub(super) const CHECKPOINT_EVERY: usize = 1_500;

/// The scripts use smaller ids.
const OBJECTS_MAX: u64 = 40;

/// What else than the file is on a disk is put into the same folder.
pub(super) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/db").unwrap()
}
