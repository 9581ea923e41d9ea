//! What a storage hands out and takes in.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::Tid;

/// The bytes of one revision of an object, shared and immutable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Record(Arc<[u8]>);

impl Deref for Record {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Arc<[u8]>> for Record {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Record {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&[u8]> for Record {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes)", self.0.len())
    }
}

/// One revision of an object and the span of transactions that see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The transaction that wrote it.
    pub tid: Tid,
    /// The transaction that replaced it; `None` while it is current.
    pub next: Option<Tid>,
    /// Its bytes.
    pub record: Record,
}

impl Revision {
    /// Whether no later revision is known.
    pub fn is_current(&self) -> bool {
        self.next.is_none()
    }
}

/// What a transaction says of itself: shown in undo and history listings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionMeta {
    /// Who: for Zope `"<path of the user folder> <login name>"`.
    pub user: Vec<u8>,
    /// What: for Zope the path that was published.
    pub description: Vec<u8>,
    /// A pickled dict of further facts, or empty. Passed through untouched.
    pub extension: Vec<u8>,
}
