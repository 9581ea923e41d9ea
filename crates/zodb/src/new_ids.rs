//! The ids that objects of an export file get in a storage.

use std::collections::HashMap;
use std::sync::Arc;

use storage::{Oid, Storage, StorageError};

/// New ids for the objects of an export file, each given out once.
pub struct NewIds {
    storage: Arc<dyn Storage>,
    given: HashMap<Oid, Given>,
    spare: Vec<Oid>,
}

struct Given {
    oid: Oid,
    /// Whether something needs the object.
    is_needed: bool,
    is_here: bool,
}

impl NewIds {
    /// Ids that the storage gives out.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            given: HashMap::new(),
            spare: Vec::new(),
        }
    }

    /// The id of an object whose record is there; none if it is not the first and nothing before it refers
    /// to it.
    ///
    /// # Errors
    /// The storage gives out no ids.
    pub fn of_record(&mut self, old: Oid, is_first: bool) -> Result<Option<Oid>, StorageError> {
        if is_first {
            self.of_reference(old, true)?;
        }
        Ok(self.given.get_mut(&old).map(|given| {
            given.is_here = true;
            given.oid
        }))
    }

    /// The id of an object that something refers to, and needs unless the reference is weak.
    ///
    /// # Errors
    /// The storage gives out no ids.
    pub fn of_reference(&mut self, old: Oid, is_needed: bool) -> Result<Oid, StorageError> {
        if let Some(given) = self.given.get_mut(&old) {
            given.is_needed |= is_needed;
            return Ok(given.oid);
        }
        if self.spare.is_empty() {
            self.spare = self.storage.new_oids(OIDS_AT_A_TIME)?;
            self.spare.reverse();
        }
        let oid = self.spare.pop().ok_or(StorageError::Unsupported {
            operation: "new object ids",
        })?;
        let given = Given {
            oid,
            is_needed,
            is_here: false,
        };
        self.given.insert(old, given);
        Ok(oid)
    }

    /// How many objects are needed and were not in the file.
    pub fn dangling(&self) -> u64 {
        let is_dangling = |given: &&Given| given.is_needed && !given.is_here;
        self.given.values().filter(is_dangling).count() as u64
    }
}

impl std::fmt::Debug for NewIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewIds({} given)", self.given.len())
    }
}

const OIDS_AT_A_TIME: usize = 100;
