//! `PersistentMapping` and `PersistentList`: a dict and a list that are objects of their own.

use pickle::{Kind, NodeId, Pickles, Value};
use storage::Oid;

use crate::view::{expect_class, field};
use crate::{ClassName, Connection, Data, Object, ViewError};

/// A `persistent.mapping.PersistentMapping`, taken out of its record to be read or changed.
///
/// What is not touched stays as it was. Keys are text for the most part, and only those can be
/// looked up and changed here.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, Oid, TransactionMeta};
/// # use zodb::{Data, Database, DatabaseOptions, PersistentMapping};
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let mut root = PersistentMapping::new();
/// root.set("title", "Front page");
/// root.store(&mut connection, Oid::ROOT)?;
/// connection.commit(TransactionMeta::default())?;
///
/// let root = PersistentMapping::load(&database.connect(), Oid::ROOT)?;
/// assert_eq!(root.get("title"), Some("Front page".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PersistentMapping(Container);

/// A `persistent.list.PersistentList`, taken out of its record to be read or changed.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, TransactionMeta};
/// # use zodb::{Data, Database, DatabaseOptions, PersistentList};
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let mut list = PersistentList::new();
/// list.push(1);
/// list.push("two");
/// let oid = list.create(&mut connection)?;
/// list.set(0, 3);
/// list.store(&mut connection, oid)?;
/// let list = PersistentList::load(&connection, oid)?;
/// let items: Vec<Data> = list.iter().map(Data::read).collect();
/// assert_eq!(items, [Data::from(3), Data::from("two")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PersistentList(Container);

/// A record whose state keeps everything in one attribute, `data`.
#[derive(Clone, Debug)]
struct Container {
    pickles: Pickles,
    data: NodeId,
}

impl Container {
    fn new(class: &ClassName, make: impl FnOnce(&mut Pickles) -> NodeId) -> Self {
        let mut pickles = Pickles::new();
        let class = pickles.global(class.module(), class.name());
        let state = pickles.dict(Vec::new());
        let data = make(&mut pickles);
        pickles.dict_set(state, "data", data);
        pickles.set_roots(&[class, state]);
        Self { pickles, data }
    }

    fn load(
        object: &Object,
        class: &ClassName,
        expected: &'static str,
        is_it: impl Fn(&Kind<'_>) -> bool,
    ) -> Result<Self, ViewError> {
        expect_class(object, class)?;
        let mut pickles = object.pickles().clone();
        let state = object.state();
        // Mappings of long ago have it under the other name; Python renames it as well.
        let found = state.get("data").or_else(|| state.get("_container"));
        let data = found
            .filter(|data| is_it(&data.kind()))
            .ok_or_else(|| field(object, "data", expected, found))?
            .id();
        if state.get("data").is_none() {
            pickles.dict_remove(state.id(), "_container");
            pickles.dict_set(state.id(), "data", data);
        }
        Ok(Self { pickles, data })
    }

    fn value(&self) -> Value<'_> {
        self.pickles.value(self.data)
    }

    /// Replaces the list.
    fn replace(&mut self, items: Vec<NodeId>) {
        self.data = self.pickles.list(items);
        let state = self.pickles.root(1).expect("it has a state").id();
        self.pickles.dict_set(state, "data", self.data);
    }
}

impl PersistentMapping {
    /// An empty one.
    pub fn new() -> Self {
        Self(Container::new(&Self::class(), |pickles| {
            pickles.dict(Vec::new())
        }))
    }

    /// Its class.
    pub fn class() -> ClassName {
        ClassName::new("persistent.mapping", "PersistentMapping")
    }

    /// An object as one.
    ///
    /// # Errors
    /// [`ViewError::Class`], [`ViewError::Field`], and those of [`Connection::load`].
    pub fn load(connection: &Connection, oid: Oid) -> Result<Self, ViewError> {
        let object = connection.load(oid)?;
        let is_dict = |kind: &Kind<'_>| matches!(kind, Kind::Dict(_));
        Container::load(&object, &Self::class(), "a dict", is_dict).map(Self)
    }

    /// What is under a key.
    pub fn get(&self, key: &str) -> Option<Data> {
        self.value(key).map(Data::read)
    }

    /// What is under a key, as it is in the record.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        self.0.value().get(key)
    }

    /// Puts a value under a key.
    pub fn set(&mut self, key: &str, value: impl Into<Data>) {
        let value = value.into().write(&mut self.0.pickles);
        self.0.pickles.dict_set(self.0.data, key, value);
    }

    /// Removes a key, and tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.pickles.dict_remove(self.0.data, key)
    }

    /// All keys with their values, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Value<'_>, Value<'_>)> {
        self.0.value().entries()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.value().entries().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes this the state of an object, for the connection's transaction at first.
    ///
    /// # Errors
    /// As [`Connection::store`].
    pub fn store(&self, connection: &mut Connection, oid: Oid) -> Result<(), ViewError> {
        Ok(connection.store(oid, self.0.pickles.clone())?)
    }

    /// Makes a new object of it.
    ///
    /// # Errors
    /// As [`Connection::create`].
    pub fn create(&self, connection: &mut Connection) -> Result<Oid, ViewError> {
        Ok(connection.create(self.0.pickles.clone())?)
    }
}

impl Default for PersistentMapping {
    fn default() -> Self {
        Self::new()
    }
}

impl PersistentList {
    /// An empty one.
    pub fn new() -> Self {
        Self(Container::new(&Self::class(), |pickles| {
            pickles.list(Vec::new())
        }))
    }

    /// Its class.
    pub fn class() -> ClassName {
        ClassName::new("persistent.list", "PersistentList")
    }

    /// An object as one.
    ///
    /// # Errors
    /// [`ViewError::Class`], [`ViewError::Field`], and those of [`Connection::load`].
    pub fn load(connection: &Connection, oid: Oid) -> Result<Self, ViewError> {
        let object = connection.load(oid)?;
        let is_list = |kind: &Kind<'_>| matches!(kind, Kind::List(_));
        Container::load(&object, &Self::class(), "a list", is_list).map(Self)
    }

    /// An item.
    pub fn get(&self, index: usize) -> Option<Data> {
        self.iter().nth(index).map(Data::read)
    }

    /// All items.
    pub fn iter(&self) -> pickle::Elements<'_> {
        self.0.value().elements()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an item.
    pub fn push(&mut self, value: impl Into<Data>) {
        let value = value.into().write(&mut self.0.pickles);
        self.0.pickles.list_push(self.0.data, value);
    }

    /// Replaces an item; false where there is none at the index.
    pub fn set(&mut self, index: usize, value: impl Into<Data>) -> bool {
        let mut items = self.ids();
        let Some(place) = items.get_mut(index) else {
            return false;
        };
        *place = value.into().write(&mut self.0.pickles);
        self.0.replace(items);
        true
    }

    /// Puts an item before that at the index, or at the end.
    pub fn insert(&mut self, index: usize, value: impl Into<Data>) {
        let mut items = self.ids();
        let value = value.into().write(&mut self.0.pickles);
        items.insert(index.min(items.len()), value);
        self.0.replace(items);
    }

    /// Removes an item, and gives it.
    pub fn remove(&mut self, index: usize) -> Option<Data> {
        let removed = self.get(index)?;
        let mut items = self.ids();
        items.remove(index);
        self.0.replace(items);
        Some(removed)
    }

    /// Makes this the state of an object, for the connection's transaction at first.
    ///
    /// # Errors
    /// As [`Connection::store`].
    pub fn store(&self, connection: &mut Connection, oid: Oid) -> Result<(), ViewError> {
        Ok(connection.store(oid, self.0.pickles.clone())?)
    }

    /// Makes a new object of it.
    ///
    /// # Errors
    /// As [`Connection::create`].
    pub fn create(&self, connection: &mut Connection) -> Result<Oid, ViewError> {
        Ok(connection.create(self.0.pickles.clone())?)
    }

    fn ids(&self) -> Vec<NodeId> {
        self.iter().map(Value::id).collect()
    }
}

impl Default for PersistentList {
    fn default() -> Self {
        Self::new()
    }
}
