//! Decoded objects.

use std::time::Duration;

use pickle::{Kind, Pickles, Value, uncompressed};
use storage::{Oid, Tid};

use crate::walk::Walk;
use crate::{ClassName, RecordError, Reference};

/// An object as one transaction left it: decoded, immutable, shared between threads.
#[derive(Debug)]
pub struct Object {
    oid: Oid,
    tid: Tid,
    class: ClassName,
    pickles: Pickles,
}

impl Object {
    /// Decodes a record, which may be compressed: some servers leave that to their clients
    /// (`zc.zlibstorage`).
    pub(crate) fn decode(oid: Oid, tid: Tid, record: &[u8]) -> Result<Self, RecordError> {
        Self::new(oid, tid, Pickles::decode(&uncompressed(record)?)?)
    }

    /// Takes the two pickles of a record: class and state.
    pub(crate) fn new(oid: Oid, tid: Tid, pickles: Pickles) -> Result<Self, RecordError> {
        let found = pickles.roots().count();
        if found != 2 {
            return Err(RecordError::Roots { found });
        }
        let class = pickles
            .root(0)
            .and_then(class_of)
            .ok_or(RecordError::Class)?;
        Ok(Self {
            oid,
            tid,
            class,
            pickles,
        })
    }

    /// Its id.
    pub fn oid(&self) -> Oid {
        self.oid
    }

    /// The transaction that wrote it; for an uncommitted change the one it is based on, which is
    /// [`Tid::ZERO`] for a new object.
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Its class.
    pub fn class(&self) -> &ClassName {
        &self.class
    }

    /// Its state: what Python hands to `__setstate__`.
    pub fn state(&self) -> Value<'_> {
        self.pickles
            .root(1)
            .expect("an object is only made of two pickles")
    }

    /// Both pickles. A change begins with a clone of them.
    pub fn pickles(&self) -> &Pickles {
        &self.pickles
    }

    /// When it was last changed, since 1970, UTC (`_p_mtime`).
    pub fn modified(&self) -> Duration {
        self.tid.to_unix_time()
    }

    /// The references its state holds to persistent objects, one for each mention, in no
    /// particular order. Persistent ids of an unknown form are left out.
    pub fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        Walk::new(&self.pickles)
            .filter(|value| value.persistent_id().is_some())
            .filter_map(Reference::read)
    }

    /// The reference that other objects of this database hold to it. Classes made with arguments
    /// to `__new__` are referred to by id alone, as ZODB does.
    pub fn reference(&self) -> Reference {
        let is_plain = self
            .pickles
            .root(0)
            .is_some_and(|head| head.as_global().is_some());
        Reference::Strong {
            oid: self.oid,
            class: is_plain.then(|| self.class.clone()),
        }
    }
}

/// The class in the first pickle of a record: the class itself, `(class, arguments)`, or
/// `((module, name), arguments)`.
fn class_of(head: Value<'_>) -> Option<ClassName> {
    match head.kind() {
        Kind::Tuple(_) => {
            let mut elements = head.elements();
            let (class, _args) = (elements.next()?, elements.next()?);
            elements.next().is_none().then_some(())?;
            class_named(class)
        }
        _ => head
            .as_global()
            .map(|(module, name)| ClassName::new(module, name)),
    }
}

/// A class as a global or as the tuple `(module, name)` of old records.
pub(crate) fn class_named(value: Value<'_>) -> Option<ClassName> {
    if let Some((module, name)) = value.as_global() {
        return Some(ClassName::new(module, name));
    }
    let Kind::Tuple(_) = value.kind() else {
        return None;
    };
    let mut elements = value.elements();
    let (module, name) = (elements.next()?, elements.next()?);
    elements.next().is_none().then_some(())?;
    Some(ClassName::new(&module.as_text()?, &name.as_text()?))
}
