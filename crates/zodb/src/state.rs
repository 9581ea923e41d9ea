//! Objects as types of one's own, whatever their states are.

use pickle::{Kind, NodeId, Pickles, Value};

use crate::view::field;
use crate::{AttributesMut, ClassName, Data, FromData, Object, Persistent, ViewError};

/// A Rust type that stands for the objects of one Python class.
///
/// Most states are a dict of attributes: [`Persistent`] is for these, and all its types are views.
/// Classes with a `__getstate__` of their own may have anything instead.
/// [`persistent!`](crate::persistent) writes a view `as tuple` and `as value`; for all else there is
/// this trait.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, TransactionMeta};
/// # use zodb::{Database, DatabaseOptions};
/// use pickle::{NodeId, Pickles};
/// use zodb::{ClassName, Data, Object, View, ViewError};
///
/// /// Its `__getstate__` returns `(1, names)`, where 1 is the version of that form.
/// struct Names(Vec<String>);
///
/// impl View for Names {
///     fn class_name() -> ClassName {
///         ClassName::new("shop.names", "Names")
///     }
///
///     fn from_object(object: &Object) -> Result<Self, ViewError> {
///         let wrong = || ViewError::field(object, "state", "(1, names)", Some(object.state()));
///         let mut parts = object.state().elements();
///         let version = parts.next().and_then(|version| version.as_int());
///         let names = parts.next().filter(|_| version == Some(1)).ok_or_else(wrong)?;
///         let name = |name: pickle::Value<'_>| name.as_text().map(|name| name.into_owned());
///         names.elements().map(name).collect::<Option<_>>().map(Self).ok_or_else(wrong)
///     }
///
///     fn write_state(&self, _: Option<&Object>, pickles: &mut Pickles) -> Result<NodeId, ViewError> {
///         let names = self.0.iter().map(|name| Data::from(name.as_str())).collect();
///         Ok(Data::Tuple(vec![Data::from(1), Data::List(names)]).write(pickles))
///     }
/// }
///
/// let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let oid = connection.add(&Names(vec!["Ann".into()]))?;
/// connection.put(oid, &Names(vec!["Ann".into(), "Bob".into()]))?;
/// assert_eq!(connection.get::<Names>(oid)?.0, ["Ann", "Bob"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait View: Sized {
    /// The Python class.
    fn class_name() -> ClassName;

    /// Reads an object of that class.
    ///
    /// # Errors
    /// [`ViewError::Field`] where the state is not what the type knows.
    fn from_object(object: &Object) -> Result<Self, ViewError>;

    /// Adds the state to the pickles of an object, which are those of `object` where it is there
    /// already: what the type does not know of its state is to stay.
    ///
    /// # Errors
    /// [`ViewError::Field`] where the object has a state that cannot be changed.
    fn write_state(
        &self,
        object: Option<&Object>,
        pickles: &mut Pickles,
    ) -> Result<NodeId, ViewError>;
}

impl<T: Persistent> View for T {
    fn class_name() -> ClassName {
        T::class()
    }

    fn from_object(object: &Object) -> Result<Self, ViewError> {
        T::read(&crate::Attributes::of(object))
    }

    fn write_state(
        &self,
        object: Option<&Object>,
        pickles: &mut Pickles,
    ) -> Result<NodeId, ViewError> {
        let state = match object {
            None => pickles.dict(Vec::new()),
            Some(object) => match object.state().kind() {
                Kind::Dict(_) => object.state().id(),
                _ => return Err(field(object, "__dict__", "a dict", Some(object.state()))),
            },
        };
        self.write(&mut AttributesMut::new(pickles, state));
        Ok(state)
    }
}

/// The parts of a state that is no dict of attributes.
#[derive(Clone, Copy, Debug)]
pub struct StateParts<'a>(&'a Object);

impl<'a> StateParts<'a> {
    /// Those of this object.
    pub fn of(object: &'a Object) -> Self {
        Self(object)
    }

    /// The state as it stands, known as `name` in messages.
    ///
    /// # Errors
    /// [`ViewError::Field`] where it is of another kind.
    pub fn whole<T: FromData>(&self, name: &str) -> Result<T, ViewError> {
        let state = self.0.state();
        T::from_value(state).ok_or_else(|| field(self.0, name, T::EXPECTED, Some(state)))
    }

    /// An element of a state that is a tuple of so many, known as `name` in messages.
    ///
    /// # Errors
    /// [`ViewError::Field`] where it is of another kind, or the state is not such a tuple.
    pub fn element<T: FromData>(
        &self,
        at: usize,
        count: usize,
        name: &str,
    ) -> Result<T, ViewError> {
        let state = self.0.state();
        let value: Option<Value<'a>> = match state.kind() {
            Kind::Tuple(items) if items.len() == count => state.elements().nth(at),
            _ => return Err(field(self.0, "state", EXPECTED_TUPLE, Some(state))),
        };
        let found = value.and_then(T::from_value);
        found.ok_or_else(|| field(self.0, name, T::EXPECTED, value))
    }

    /// Writes a state that is a tuple.
    pub fn write_tuple(elements: Vec<Data>, pickles: &mut Pickles) -> NodeId {
        Data::Tuple(elements).write(pickles)
    }

    /// Writes a state that is one value.
    pub fn write_whole(value: impl Into<Data>, pickles: &mut Pickles) -> NodeId {
        value.into().write(pickles)
    }
}

const EXPECTED_TUPLE: &str = "a tuple with one element for each field";
