//! Objects as types of one's own.

use pickle::{NodeId, Pickles, Value};
use storage::Oid;

use crate::{ClassName, Connection, Data, FromData, Object, View, ViewError};

/// A Rust type that stands for the objects of one Python class whose state is a dict of attributes.
///
/// [`persistent!`](crate::persistent) writes it for a struct of plain fields. Attributes that the
/// type does not know stay in the object as they are.
pub trait Persistent: Sized {
    /// The Python class.
    fn class() -> ClassName;

    /// Reads the attributes that the type knows.
    ///
    /// # Errors
    /// Those of [`Attributes::get`].
    fn read(attributes: &Attributes<'_>) -> Result<Self, ViewError>;

    /// Writes the attributes that the type knows.
    fn write(&self, attributes: &mut AttributesMut<'_>);
}

/// The attributes of an object.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(&'a Object);

impl<'a> Attributes<'a> {
    /// Those of this object. There are none where its state is no dict.
    pub fn of(object: &'a Object) -> Self {
        Self(object)
    }

    /// An attribute.
    ///
    /// # Errors
    /// [`ViewError::Field`] where it is missing or of another kind.
    pub fn get<T: FromData>(&self, name: &str) -> Result<T, ViewError> {
        let value = self.value(name);
        value
            .and_then(T::from_value)
            .ok_or_else(|| field(self.0, name, T::EXPECTED, value))
    }

    /// An attribute as it is in the record.
    pub fn value(&self, name: &str) -> Option<Value<'a>> {
        self.0.state().get(name)
    }
}

pub(crate) fn field(
    object: &Object,
    name: &str,
    expected: &'static str,
    found: Option<Value<'_>>,
) -> ViewError {
    let mut text = found.map_or_else(|| "missing".to_owned(), |value| value.to_string());
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    ViewError::Field {
        oid: object.oid(),
        class: object.class().clone(),
        name: name.to_owned(),
        expected,
        found: text,
    }
}

/// As much of a value as a message shows.
const SHOWN_CHARS: usize = 60;

/// The attributes of an object that is being written.
#[derive(Debug)]
pub struct AttributesMut<'a> {
    pickles: &'a mut Pickles,
    state: NodeId,
}

impl AttributesMut<'_> {
    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: impl Into<Data>) {
        let value = value.into().write(self.pickles);
        self.pickles.dict_set(self.state, name, value);
    }

    /// Removes an attribute, and tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.pickles.dict_remove(self.state, name)
    }
}

impl<'a> AttributesMut<'a> {
    pub(crate) fn new(pickles: &'a mut Pickles, state: NodeId) -> Self {
        Self { pickles, state }
    }
}

impl Connection {
    /// An object as a type of one's own.
    ///
    /// # Errors
    /// [`ViewError::Class`] where it is of another class; those of [`Connection::load`] and of the
    /// type.
    pub fn get<T: View>(&self, oid: Oid) -> Result<T, ViewError> {
        let object = self.load(oid)?;
        expect_class(&object, &T::class_name())?;
        T::from_object(&object)
    }

    /// Changes an object, for this transaction at first. Attributes that the type does not know
    /// stay.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn put<T: View>(&mut self, oid: Oid, value: &T) -> Result<(), ViewError> {
        let object = self.load(oid)?;
        expect_class(&object, &T::class_name())?;
        let mut pickles = object.pickles().clone();
        let state = value.write_state(Some(&object), &mut pickles)?;
        pickles.set_root(1, state);
        Ok(self.store(oid, pickles)?)
    }

    /// A new object, for this transaction at first. Something has to refer to it, or packing
    /// removes it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn add<T: View>(&mut self, value: &T) -> Result<Oid, ViewError> {
        let mut pickles = Pickles::new();
        let class = T::class_name();
        let class = pickles.global(class.module(), class.name());
        let state = value.write_state(None, &mut pickles)?;
        pickles.set_roots(&[class, state]);
        Ok(self.create(pickles)?)
    }
}

pub(crate) fn expect_class(object: &Object, expected: &ClassName) -> Result<(), ViewError> {
    if object.class() == expected {
        return Ok(());
    }
    Err(ViewError::Class {
        oid: object.oid(),
        expected: expected.clone(),
        found: object.class().clone(),
    })
}

/// Declares a struct that stands for the objects of a Python class: [`Persistent`] for plain
/// fields, each an attribute of the same name.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, TransactionMeta};
/// # use zodb::{Database, DatabaseOptions};
/// zodb::persistent! {
///     /// A bank account.
///     pub struct Account: "bank.account", "Account" {
///         /// Whose it is.
///         owner: String,
///         /// In cents.
///         balance: i64,
///     }
/// }
///
/// let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let oid = connection.add(&Account { owner: "Ann".into(), balance: 500 })?;
/// let mut account: Account = connection.get(oid)?;
/// account.balance += 20;
/// connection.put(oid, &account)?;
/// connection.commit(TransactionMeta::default())?;
/// assert_eq!(database.connect().get::<Account>(oid)?.balance, 520);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Where `__getstate__` gives a tuple of the fields instead, or a single value, that is said behind
/// the class:
///
/// ```
/// # use std::sync::Arc;
/// # use storage::MemoryStorage;
/// # use zodb::{Database, DatabaseOptions};
/// zodb::persistent! {
///     /// `(x, y)`
///     pub struct Point: "geometry", "Point" as tuple { x: f64, y: f64 }
/// }
/// zodb::persistent! {
///     /// A counter of `BTrees`, whose state is the number itself.
///     pub struct Length: "BTrees.Length", "Length" as value { value: i64 }
/// }
///
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let point = connection.add(&Point { x: 1.0, y: 0.5 })?;
/// let length = connection.add(&Length { value: 3 })?;
/// assert_eq!(connection.load(point)?.state().to_string(), "(1.0, 0.5)");
/// assert_eq!(connection.load(length)?.state().to_string(), "3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! persistent {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident: $module:literal, $class:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::Persistent for $name {
            fn class() -> $crate::ClassName {
                $crate::ClassName::new($module, $class)
            }

            fn read(
                attributes: &$crate::Attributes<'_>,
            ) -> ::std::result::Result<Self, $crate::ViewError> {
                Ok(Self { $($field: attributes.get(stringify!($field))?,)* })
            }

            fn write(&self, attributes: &mut $crate::AttributesMut<'_>) {
                $(attributes.set(stringify!($field), self.$field.clone());)*
            }
        }
    };
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident: $module:literal, $class:literal as tuple {
            $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::View for $name {
            fn class_name() -> $crate::ClassName {
                $crate::ClassName::new($module, $class)
            }

            fn from_object(
                object: &$crate::Object,
            ) -> ::std::result::Result<Self, $crate::ViewError> {
                let names: &[&str] = &[$(stringify!($field)),*];
                let parts = $crate::StateParts::of(object);
                let mut place = 0..names.len();
                // Fields are initialised in the order in which they are written.
                Ok(Self {
                    $($field: parts.element(
                        place.next().unwrap_or_default(),
                        names.len(),
                        stringify!($field),
                    )?,)*
                })
            }

            fn write_state(
                &self,
                _object: ::std::option::Option<&$crate::Object>,
                pickles: &mut $crate::Pickles,
            ) -> ::std::result::Result<$crate::NodeId, $crate::ViewError> {
                let elements = ::std::vec![$($crate::Data::from(self.$field.clone())),*];
                Ok($crate::StateParts::write_tuple(elements, pickles))
            }
        }
    };
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident: $module:literal, $class:literal as value {
            $(#[$field_meta:meta])* $field:ident: $type:ty $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name {
            $(#[$field_meta])*
            pub $field: $type,
        }

        impl $crate::View for $name {
            fn class_name() -> $crate::ClassName {
                $crate::ClassName::new($module, $class)
            }

            fn from_object(
                object: &$crate::Object,
            ) -> ::std::result::Result<Self, $crate::ViewError> {
                let $field = $crate::StateParts::of(object).whole(stringify!($field))?;
                Ok(Self { $field })
            }

            fn write_state(
                &self,
                _object: ::std::option::Option<&$crate::Object>,
                pickles: &mut $crate::Pickles,
            ) -> ::std::result::Result<$crate::NodeId, $crate::ViewError> {
                Ok($crate::StateParts::write_whole(self.$field.clone(), pickles))
            }
        }
    };
}
