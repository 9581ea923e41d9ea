//! The cache of decoded objects, shared by every thread of the process.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use storage::{Oid, Record, Tid};

use crate::walk::Walk;
use crate::{Object, RecordError};

/// Revisions are immutable, so an entry never becomes wrong as long as the storage loses none; it
/// only falls out when room is needed.
pub(crate) struct ObjectCache {
    objects: Cache<(Oid, Tid), Cached, ByBytes>,
    /// What an entry counts for at least, so that no more than the bound of objects fit.
    bytes_min: u64,
}

#[derive(Clone)]
struct Cached {
    object: Arc<Object>,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(Oid, Tid), Cached> for ByBytes {
    fn weight(&self, _key: &(Oid, Tid), cached: &Cached) -> u64 {
        cached.bytes
    }
}

impl ObjectCache {
    pub(crate) fn new(bytes_max: u64, objects_max: u64) -> Self {
        let typical = (bytes_max / OBJECT_BYTES_TYPICAL).min(objects_max);
        let objects = usize::try_from(typical).unwrap_or(usize::MAX);
        Self {
            objects: Cache::with_weighter(objects.max(1), bytes_max, ByBytes),
            bytes_min: bytes_max.div_ceil(objects_max.max(1)),
        }
    }

    pub(crate) fn get(&self, oid: Oid, tid: Tid) -> Option<Arc<Object>> {
        self.objects.get(&(oid, tid)).map(|cached| cached.object)
    }

    /// The decoded form of a record. Threads that want the same revision wait for the one that
    /// decodes it; every other revision stays reachable meanwhile.
    pub(crate) fn get_or_decode(
        &self,
        oid: Oid,
        tid: Tid,
        record: &Record,
    ) -> Result<Arc<Object>, RecordError> {
        let cached = self.objects.get_or_insert_with(&(oid, tid), || {
            let object = Arc::new(Object::decode(oid, tid, record)?);
            let bytes = weight(&object, record.len()).max(self.bytes_min);
            Ok::<_, RecordError>(Cached { object, bytes })
        })?;
        Ok(cached.object)
    }

    /// Forgets everything: revisions that a storage lost never were, and their ids may come again.
    pub(crate) fn clear(&self) {
        self.objects.clear();
    }

    pub(crate) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// What the cached objects weigh, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.objects.weight()
    }
}

/// How large a decoded object usually is: a hint for the table's first size.
const OBJECT_BYTES_TYPICAL: u64 = 2048;

/// What an object takes in memory, rounded up: the arena keeps the record's bytes, and a node with
/// its place in a container for every value, in vectors that may be half empty.
fn weight(object: &Object, record_bytes: usize) -> u64 {
    let values = Walk::new(object.pickles()).count();
    let bytes = record_bytes.saturating_add(values.saturating_mul(VALUE_BYTES));
    u64::try_from(bytes).map_or(u64::MAX, |bytes| bytes.saturating_add(ENTRY_BYTES))
}

/// A node of 16 bytes, a child of 4 or a share of an instance, and the vectors' slack.
const VALUE_BYTES: usize = 64;

/// The object itself and its entry in the table.
const ENTRY_BYTES: u64 = 320;
