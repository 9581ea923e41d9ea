//! What `<` and `==` of Python say of inert values.

use std::cell::Cell;
use std::cmp::Ordering;

use pickle::{Kind, NodeId, Pickles, Value};

use crate::number::Number;
use crate::reference::Reference;
use crate::refusal::{Refusal, Unmerged};

/// Most comparisons of one merge, those within tuples and the like included: sharing multiplies them.
const COMPARISONS_MAX: u32 = 4_000_000;
/// Deepest nesting that is compared.
const DEPTH_MAX: u32 = 100;

/// Compares values of one arena, in which equal ids are one object.
pub(crate) struct Comparer<'a> {
    pickles: &'a Pickles,
    comparisons: Cell<u32>,
    /// Whether references stand for objects whose class would be asked, where it is at hand.
    is_live: bool,
}

impl<'a> Comparer<'a> {
    pub(crate) fn new(pickles: &'a Pickles) -> Self {
        Self {
            pickles,
            comparisons: Cell::new(0),
            is_live: false,
        }
    }

    /// For keys of a tree that is in use, where Python compares the objects that are referred to.
    pub(crate) fn live(pickles: &'a Pickles) -> Self {
        Self {
            is_live: true,
            ..Self::new(pickles)
        }
    }

    /// As the C extensions order objects: `None` before everything else, then `<`, then `==`.
    ///
    /// # Errors
    /// Python raises an error, or would have to run other code.
    pub(crate) fn order(&self, left: NodeId, right: NodeId) -> Result<Ordering, Unmerged> {
        self.order_values(self.pickles.value(left), self.pickles.value(right))
    }

    /// The same for values of any two arenas.
    pub(crate) fn order_values(
        &self,
        left: Value<'a>,
        right: Value<'a>,
    ) -> Result<Ordering, Unmerged> {
        // Most keys are texts.
        if let (Some(left), Some(right)) = (left.text_bytes(), right.text_bytes()) {
            return Ok(left.cmp(right));
        }
        Ok(match (left.is_none(), right.is_none()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) if self.is_less(left, right, DEPTH_MAX)? => Ordering::Less,
            (false, false) if self.is_equal(left, right, DEPTH_MAX)? => Ordering::Equal,
            (false, false) => Ordering::Greater,
        })
    }

    fn is_less(&self, left: Value<'a>, right: Value<'a>, depth: u32) -> Result<bool, Unmerged> {
        let depth = self.step(depth)?;
        if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
            return Ok(left.compare(right) == Some(Ordering::Less));
        }
        match (left.kind(), right.kind()) {
            (left, right) if runs_code(&left) || runs_code(&right) => Err(Unmerged::Unknown),
            (Kind::Persistent(_), _) | (_, Kind::Persistent(_)) => {
                self.check_references(left, right)?;
                Ok(false)
            }
            (Kind::Tuple(left), Kind::Tuple(right)) | (Kind::List(left), Kind::List(right)) => {
                let both = left.len().cmp(&right.len());
                for (left, right) in left.zip(right) {
                    if !self.is_equal(left, right, depth)? {
                        return self.is_less(left, right, depth);
                    }
                }
                Ok(both == Ordering::Less)
            }
            (
                left @ (Kind::Set(_) | Kind::FrozenSet(_)),
                right @ (Kind::Set(_) | Kind::FrozenSet(_)),
            ) => {
                let [left, right] = [elements(left), elements(right)];
                Ok(left.len() < right.len() && self.are_all_in(&left, &right, depth)?)
            }
            (left, right) => match (text(&left), text(&right)) {
                (Some(left), Some(right)) => Ok(left < right),
                _ => match (bytes(&left), bytes(&right)) {
                    (Some(left), Some(right)) => Ok(left < right),
                    _ => Err(Refusal::NotComparable.into()),
                },
            },
        }
    }

    fn is_equal(&self, left: Value<'a>, right: Value<'a>, depth: u32) -> Result<bool, Unmerged> {
        let depth = self.step(depth)?;
        if is_same(left, right) {
            return Ok(true);
        }
        if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
            return Ok(left.compare(right) == Some(Ordering::Equal));
        }
        match (left.kind(), right.kind()) {
            (left, right) if runs_code(&left) || runs_code(&right) => Err(Unmerged::Unknown),
            (Kind::Persistent(_), _) | (_, Kind::Persistent(_)) => {
                self.check_references(left, right)?;
                Ok(true)
            }
            (Kind::List(left), Kind::List(right)) if left.len() != right.len() => Ok(false),
            (Kind::Tuple(left), Kind::Tuple(right)) | (Kind::List(left), Kind::List(right)) => {
                let same_length = left.len() == right.len();
                for (left, right) in left.zip(right) {
                    if !self.is_equal(left, right, depth)? {
                        return Ok(false);
                    }
                }
                Ok(same_length)
            }
            (
                left @ (Kind::Set(_) | Kind::FrozenSet(_)),
                right @ (Kind::Set(_) | Kind::FrozenSet(_)),
            ) => {
                let [left, right] = [elements(left), elements(right)];
                Ok(left.len() == right.len() && self.are_all_in(&left, &right, depth)?)
            }
            (Kind::Dict(left), Kind::Dict(right)) => {
                let right: Vec<_> = right.collect();
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (at, (key, value)) in left.enumerate() {
                    let Some(other) = self.entry(&right, at, key, depth)? else {
                        return Ok(false);
                    };
                    if !self.is_equal(value, other, depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (left, right) => Ok(match (text(&left), text(&right)) {
                (Some(left), Some(right)) => left == right,
                _ => match (bytes(&left), bytes(&right)) {
                    (Some(left), Some(right)) => left == right,
                    _ => false,
                },
            }),
        }
    }

    /// The value under a key, which is most often in the same place.
    fn entry(
        &self,
        entries: &[(Value<'a>, Value<'a>)],
        near: usize,
        key: Value<'a>,
        depth: u32,
    ) -> Result<Option<Value<'a>>, Unmerged> {
        let (before, after) = entries.split_at(near.min(entries.len()));
        for (other, value) in after.iter().chain(before) {
            if self.is_equal(key, *other, depth)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }

    fn are_all_in(
        &self,
        items: &[Value<'a>],
        of: &[Value<'a>],
        depth: u32,
    ) -> Result<bool, Unmerged> {
        for item in items {
            let mut is_found = false;
            for other in of {
                is_found = is_found || self.is_equal(*item, *other, depth)?;
            }
            if !is_found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// References compare equal, or not at all: what their objects would say is not known. In a merge
    /// the original refuses to compare them.
    fn check_references(&self, left: Value<'a>, right: Value<'a>) -> Result<(), Unmerged> {
        if is_same(left, right) {
            return Ok(());
        }
        let read = |value: Value<'a>| value.persistent_id().and_then(Reference::read);
        match (read(left), read(right)) {
            (Some(left), Some(right)) if left.is_same(&right) => Ok(()),
            _ if self.is_live => Err(Unmerged::Unknown),
            _ => Err(Refusal::NotComparable.into()),
        }
    }

    fn step(&self, depth: u32) -> Result<u32, Unmerged> {
        let comparisons = self.comparisons.get() + 1;
        self.comparisons.set(comparisons);
        if comparisons > COMPARISONS_MAX {
            return Err(Unmerged::Unknown);
        }
        depth.checked_sub(1).ok_or(Unmerged::Unknown)
    }
}

/// Whether both are one object.
fn is_same(left: Value<'_>, right: Value<'_>) -> bool {
    left.id() == right.id() && std::ptr::eq(left.pickles(), right.pickles())
}

/// Whether a comparison is up to a class that is not at hand. (A name may stand for any object.)
fn runs_code(kind: &Kind<'_>) -> bool {
    !matches!(
        kind,
        Kind::None
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::BigInt(_)
            | Kind::Float(_)
            | Kind::Str(_)
            | Kind::Surrogates(_)
            | Kind::Bytes(_)
            | Kind::ByteArray(_)
            | Kind::Tuple(_)
            | Kind::List(_)
            | Kind::Set(_)
            | Kind::FrozenSet(_)
            | Kind::Dict(_)
            | Kind::Persistent(_)
    )
}

fn elements(kind: Kind<'_>) -> Vec<Value<'_>> {
    match kind {
        Kind::Set(items) | Kind::FrozenSet(items) => items.collect(),
        _ => Vec::new(),
    }
}

/// In UTF-8, lone surrogates included: its bytes are ordered as the code points are.
fn text<'a>(kind: &Kind<'a>) -> Option<&'a [u8]> {
    match kind {
        Kind::Str(text) => Some(text.as_bytes()),
        Kind::Surrogates(bytes) => Some(bytes),
        _ => None,
    }
}

fn bytes<'a>(kind: &Kind<'a>) -> Option<&'a [u8]> {
    match kind {
        Kind::Bytes(bytes) | Kind::ByteArray(bytes) => Some(bytes),
        _ => None,
    }
}
