//! The classes of the family that are written in Python, `OOBTreePy` and its like: who has no C
//! extension stored their names once.
//!
//! They hold keys and values as they came, compare them as Python does, and so differ from the others
//! where a number is too large, is a float or no number at all, where values have no order, and where a
//! state is none. Merged here is what both treat alike; all else is left to the client, who has the
//! class.

use pickle::{Kind, Value};

use crate::bucket::{Bucket, only_bucket};
use crate::family::{Class, Datum};
use crate::refusal::{Refusal, Unmerged};

impl Class {
    /// The class of that name, where it is one that is written in Python.
    pub(crate) fn named_in_python(module: &str, name: &str) -> Option<Self> {
        if module.starts_with("BTrees._") {
            return None;
        }
        Self::named(module, name.strip_suffix("Py")?)
    }

    /// As its namesake in Python: one that keeps what it is given.
    pub(crate) fn in_python(self) -> Self {
        Self {
            key: Datum::Object,
            value: Datum::Object,
            ..self
        }
    }
}

/// What objects the keys and the values are in the states of one conflict.
#[derive(Default)]
pub(crate) struct Plain {
    keys: Option<Sort>,
    values: Option<Sort>,
}

/// Objects that compare with each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Reference,
    Text,
    Bytes,
    Int,
}

impl Plain {
    /// The bucket of a state, if it is one that all classes treat alike.
    pub(crate) fn read(&mut self, state: Value<'_>, class: Class) -> Result<Bucket, Unmerged> {
        let state = if class.is_tree() {
            only_bucket(state).map_err(unknown)?
        } else {
            state
        };
        self.check(state, class).ok_or(Unmerged::Unknown)?;
        Bucket::read(state, class.in_python()).map_err(unknown)
    }

    fn check(&mut self, state: Value<'_>, class: Class) -> Option<()> {
        let Kind::Tuple(mut parts) = state.kind() else {
            return None;
        };
        let Kind::Tuple(items) = parts.next()?.kind() else {
            return None;
        };
        match (parts.next(), parts.next()) {
            (None, _) => {}
            (Some(next), None) if matches!(next.kind(), Kind::Persistent(_)) => {}
            _ => return None,
        }
        let has_values = class.has_values();
        if has_values && !items.len().is_multiple_of(2) {
            return None;
        }
        for (place, item) in items.enumerate() {
            let is_value = has_values && place % 2 == 1;
            let (datum, seen) = if is_value {
                (class.value, &mut self.values)
            } else {
                (class.key, &mut self.keys)
            };
            check_item(item, datum, is_value, seen)?;
        }
        Some(())
    }
}

/// What C and Python say of such a state is not the same.
fn unknown(refusal: Refusal) -> Unmerged {
    match refusal {
        Refusal::SeveralBuckets => refusal.into(),
        _ => Unmerged::Unknown,
    }
}

fn check_item(
    item: Value<'_>,
    datum: Datum,
    is_value: bool,
    seen: &mut Option<Sort>,
) -> Option<()> {
    if datum != Datum::Object {
        let is_plain = match item.kind() {
            Kind::Float(float) => datum == Datum::Float && !float.is_nan(),
            Kind::Int(_) | Kind::BigInt(_) => datum != Datum::Float && datum.read(item).is_ok(),
            Kind::Bytes(_) => datum.read(item).is_ok(),
            _ => false,
        };
        return is_plain.then_some(());
    }
    let sort = match item.kind() {
        // Whether two are the same can be told, but not which comes first.
        Kind::Persistent(_) if is_value => Sort::Reference,
        Kind::Str(_) => Sort::Text,
        Kind::Bytes(_) => Sort::Bytes,
        Kind::Int(_) => Sort::Int,
        _ => return None,
    };
    let is_as_others = *seen.get_or_insert(sort) == sort;
    is_as_others.then_some(())
}
