//! Buckets: from their states, and back.

use std::cmp::Ordering;

use pickle::{Kind, NodeId, Pickles, Value};

use crate::compare::Comparer;
use crate::family::{Class, Datum};
use crate::refusal::{Refusal, Unmerged};

/// A key or a value as a bucket holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    Object(NodeId),
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    /// The bytes of a node.
    Bytes(NodeId),
    /// In place of the values that a set does not have.
    Nothing,
}

/// The keys of a bucket with their values, and the bucket behind it.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) items: Vec<(Item, Item)>,
    /// It is never looked into: the same object, or another.
    pub(crate) next: Option<NodeId>,
}

impl Bucket {
    /// A bucket's state. `None` stands for an empty one.
    pub(crate) fn read(state: Value<'_>, class: Class) -> Result<Self, Refusal> {
        if state.is_none() {
            return Ok(Self::default());
        }
        let parts = tuple(state)?;
        let mut parts = parts.iter();
        let (items, next) = match parts.len() {
            1 | 2 => (parts.next(), parts.next()),
            _ => return Err(Refusal::WrongState),
        };
        let items = tuple(*items.ok_or(Refusal::WrongState)?)?;
        let next = next.map(|next| next.id());
        let items = if class.has_values() {
            // Half a pair at the end is not looked at.
            let pairs = items.chunks_exact(2);
            let pairs =
                pairs.map(|pair| Ok((class.key.read(pair[0])?, class.value.read(pair[1])?)));
            pairs.collect::<Result<_, _>>()?
        } else {
            let keys = items
                .iter()
                .map(|key| Ok((class.key.read(*key)?, Item::Nothing)));
            keys.collect::<Result<_, _>>()?
        };
        Ok(Self { items, next })
    }

    /// The state of a record of the class with this bucket.
    pub(crate) fn write(&self, pickles: &mut Pickles, class: Class) -> NodeId {
        let mut items = Vec::with_capacity(self.items.len() * 2);
        for (key, value) in &self.items {
            items.push(key.write(pickles));
            if class.has_values() {
                items.push(value.write(pickles));
            }
        }
        let items = pickles.tuple(items);
        let mut state = vec![items];
        state.extend(self.next);
        let state = pickles.tuple(state);
        if !class.is_tree() {
            return state;
        }
        let only = pickles.tuple(vec![state]);
        pickles.tuple(vec![only])
    }
}

/// The state of the only bucket in the record of a tree.
pub(crate) fn only_bucket(state: Value<'_>) -> Result<Value<'_>, Refusal> {
    if state.is_none() {
        return Ok(state);
    }
    let only = |value| match tuple(value)?[..] {
        [only] => Ok(only),
        _ => Err(Refusal::WrongState),
    };
    if tuple(state)?.len() == 2 {
        return Err(Refusal::SeveralBuckets);
    }
    let bucket = only(only(state)?)?;
    tuple(bucket).map(|_| bucket)
}

fn tuple(value: Value<'_>) -> Result<Vec<Value<'_>>, Refusal> {
    match value.kind() {
        Kind::Tuple(items) => Ok(items.collect()),
        _ => Err(Refusal::WrongState),
    }
}

impl Datum {
    pub(crate) fn read(self, value: Value<'_>) -> Result<Item, Refusal> {
        let item = match self {
            Self::Object => Some(Item::Object(value.id())),
            Self::Int => int(value)
                .filter(|int| i32::try_from(*int).is_ok())
                .map(Item::Signed),
            Self::Long => int(value).map(Item::Signed),
            Self::Unsigned => {
                let small = int(value).and_then(|int| u32::try_from(int).ok());
                small.map(|int| Item::Unsigned(u64::from(int)))
            }
            Self::UnsignedLong => unsigned(value).map(Item::Unsigned),
            Self::Float => float(value).map(Item::Float),
            Self::Bytes(length) => match value.kind() {
                Kind::Bytes(bytes) if bytes.len() == length => Some(Item::Bytes(value.id())),
                _ => None,
            },
        };
        item.ok_or(Refusal::WrongState)
    }
}

fn int(value: Value<'_>) -> Option<i64> {
    value.as_int().or_else(|| value.as_bool().map(i64::from))
}

fn unsigned(value: Value<'_>) -> Option<u64> {
    if let Kind::BigInt(bytes) = value.kind() {
        let [low @ .., 0] = bytes else { return None };
        return Some(u64::from_le_bytes(low.try_into().ok()?));
    }
    u64::try_from(int(value)?).ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bucket holds C floats"
)]
fn float(value: Value<'_>) -> Option<f32> {
    match value.kind() {
        Kind::Float(float) => Some(float as f32),
        _ => int(value).map(|int| int as f32),
    }
}

impl Item {
    /// # Errors
    /// Objects that Python does not compare, or not without code of their own.
    pub(crate) fn order(self, other: Self, comparer: &Comparer<'_>) -> Result<Ordering, Unmerged> {
        match (self, other) {
            (Self::Object(left), Self::Object(right)) | (Self::Bytes(left), Self::Bytes(right)) => {
                comparer.order(left, right)
            }
            (Self::Signed(left), Self::Signed(right)) => Ok(left.cmp(&right)),
            (Self::Unsigned(left), Self::Unsigned(right)) => Ok(left.cmp(&right)),
            // What is not a number is neither less nor greater than any, and so equal to all.
            (Self::Float(left), Self::Float(right)) => {
                Ok(left.partial_cmp(&right).unwrap_or(Ordering::Equal))
            }
            _ => Ok(Ordering::Equal),
        }
    }

    /// The order of two items in whichever arenas.
    ///
    /// # Errors
    /// As [`order`](Self::order).
    pub(crate) fn order_in<'a>(
        self,
        arena: &'a Pickles,
        other: Self,
        others: &'a Pickles,
        comparer: &Comparer<'a>,
    ) -> Result<Ordering, Unmerged> {
        match (self, other) {
            (Self::Object(left), Self::Object(right)) | (Self::Bytes(left), Self::Bytes(right)) => {
                comparer.order_values(arena.value(left), others.value(right))
            }
            _ => self.order(other, comparer),
        }
    }

    /// Numbers become new objects.
    pub(crate) fn write(self, pickles: &mut Pickles) -> NodeId {
        match self {
            Self::Object(id) => id,
            Self::Bytes(id) => {
                let bytes = pickles.value(id).as_bytes().unwrap_or_default().to_vec();
                pickles.bytes(&bytes)
            }
            Self::Signed(int) => pickles.int(int),
            Self::Unsigned(int) => pickles.big_int(&i128::from(int).to_le_bytes()),
            Self::Float(float) => pickles.float(f64::from(float)),
            Self::Nothing => pickles.none(),
        }
    }
}
