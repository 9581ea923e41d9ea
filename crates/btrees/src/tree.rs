//! Reading trees, buckets and sets.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use storage::Oid;
use zodb::{ClassName, Connection, Data, Object};

use crate::error::TreeError;
use crate::family::Class;
use crate::node::{DEPTH_MAX, Inner, Kin, Node, damaged};
use crate::probe::Probe;
use crate::range::{Entry, Range};

/// A BTree, TreeSet, Bucket or Set, read where it lies: no more of it is loaded than is needed for
/// the answer.
///
/// Keys and values are [`Data`], or whatever turns into it.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, TransactionMeta};
/// # use zodb::{Data, Database, DatabaseOptions};
/// use btrees::{Shape, Tree, TreeMut, class_name};
///
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let class = class_name("OI", Shape::BTree).expect("BTrees has it");
/// let mut index = TreeMut::create(&mut connection, &class)?;
/// for (number, word) in ["cherry", "apple", "banana"].into_iter().enumerate() {
///     index.set(word, i64::try_from(number)?)?;
/// }
/// let oid = index.save()?;
/// connection.commit(TransactionMeta::default())?;
///
/// let connection = database.connect();
/// let index = Tree::open(&connection, oid)?;
/// assert_eq!(index.get("apple")?, Some(1.into()));
/// let words: Vec<Data> = index
///     .range("b"..)
///     .map(|entry| Ok(entry?.key()))
///     .collect::<Result<_, btrees::TreeError>>()?;
/// assert_eq!(words, ["banana".into(), "cherry".into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tree<'c> {
    connection: &'c Connection,
    oid: Oid,
    kin: Kin,
    root: Node,
}

impl<'c> Tree<'c> {
    /// The tree, bucket or set that an object is.
    ///
    /// A class derived from one of the family is known by the state, if there is more than one bucket.
    /// Else [`open_as`](Self::open_as) has to be told.
    ///
    /// # Errors
    /// [`TreeError::Class`] where it is something else.
    pub fn open(connection: &'c Connection, oid: Oid) -> Result<Self, TreeError> {
        let object = connection.load(oid)?;
        let kin = Kin::of(&object).ok_or_else(|| TreeError::Class {
            oid,
            class: object.class().clone(),
        })?;
        Self::of_kin(connection, object, kin)
    }

    /// An object whose class is derived from one of the family, which is `class`.
    ///
    /// # Errors
    /// [`TreeError::UnknownClass`] where `class` is none of the family; [`TreeError::Damaged`] where
    /// the state is none that its objects have.
    pub fn open_as(
        connection: &'c Connection,
        oid: Oid,
        class: &ClassName,
    ) -> Result<Self, TreeError> {
        let class = known_class(class)?;
        let object = connection.load(oid)?;
        let kin = Kin::derived(&object, class);
        Self::of_kin(connection, object, kin)
    }

    fn of_kin(
        connection: &'c Connection,
        object: Arc<Object>,
        kin: Kin,
    ) -> Result<Self, TreeError> {
        Ok(Self {
            connection,
            oid: object.oid(),
            root: Node::read(object, &kin)?,
            kin,
        })
    }

    /// The object.
    pub fn oid(&self) -> Oid {
        self.oid
    }

    /// Its class.
    pub fn class(&self) -> ClassName {
        self.kin.name()
    }

    /// The value under a key; of a set, which has no values, `None` in Python's sense.
    ///
    /// # Errors
    /// [`TreeError::NotComparable`] and [`TreeError::UnknownOrder`], where keys have to be compared
    /// that do not compare. A key of a kind that the tree does not hold is just not there.
    pub fn get(&self, key: impl Into<Data>) -> Result<Option<Data>, TreeError> {
        Ok(self.entry(key)?.map(|entry| entry.value()))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, key: impl Into<Data>) -> Result<bool, TreeError> {
        Ok(self.entry(key)?.is_some())
    }

    /// The key with its value, as they are in the record.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn entry(&self, key: impl Into<Data>) -> Result<Option<Entry>, TreeError> {
        let Ok(probe) = Probe::new(&key.into(), self.kin.class.key, "the key") else {
            return Ok(None);
        };
        let mut node = self.root.clone();
        for _ in 0..DEPTH_MAX {
            match node {
                Node::Empty => return Ok(None),
                Node::Leaf(leaf) => {
                    let found = leaf.search(&probe)?.ok();
                    return Ok(found.and_then(|at| Entry::of(&leaf, at)));
                }
                Node::Inner(inner) => {
                    let child = inner.search(&probe)?;
                    node = self.child(&inner, child)?;
                }
            }
        }
        Err(self.too_deep())
    }

    /// The first key with its value.
    ///
    /// # Errors
    /// Where the tree is damaged, or cannot be loaded.
    pub fn first(&self) -> Result<Option<Entry>, TreeError> {
        self.iter().next().transpose()
    }

    /// The last key with its value.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn last(&self) -> Result<Option<Entry>, TreeError> {
        self.iter().next_back().transpose()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match &self.root {
            Node::Empty => true,
            Node::Leaf(leaf) => leaf.len() == 0,
            Node::Inner(_) => false,
        }
    }

    /// How many keys there are. This loads every bucket, as it does in Python: a
    /// [`Length`](crate::Length) beside the tree is what keeps count.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn len(&self) -> Result<usize, TreeError> {
        self.iter().count_keys()
    }

    /// All keys with their values, in order; from either end.
    pub fn iter(&self) -> Range<'c> {
        Range::new(self.clone(), Bound::Unbounded, Bound::Unbounded)
    }

    /// The keys within bounds, with their values, in order; from either end. A bucket is loaded
    /// when its first key is asked for.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use storage::MemoryStorage;
    /// # use zodb::{Data, Database, DatabaseOptions};
    /// # use btrees::{Shape, Tree, TreeMut, class_name};
    /// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
    /// # let mut connection = database.connect();
    /// let mut set = TreeMut::create(&mut connection, &class_name("II", Shape::TreeSet).unwrap())?;
    /// for number in 0..1000 {
    ///     set.add(number)?;
    /// }
    /// let oid = set.save()?;
    /// let set = Tree::open(&connection, oid)?;
    /// let mut keys = Vec::new();
    /// for entry in set.range(10..=990).rev().take(2) {
    ///     keys.push(entry?.key());
    /// }
    /// assert_eq!(keys, [Data::from(990), Data::from(989)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<K: Into<Data> + Clone>(&self, bounds: impl RangeBounds<K>) -> Range<'c> {
        let own = |bound: Bound<&K>| match bound {
            Bound::Included(key) => Bound::Included(key.clone().into()),
            Bound::Excluded(key) => Bound::Excluded(key.clone().into()),
            Bound::Unbounded => Bound::Unbounded,
        };
        Range::new(
            self.clone(),
            own(bounds.start_bound()),
            own(bounds.end_bound()),
        )
    }

    pub(crate) fn kind(&self) -> Class {
        self.kin.class
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    pub(crate) fn child(&self, inner: &Inner, at: usize) -> Result<Node, TreeError> {
        let child = Node::load(self.connection, inner.child(at)?, &self.kin)?;
        match &child {
            Node::Empty => Err(damaged(&inner.object, "a child is empty")),
            _ => Ok(child),
        }
    }

    pub(crate) fn too_deep(&self) -> TreeError {
        TreeError::Damaged {
            oid: self.oid,
            what: "it is nested deeper than any tree",
        }
    }
}

/// # Errors
/// [`TreeError::UnknownClass`].
pub(crate) fn known_class(name: &ClassName) -> Result<Class, TreeError> {
    let known = Class::named(name.module(), name.name());
    known.ok_or_else(|| TreeError::UnknownClass(name.clone()))
}
