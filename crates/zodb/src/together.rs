//! Several databases, and transactions that change all of them or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::{CommitError, Severity, StorageError, Tid, TransactionMeta, Voted};

use crate::{Connection, Database, Object, Reference, Savepoint, TogetherError, ZodbError};

/// Databases by the names under which objects of one refer to objects of another.
///
/// ```
/// use std::sync::Arc;
/// use storage::{MemoryStorage, TransactionMeta};
/// use zodb::{Data, Database, DatabaseOptions, Databases, PersistentMapping};
///
/// let open = || Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let databases = Databases::new([("main", open()), ("archive", open())]);
///
/// let mut session = databases.connect();
/// for name in ["main", "archive"] {
///     let root = PersistentMapping::new();
///     root.store(session.get_mut(name)?, storage::Oid::ROOT)?;
/// }
/// // Both, or none.
/// session.commit(&TransactionMeta::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Databases(BTreeMap<String, Arc<Database>>);

impl Databases {
    /// These databases. Everybody who changes several of them at a time should call them the same:
    /// they are locked in the order of their names.
    pub fn new<N: Into<String>>(named: impl IntoIterator<Item = (N, Arc<Database>)>) -> Self {
        let named = named.into_iter();
        Self(named.map(|(name, one)| (name.into(), one)).collect())
    }

    /// The database of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Database>> {
        self.0.get(name)
    }

    /// A connection to each, as [`Database::connect`] opens it. The snapshots are taken one after
    /// another: what is committed meanwhile may be seen in the later ones alone.
    pub fn connect(&self) -> Session {
        let connect = |(name, one): (&String, &Arc<Database>)| (name.clone(), one.connect());
        Session(self.0.iter().map(connect).collect())
    }
}

/// One connection to each of several [`Databases`], for one transaction.
#[derive(Debug)]
pub struct Session(BTreeMap<String, Connection>);

/// A savepoint of all connections of a [`Session`].
#[derive(Clone, Debug)]
pub struct SessionSavepoint(BTreeMap<String, Savepoint>);

impl Session {
    /// The connection to the database of that name.
    ///
    /// # Errors
    /// [`ZodbError::UnknownDatabase`].
    pub fn get(&self, name: &str) -> Result<&Connection, ZodbError> {
        self.0.get(name).ok_or_else(|| unknown(name))
    }

    /// The same, for changes.
    ///
    /// # Errors
    /// [`ZodbError::UnknownDatabase`].
    pub fn get_mut(&mut self, name: &str) -> Result<&mut Connection, ZodbError> {
        self.0.get_mut(name).ok_or_else(|| unknown(name))
    }

    /// The object that a reference in the database `from` leads to, in whichever database it is.
    ///
    /// # Errors
    /// [`ZodbError::UnknownDatabase`], and those of [`Connection::load`]: that of a weak reference
    /// may be gone.
    pub fn follow(&self, from: &str, reference: &Reference) -> Result<Arc<Object>, ZodbError> {
        let name = reference.database().unwrap_or(from);
        self.get(name)?.load(reference.oid())
    }

    /// Marks this moment in all of them.
    pub fn savepoint(&mut self) -> SessionSavepoint {
        let marked = self.0.iter_mut();
        SessionSavepoint(
            marked
                .map(|(name, c)| (name.clone(), c.savepoint()))
                .collect(),
        )
    }

    /// Undoes what was changed in any of them since the savepoint.
    ///
    /// # Errors
    /// [`ZodbError::Savepoint`], as [`Connection::roll_back`] has it.
    pub fn roll_back(&mut self, savepoint: &SessionSavepoint) -> Result<(), ZodbError> {
        for (name, connection) in &mut self.0 {
            let savepoint = savepoint.0.get(name).ok_or(ZodbError::Savepoint)?;
            connection.roll_back(*savepoint)?;
        }
        Ok(())
    }

    /// Commits in two phases: all databases with changes vote, in the order of their names; when
    /// every one of them has agreed, all finish. The ids of the transactions, by the names.
    ///
    /// # Errors
    /// [`TogetherError::Refused`]: nothing was written anywhere. [`TogetherError::Torn`]: after all
    /// had agreed, one of them failed, and what was to be one transaction is written in part.
    pub fn commit(self, meta: &TransactionMeta) -> Result<BTreeMap<String, Tid>, TogetherError> {
        self.refuse_one_storage_twice()?;
        let mut begun = Vec::new();
        for (database, connection) in &self.0 {
            match connection.begin(meta.clone()) {
                Ok(Some(commit)) => begun.push((database, commit)),
                Ok(None) => {}
                Err(error) => return Err(refused(database, error.into())),
            }
        }
        let mut voted: Vec<(&String, Box<dyn Voted>)> = Vec::new();
        for (database, commit) in begun {
            // On an error those that voted before are dropped, which aborts them.
            let vote = commit.vote().map_err(|error| refused(database, error))?;
            voted.push((database, vote));
        }
        let mut finished = BTreeMap::new();
        let mut failed = None;
        for (database, vote) in voted {
            // Once one is through, the others do their best.
            match vote.finish(Box::new(|_tid| {})) {
                Ok(tid) => drop(finished.insert(database.clone(), tid)),
                Err(error) if finished.is_empty() && failed.is_none() && is_unwritten(&error) => {
                    return Err(refused(database, error));
                }
                Err(error) => drop(failed.get_or_insert_with(|| (database.clone(), error))),
            }
        }
        match failed {
            None => Ok(finished),
            Some((database, source)) => Err(TogetherError::Torn {
                database,
                source,
                finished,
            }),
        }
    }

    /// A storage under two names would wait for itself at the second vote.
    fn refuse_one_storage_twice(&self) -> Result<(), TogetherError> {
        let changed: Vec<_> = self.0.iter().filter(|(_, one)| one.is_changed()).collect();
        for (at, (database, one)) in changed.iter().enumerate() {
            let storage = one.database().storage();
            let others = &changed[..at];
            if others
                .iter()
                .any(|(_, other)| Arc::ptr_eq(storage, other.database().storage()))
            {
                let operation = "two transactions at once for one under two names";
                return Err(refused(
                    database,
                    StorageError::Unsupported { operation }.into(),
                ));
            }
        }
        Ok(())
    }
}

/// Whether nothing was written, for sure.
fn is_unwritten(error: &CommitError) -> bool {
    !matches!(error, CommitError::Unknown)
}

fn unknown(name: &str) -> ZodbError {
    ZodbError::UnknownDatabase {
        name: name.to_owned(),
    }
}

fn refused(database: &str, source: CommitError) -> TogetherError {
    TogetherError::Refused {
        database: database.to_owned(),
        source,
    }
}

impl TogetherError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Refused { source, .. } => source.severity(),
            Self::Torn { .. } => Severity::Fault,
        }
    }
}
