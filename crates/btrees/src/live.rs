//! Changing trees, buckets and sets.

mod change;
mod grow;
mod nodes;
mod save;

use storage::Oid;
use zodb::{ClassName, Connection, Data};

use crate::error::TreeError;
use crate::family::{Class, Sizes};
use crate::node::Kin;
use crate::probe::Probe;
use crate::tree::{Tree, known_class};
use change::{Change, Status};
use nodes::{Live, Nodes};

/// A BTree, TreeSet, Bucket or Set that is being changed.
///
/// Its nodes are loaded as they are needed, and the changes stay in it until [`save`](Self::save)
/// hands them to the connection, from where they are committed with everything else. What is not
/// saved is forgotten. Nodes are split where the original splits them, and the records are those
/// that it writes.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, TransactionMeta};
/// # use zodb::{Data, Database, DatabaseOptions};
/// use btrees::{Shape, TreeMut, class_name};
///
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let class = class_name("OO", Shape::BTree).expect("BTrees has it");
/// let mut prices = TreeMut::create(&mut connection, &class)?;
/// prices.set("apple", 30)?;
/// prices.set("pear", 40)?;
/// assert_eq!(prices.remove("apple")?, Some(30.into()));
/// assert_eq!(prices.set_default("pear", 99)?, 40.into());
/// let oid = prices.save()?;
/// connection.commit(TransactionMeta::default())?;
///
/// let mut connection = database.connect();
/// let mut prices = TreeMut::open(&mut connection, oid)?;
/// prices.clear()?;
/// prices.save()?;
/// connection.commit(TransactionMeta::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TreeMut<'c> {
    connection: &'c mut Connection,
    class: Class,
    kin: Kin,
    sizes: Sizes,
    nodes: Nodes,
    /// A change began and did not come to its end.
    is_torn: bool,
}

impl<'c> TreeMut<'c> {
    /// A new, empty one. It becomes an object of the connection when it is saved; something has to
    /// refer to it then.
    ///
    /// # Errors
    /// [`TreeError::UnknownClass`]; a storage error where no id could be had.
    pub fn create(connection: &'c mut Connection, class: &ClassName) -> Result<Self, TreeError> {
        let class = known_class(class)?;
        let oid = connection.new_oid()?;
        Ok(Self {
            connection,
            class,
            kin: Kin::of_class(class),
            sizes: class.sizes(),
            nodes: Nodes::with_new_root(oid, class),
            is_torn: false,
        })
    }

    /// The tree, bucket or set that an object is, with what was saved to the connection. Derived
    /// classes as with [`Tree::open`]; where one has other sizes, [`with_sizes`](Self::with_sizes)
    /// says so.
    ///
    /// # Errors
    /// [`TreeError::Class`] where it is something else.
    pub fn open(connection: &'c mut Connection, oid: Oid) -> Result<Self, TreeError> {
        let object = connection.load(oid)?;
        let kin = Kin::of(&object).ok_or_else(|| TreeError::Class {
            oid,
            class: object.class().clone(),
        })?;
        Ok(Self::of_kin(connection, oid, kin))
    }

    /// An object whose class is derived from one of the family, which is `class`.
    ///
    /// # Errors
    /// [`TreeError::UnknownClass`] where `class` is none of the family.
    pub fn open_as(
        connection: &'c mut Connection,
        oid: Oid,
        class: &ClassName,
    ) -> Result<Self, TreeError> {
        let class = known_class(class)?;
        let kin = Kin::derived(&*connection.load(oid)?, class);
        Ok(Self::of_kin(connection, oid, kin))
    }

    fn of_kin(connection: &'c mut Connection, oid: Oid, kin: Kin) -> Self {
        Self {
            connection,
            class: kin.class,
            sizes: kin.class.sizes(),
            kin,
            nodes: Nodes::with_root(oid),
            is_torn: false,
        }
    }

    /// Splits nodes at other sizes than the original's classes do, as one may in Python by setting
    /// `max_leaf_size` and `max_internal_size`. Less than 2 counts as 2.
    #[must_use]
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = Sizes {
            leaf: sizes.leaf.max(2),
            internal: sizes.internal.max(2),
        };
        self
    }

    /// The object.
    pub fn oid(&self) -> Oid {
        self.nodes.root_oid()
    }

    /// Its class.
    pub fn class(&self) -> ClassName {
        self.kin.name()
    }

    /// Puts a value under a key, new or not (`tree[key] = value`).
    ///
    /// # Errors
    /// [`TreeError::Kind`], [`TreeError::DefaultComparison`], [`TreeError::NotComparable`] and
    /// [`TreeError::UnknownOrder`], for what Python raises a `TypeError`; nothing was changed then.
    pub fn set(&mut self, key: impl Into<Data>, value: impl Into<Data>) -> Result<(), TreeError> {
        self.put(&key.into(), &value.into(), false).map(drop)
    }

    /// Puts a value under a key that is not there yet, and tells whether it was so (`insert`).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn insert(
        &mut self,
        key: impl Into<Data>,
        value: impl Into<Data>,
    ) -> Result<bool, TreeError> {
        self.put(&key.into(), &value.into(), true)
    }

    /// The value under a key; where there is none, puts this one there (`setdefault`).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_default(
        &mut self,
        key: impl Into<Data>,
        value: impl Into<Data>,
    ) -> Result<Data, TreeError> {
        let (key, value) = (key.into(), value.into());
        if let Some(found) = self.find(&key)? {
            return Ok(found);
        }
        self.put(&key, &value, false)?;
        Ok(value)
    }

    /// Adds a key to a set, and tells whether it is new (`add`).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn add(&mut self, key: impl Into<Data>) -> Result<bool, TreeError> {
        if self.class.has_values() {
            return Err(self.not_supported("add"));
        }
        let key = Probe::new(&key.into(), self.class.key, "the key")?;
        self.change(
            &key,
            &Change::Put {
                value: Probe::nothing(),
                is_unique: true,
            },
        )
        .map(|status| status == Status::Resized)
    }

    /// Removes a key, and gives its value; nothing where it is not there (`pop`).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn remove(&mut self, key: impl Into<Data>) -> Result<Option<Data>, TreeError> {
        let data = key.into();
        let key = Probe::new(&data, self.class.key, "the key")?;
        let Some(found) = self.find(&data)? else {
            return Ok(None);
        };
        self.change(&key, &Change::Delete)?;
        Ok(Some(found))
    }

    /// Puts many values under their keys, in this order (`update`).
    ///
    /// # Errors
    /// As [`set`](Self::set), with what came before already put.
    pub fn update<K: Into<Data>, V: Into<Data>>(
        &mut self,
        items: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), TreeError> {
        items
            .into_iter()
            .try_for_each(|(key, value)| self.set(key, value))
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Where the root cannot be loaded.
    pub fn clear(&mut self) -> Result<(), TreeError> {
        self.activate(self.nodes.root())?;
        self.clear_root();
        Ok(())
    }

    /// The value under a key, with the changes up to now; of a set `None` in Python's sense.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn get(&mut self, key: impl Into<Data>) -> Result<Option<Data>, TreeError> {
        self.find(&key.into())
    }

    /// Whether a key is there, with the changes up to now.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn contains(&mut self, key: impl Into<Data>) -> Result<bool, TreeError> {
        Ok(self.find(&key.into())?.is_some())
    }

    /// Saves the changes, and hands the tree out to be read.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn into_tree(mut self) -> Result<Tree<'c>, TreeError> {
        let oid = self.save()?;
        Tree::open_as(self.connection, oid, &self.class.class_name())
    }

    fn put(&mut self, key: &Data, value: &Data, is_unique: bool) -> Result<bool, TreeError> {
        if !self.class.has_values() {
            return Err(self.not_supported("values"));
        }
        let key = Probe::new(key, self.class.key, "the key")?;
        key.check_order()?;
        let value = Probe::new(value, self.class.value, "the value")?;
        let status = self.change(&key, &Change::Put { value, is_unique })?;
        Ok(status == Status::Resized)
    }

    fn change(&mut self, key: &Probe, change: &Change) -> Result<Status, TreeError> {
        if self.is_torn {
            return Err(TreeError::Torn);
        }
        if matches!(change, Change::Put { .. }) {
            key.check_order()?;
        }
        let root = self.nodes.root();
        if self.class.is_tree() {
            self.change_tree(root, key, change, 0)
        } else {
            self.activate(root)?;
            Ok(self.change_bucket(root, key, change)?.0)
        }
    }

    fn find(&mut self, key: &Data) -> Result<Option<Data>, TreeError> {
        let Ok(key) = Probe::new(key, self.class.key, "the key") else {
            return Ok(None);
        };
        let mut at = self.nodes.root();
        let mut depth = 0;
        loop {
            self.activate(at)?;
            match self.nodes.live(at) {
                Live::Bucket(bucket) => {
                    let found = bucket.search(&key)?.ok();
                    return Ok(found.map(|index| bucket.value(index)));
                }
                Live::Tree(tree) if tree.children.is_empty() => return Ok(None),
                Live::Tree(tree) => at = tree.children[tree.search(&key)?],
            }
            depth = self.deeper(depth, at)?;
        }
    }

    fn not_supported(&self, operation: &'static str) -> TreeError {
        TreeError::NotSupported {
            class: self.class(),
            operation,
        }
    }
}
