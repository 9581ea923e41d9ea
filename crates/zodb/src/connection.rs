//! A connection: one snapshot, and the changes of one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use pickle::Pickles;
use storage::{Commit, CommitError, Oid, Record, StorageError, Tid, TransactionMeta};

use crate::blob::{self, NewData};
use crate::savepoint::Journal;
use crate::{Database, Object, Savepoint, ZodbError};

/// The database at one moment, with private changes on top. Dropping it forgets the changes.
///
/// Objects are immutable and shared by all connections. A change is a copy that only this
/// connection sees until it is committed.
#[derive(Debug)]
pub struct Connection {
    database: Arc<Database>,
    before: Tid,
    /// What was stored here, with the transaction each change is based on.
    changes: BTreeMap<Oid, Change>,
    /// What must still be current at commit though it is not changed.
    relied_on: BTreeMap<Oid, Tid>,
    journal: Journal,
    is_historical: bool,
    /// Why the snapshot may lack what was committed before it, where it must not.
    unsynced: Option<StorageError>,
}

/// An object as this transaction leaves it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    object: Arc<Object>,
    /// The data of a blob.
    data: Option<Arc<NewData>>,
}

impl Change {
    pub(crate) fn new(object: Object, data: Option<Arc<NewData>>) -> Self {
        let object = Arc::new(object);
        Self { object, data }
    }
}

impl Connection {
    pub(crate) fn new(database: Arc<Database>, before: Tid) -> Self {
        Self {
            database,
            before,
            changes: BTreeMap::new(),
            relied_on: BTreeMap::new(),
            journal: Journal::default(),
            is_historical: false,
            unsynced: None,
        }
    }

    /// A connection that sees nothing but this error.
    pub(crate) fn unsynced(database: Arc<Database>, before: Tid, error: StorageError) -> Self {
        Self {
            unsynced: Some(error),
            ..Self::new(database, before)
        }
    }

    /// A connection that only reads.
    pub(crate) fn historical(database: Arc<Database>, before: Tid) -> Self {
        Self {
            is_historical: true,
            ..Self::new(database, before)
        }
    }

    /// The database this belongs to.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The snapshot: all transactions before this one are seen.
    pub fn before(&self) -> Tid {
        self.before
    }

    /// An object as this transaction sees it, its own changes included.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] for an object that does not exist in the snapshot,
    /// [`ZodbError::Undecodable`] for one whose record is damaged.
    pub fn load(&self, oid: Oid) -> Result<Arc<Object>, ZodbError> {
        match self.changes.get(&oid) {
            Some(changed) => Ok(changed.object.clone()),
            None => {
                self.check_synced()?;
                self.database.load(oid, self.before)
            }
        }
    }

    /// The object that everything is reached from.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn root(&self) -> Result<Arc<Object>, ZodbError> {
        self.load(Oid::ROOT)
    }

    /// Says that these objects will be loaded soon, so that a storage far away fetches them together.
    /// It waits for nothing, and asks for none that is at hand.
    pub fn prefetch(&self, oids: impl IntoIterator<Item = Oid>) {
        let is_wanted =
            |oid: &Oid| !self.changes.contains_key(oid) && !self.database.has(*oid, self.before);
        let wanted: Vec<Oid> = oids.into_iter().filter(is_wanted).collect();
        if !wanted.is_empty() {
            self.database.storage().prefetch(&wanted, self.before);
        }
    }

    /// The bytes of an object's record as this transaction sees it: also of one that cannot be
    /// decoded, so that it can be looked at or copied as it is.
    ///
    /// # Errors
    /// A storage error where the object does not exist in the snapshot.
    pub fn record(&self, oid: Oid) -> Result<Record, ZodbError> {
        if let Some(changed) = self.changes.get(&oid) {
            return Ok(Record::from(changed.object.pickles().encode()));
        }
        self.check_synced()?;
        let revision = self.database.storage().load_before(oid, self.before)?;
        Ok(revision.ok_or(StorageError::NotFound { oid })?.record)
    }

    /// Replaces the class and state of an object, for this transaction at first.
    ///
    /// # Errors
    /// [`ZodbError::Undecodable`] where `pickles` is not class and state;
    /// [`ZodbError::Historical`] where the connection only reads; [`ZodbError::BlobWithoutData`]
    /// where it is to be a blob, which [`add_blob`](Self::add_blob) makes.
    pub fn store(&mut self, oid: Oid, pickles: Pickles) -> Result<(), ZodbError> {
        if self.is_historical {
            return Err(ZodbError::Historical);
        }
        let (base, data) = match self.changes.get(&oid) {
            Some(changed) => (changed.object.tid(), changed.data.clone()),
            None => (self.base_of(oid)?, None),
        };
        self.change(oid, base, pickles, data)
    }

    /// A new object, for this transaction at first. Something has to refer to it, or packing
    /// removes it.
    ///
    /// # Errors
    /// [`ZodbError::Undecodable`] where `pickles` is not class and state;
    /// [`ZodbError::BlobWithoutData`] where it is to be a blob; a storage error where no id could be
    /// had.
    pub fn create(&mut self, pickles: Pickles) -> Result<Oid, ZodbError> {
        if self.is_historical {
            return Err(ZodbError::Historical);
        }
        let oid = self.new_oid()?;
        self.change(oid, Tid::ZERO, pickles, None)?;
        Ok(oid)
    }

    /// A fresh id, for objects that refer to each other before they are stored.
    ///
    /// # Errors
    /// A storage error where no id could be had.
    pub fn new_oid(&self) -> Result<Oid, ZodbError> {
        let oids = self.database.storage().new_oids(1)?;
        let none = StorageError::Unsupported {
            operation: "new object ids",
        };
        Ok(*oids.first().ok_or(none)?)
    }

    /// Makes the commit depend on the object being what this snapshot sees, without changing it
    /// (`readCurrent`). It counts only when something else is changed, and going back to a
    /// savepoint does not take it back.
    ///
    /// # Errors
    /// A storage error where the object does not exist.
    pub fn read_current(&mut self, oid: Oid) -> Result<(), ZodbError> {
        if !self.changes.contains_key(&oid) {
            self.check_synced()?;
            let tid = self.database.tid_of(oid, self.before)?;
            self.relied_on.insert(oid, tid);
        }
        Ok(())
    }

    /// Whether anything was stored.
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The objects that were stored, in the order of their ids.
    pub fn changed(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.changes.values().map(|change| &change.object)
    }

    /// Whether the connection only reads: it was opened with [`Database::at`] or
    /// [`Database::before`].
    pub fn is_historical(&self) -> bool {
        self.is_historical
    }

    /// Marks this moment: [`roll_back`](Self::roll_back) comes back to it.
    pub fn savepoint(&mut self) -> Savepoint {
        self.journal.mark()
    }

    /// Undoes what was changed and created since the savepoint. It may be done again, as often as
    /// is liked; savepoints made later are good no more.
    ///
    /// # Errors
    /// [`ZodbError::Savepoint`] where it belongs to another connection or is good no more. Nothing
    /// was undone then.
    pub fn roll_back(&mut self, savepoint: Savepoint) -> Result<(), ZodbError> {
        if self.journal.roll_back(savepoint, &mut self.changes) {
            Ok(())
        } else {
            Err(ZodbError::Savepoint)
        }
    }

    /// Forgets all changes, and begins the next transaction on a snapshot of now. A connection to
    /// the past stays where it is.
    pub fn abort(&mut self) {
        let fresh = self.database.connect();
        let before = if self.is_historical {
            self.before
        } else {
            fresh.before
        };
        *self = Self {
            before,
            is_historical: self.is_historical,
            ..fresh
        };
    }

    /// Commits the changes as one transaction and gives its id. Without changes the storage is
    /// not touched and the answer is the newest transaction that this snapshot sees.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] and [`CommitError::ReadConflict`] where somebody else was faster:
    /// do the work again on a fresh connection. After [`CommitError::Unknown`] the transaction may
    /// be there or not. After every other error nothing was written.
    pub fn commit(self, meta: TransactionMeta) -> Result<Tid, CommitError> {
        match self.begin(meta)? {
            Some(commit) => commit.vote()?.finish(Box::new(|_tid| {})),
            None => Ok(Tid::new(self.before.number().saturating_sub(1))),
        }
    }

    /// The changes, handed to the storage and not yet voted on; nothing where there are none.
    pub(crate) fn begin(
        &self,
        meta: TransactionMeta,
    ) -> Result<Option<Box<dyn Commit>>, StorageError> {
        self.check_synced()?;
        if self.changes.is_empty() {
            return Ok(None);
        }
        let mut commit = self.database.storage().clone().begin(meta)?;
        for (&oid, &tid) in &self.relied_on {
            if !self.changes.contains_key(&oid) {
                commit.check_current(oid, tid)?;
            }
        }
        for (&oid, Change { object, data }) in &self.changes {
            let (base, record) = (object.tid(), Record::from(object.pickles().encode()));
            match data {
                Some(data) => data.hand_over(|file| commit.store_blob(oid, base, record, file))?,
                None => commit.store(oid, base, record)?,
            }
        }
        Ok(Some(commit))
    }

    /// The transaction a change of `oid` is based on; [`Tid::ZERO`] where the object is not there
    /// yet. A change over an object that came later is caught at the vote.
    fn base_of(&self, oid: Oid) -> Result<Tid, StorageError> {
        self.check_synced()?;
        match self.database.tid_of(oid, self.before) {
            Err(StorageError::NotFound { .. }) => Ok(Tid::ZERO),
            other => other,
        }
    }

    /// The data that this transaction gives a blob.
    pub(crate) fn new_data(&self, oid: Oid) -> Option<&NewData> {
        self.changes.get(&oid)?.data.as_deref()
    }

    pub(crate) fn change(
        &mut self,
        oid: Oid,
        base: Tid,
        pickles: Pickles,
        data: Option<Arc<NewData>>,
    ) -> Result<(), ZodbError> {
        let object = Object::new(oid, base, pickles).map_err(|source| ZodbError::Undecodable {
            oid,
            tid: Tid::ZERO,
            source,
        })?;
        let data = match (blob::is_blob(object.class()), data) {
            (true, None) => return Err(ZodbError::BlobWithoutData { oid }),
            (true, data) => data,
            (false, _) => None,
        };
        self.apply(oid, Change::new(object, data));
        Ok(())
    }

    pub(crate) fn apply(&mut self, oid: Oid, change: Change) {
        let replaced = self.changes.insert(oid, change);
        self.journal.note(oid, replaced);
    }

    pub(crate) fn check_synced(&self) -> Result<(), StorageError> {
        match &self.unsynced {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }
}
