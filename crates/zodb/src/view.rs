//! Objects as types of one's own.

use pickle::{NodeId, Pickles, Value};
use storage::Oid;

use crate::{ClassName, Connection, Data, FromData, Object, ViewError};

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

impl Connection {
    /// An object as a type of one's own.
    ///
    /// # Errors
    /// [`ViewError::Class`] where it is of another class; those of [`Connection::load`] and of the
    /// type.
    pub fn get<T: Persistent>(&self, oid: Oid) -> Result<T, ViewError> {
        let object = self.load(oid)?;
        expect_class(&object, &T::class())?;
        T::read(&Attributes::of(&object))
    }

    /// Changes an object, for this transaction at first. Attributes that the type does not know
    /// stay.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn put<T: Persistent>(&mut self, oid: Oid, value: &T) -> Result<(), ViewError> {
        let object = self.load(oid)?;
        expect_class(&object, &T::class())?;
        let mut pickles = object.pickles().clone();
        let state = object.state().id();
        let state = match object.state().kind() {
            pickle::Kind::Dict(_) => state,
            _ => return Err(field(&object, "__dict__", "a dict", Some(object.state()))),
        };
        value.write(&mut AttributesMut {
            pickles: &mut pickles,
            state,
        });
        Ok(self.store(oid, pickles)?)
    }

    /// A new object, for this transaction at first. Something has to refer to it, or packing
    /// removes it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn add<T: Persistent>(&mut self, value: &T) -> Result<Oid, ViewError> {
        let mut pickles = Pickles::new();
        let class = T::class();
        let class = pickles.global(class.module(), class.name());
        let state = pickles.dict(Vec::new());
        value.write(&mut AttributesMut {
            pickles: &mut pickles,
            state,
        });
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
}
