//! Keys and values on their way into a tree.

use std::cmp::Ordering;

use pickle::{Kind, NodeId, Pickles, Value};
use zodb::Data;

use crate::bucket::Item;
use crate::compare::Comparer;
use crate::error::TreeError;
use crate::family::Datum;

/// A key or a value, in the form that the family holds it.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) arena: Pickles,
    pub(crate) item: Item,
}

impl Probe {
    /// # Errors
    /// [`TreeError::Kind`].
    pub(crate) fn new(data: &Data, datum: Datum, what: &'static str) -> Result<Self, TreeError> {
        let mut arena = Pickles::new();
        let node = data.write(&mut arena);
        match datum.read(arena.value(node)) {
            Ok(item) => Ok(Self { arena, item }),
            Err(_) => Err(TreeError::Kind {
                what,
                expected: datum.expected(),
                found: shown(arena.value(node)),
            }),
        }
    }

    /// A stored key; nothing where it is none that the class has.
    pub(crate) fn of_value(value: Value<'_>, datum: Datum) -> Option<Self> {
        let mut arena = Pickles::new();
        let node = arena.copy_from(value);
        let item = datum.read(arena.value(node)).ok()?;
        Some(Self { arena, item })
    }

    pub(crate) fn order(&self, other: &Self) -> Result<Ordering, TreeError> {
        let comparer = self.comparer();
        Ok(self
            .item
            .order_in(&self.arena, other.item, &other.arena, &comparer)?)
    }

    /// In place of a value, for sets.
    pub(crate) fn nothing() -> Self {
        Self {
            arena: Pickles::new(),
            item: Item::Nothing,
        }
    }

    /// Whether Python accepts it as a new key: objects whose class has no order of its own are
    /// refused before they are compared.
    ///
    /// # Errors
    /// [`TreeError::DefaultComparison`]; [`TreeError::UnknownOrder`] for persistent objects and
    /// instances, whose classes are not at hand.
    pub(crate) fn check_order(&self) -> Result<(), TreeError> {
        let Item::Object(id) = self.item else {
            return Ok(());
        };
        let found = match self.arena.value(id).kind() {
            Kind::Global { .. } | Kind::Extension(_) => "a class or function",
            Kind::Persistent(_) | Kind::Instance(_) => return Err(TreeError::UnknownOrder),
            _ => return Ok(()),
        };
        Err(TreeError::DefaultComparison { found })
    }

    pub(crate) fn comparer(&self) -> Comparer<'_> {
        Comparer::live(&self.arena)
    }

    /// Puts it into another arena.
    pub(crate) fn copy_to(&self, arena: &mut Pickles) -> Item {
        copy(self.item, &self.arena, arena)
    }
}

/// Puts an item into another arena.
pub(crate) fn copy(item: Item, from: &Pickles, to: &mut Pickles) -> Item {
    match item {
        Item::Object(id) => {
            let value = from.value(id);
            // The usual ones need no walk through what they hold.
            Item::Object(match value.kind() {
                Kind::Int(int) => to.int(int),
                Kind::Str(text) => to.str(text),
                _ => to.copy_from(value),
            })
        }
        Item::Bytes(id) => Item::Bytes(to.copy_from(from.value(id))),
        other => other,
    }
}

/// Puts many items into another arena, so that what they share is shared there, too.
pub(crate) fn copy_all<'i>(
    items: impl Iterator<Item = &'i mut Item>,
    from: &mut Pickles,
    to: &mut Pickles,
) {
    let held: Vec<(&mut Item, NodeId)> = items
        .filter_map(|item| match *item {
            Item::Object(id) | Item::Bytes(id) => Some((item, id)),
            _ => None,
        })
        .collect();
    let holder = from.tuple(held.iter().map(|(_, id)| *id).collect());
    let copied = to.copy_from(from.value(holder));
    let copied: Vec<NodeId> = to.value(copied).elements().map(Value::id).collect();
    for ((item, _), id) in held.into_iter().zip(copied) {
        *item = match item {
            Item::Bytes(_) => Item::Bytes(id),
            _ => Item::Object(id),
        };
    }
}

fn shown(value: Value<'_>) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// As much of a value as a message shows.
const SHOWN_CHARS: usize = 60;
