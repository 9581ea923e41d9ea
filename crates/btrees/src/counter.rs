//! `BTrees.Length.Length`: a number that many transactions may change side by side.

use pickle::{Kind, Pickles};
use storage::Oid;
use zodb::{ClassName, Connection, Data, ViewError};

/// A counter. Changes of it that were made side by side are added up instead of being a conflict,
/// where the storage merges ([`Merger`](crate::Merger)).
///
/// ```
/// # use std::sync::Arc;
/// # use storage::{MemoryStorage, TransactionMeta};
/// # use zodb::{Database, DatabaseOptions};
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// let mut connection = database.connect();
/// let count = btrees::Length::create(&mut connection, 5)?;
/// count.change(&mut connection, -2)?;
/// assert_eq!(count.get(&connection)?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length(Oid);

impl Length {
    /// The counter that an object is.
    pub fn new(oid: Oid) -> Self {
        Self(oid)
    }

    /// Its class.
    pub fn class() -> ClassName {
        ClassName::new("BTrees.Length", "Length")
    }

    /// A new one.
    ///
    /// # Errors
    /// As [`Connection::create`].
    pub fn create(connection: &mut Connection, value: i64) -> Result<Self, ViewError> {
        Ok(Self(connection.create(record(value.into()))?))
    }

    /// The object.
    pub fn oid(self) -> Oid {
        self.0
    }

    /// The number.
    ///
    /// # Errors
    /// [`ViewError::Class`] where the object is no counter; [`ViewError::Field`] where its number
    /// is none of 64 bits.
    pub fn get(self, connection: &Connection) -> Result<i64, ViewError> {
        let object = connection.load(self.0)?;
        if *object.class() != Self::class() {
            return Err(ViewError::Class {
                oid: self.0,
                expected: Self::class(),
                found: object.class().clone(),
            });
        }
        match object.state().kind() {
            Kind::Int(value) => Ok(value),
            _ => Err(self.wrong(object.state().to_string())),
        }
    }

    /// Adds to the number, for this transaction at first.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ViewError::Field`] where the sum does not fit.
    pub fn change(self, connection: &mut Connection, by: i64) -> Result<(), ViewError> {
        let value = self.get(connection)?;
        let sum = value.checked_add(by);
        let sum = sum.ok_or_else(|| self.wrong(format!("{value} + {by}")))?;
        self.set(connection, sum)
    }

    /// Sets the number, for this transaction at first.
    ///
    /// # Errors
    /// As [`Connection::store`].
    pub fn set(self, connection: &mut Connection, value: i64) -> Result<(), ViewError> {
        Ok(connection.store(self.0, record(value.into()))?)
    }

    fn wrong(self, found: String) -> ViewError {
        ViewError::Field {
            oid: self.0,
            class: Self::class(),
            name: "value".to_owned(),
            expected: "an int of 64 bits",
            found,
        }
    }
}

fn record(value: Data) -> Pickles {
    let mut pickles = Pickles::new();
    let class = Length::class();
    let class = pickles.global(class.module(), class.name());
    let state = value.write(&mut pickles);
    pickles.set_roots(&[class, state]);
    pickles
}
