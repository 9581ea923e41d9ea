//! From a path to an object: the other way round than [`crate::paths`].

use storage::{Oid, Storage, StorageError, Tid};

use crate::btrees::{NodeClass, children_of};
use crate::content::Content;
use crate::oid_set::OidSet;

/// An object as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its id.
    Oid(Oid),
    /// By the names on the way from the root.
    Path(String),
}

/// Why a place names no object.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Nothing has that name.
    #[error("{path}: {holder} refers to nothing under the name {name:?}")]
    NoSuchName {
        /// The path.
        path: String,
        /// The object where the way ends.
        holder: Oid,
        /// The name.
        name: String,
    },
    /// An object on the way cannot be read.
    #[error("{path}: object {oid}: {what}")]
    Unreadable {
        /// The path.
        path: String,
        /// The object.
        oid: Oid,
        /// What is wrong with it.
        what: String,
    },
    /// The storage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Place {
    /// The object, in the state before that transaction.
    ///
    /// A path goes through the names that [`crate::references`] and other tools show: attributes and
    /// keys, also those of a BTree. Where there is no such name, it is looked for in the `_tree` of a
    /// large folder, and the first one in the application object of Zope.
    ///
    /// # Errors
    /// See [`PlaceError`].
    pub fn resolve(&self, storage: &dyn Storage, before: Tid) -> Result<Oid, PlaceError> {
        let path = match self {
            Self::Oid(oid) => return Ok(*oid),
            Self::Path(path) => path,
        };
        let search = Search {
            storage,
            before,
            path,
        };
        let mut at = Oid::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let mut found = search.step(at, name)?;
            for hidden in [HIDDEN_TREE, APPLICATION] {
                let is_tried = hidden == HIDDEN_TREE || at == Oid::ROOT;
                if found.is_none()
                    && is_tried
                    && let Some(holder) = search.step(at, hidden)?
                {
                    found = search.step(holder, name)?;
                }
            }
            at = found.ok_or_else(|| PlaceError::NoSuchName {
                path: path.clone(),
                holder: at,
                name: name.to_owned(),
            })?;
        }
        Ok(at)
    }
}

struct Search<'a> {
    storage: &'a dyn Storage,
    before: Tid,
    path: &'a str,
}

impl Search<'_> {
    /// What the object holds under that name, itself or in one of its nodes where it is a BTree.
    fn step(&self, holder: Oid, name: &str) -> Result<Option<Oid>, PlaceError> {
        let mut seen = OidSet::default();
        let mut pending = vec![holder];
        while let Some(oid) = pending.pop() {
            if !seen.insert(oid) {
                continue;
            }
            let content = self.content(oid)?;
            let class = content.class().and_then(|class| NodeClass::parse(&class));
            let nodes = class.and_then(|class| children_of(class, &content));
            match nodes {
                Some(nodes) => pending.extend(nodes.into_iter().rev()),
                None => {
                    if let Some(found) = content.named(name) {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    fn content(&self, oid: Oid) -> Result<Content, PlaceError> {
        let revision = self.storage.load_before(oid, self.before)?;
        let revision = revision.ok_or(StorageError::NotFound { oid })?;
        Content::decode(&revision.record).map_err(|what| PlaceError::Unreadable {
            path: self.path.to_owned(),
            oid,
            what,
        })
    }
}

/// Where Products.BTreeFolder2 keeps its items.
const HIDDEN_TREE: &str = "_tree";
/// Where Zope keeps the application object.
const APPLICATION: &str = "Application";
