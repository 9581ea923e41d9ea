//! References to persistent objects, as they count while states are merged.

use pickle::{Kind, NodeId, Value};

/// What a reference refers to. Two that look the same are one object; others are compared by this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) database: Option<&'a str>,
    pub(crate) is_weak: bool,
}

/// By which the original recognises a reference that it has met before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Look<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
    Node(NodeId),
    Tuple(Vec<Self>),
}

impl<'a> Reference<'a> {
    /// Reads a persistent id. There is nothing where ZODB writes no such id.
    pub(crate) fn read(id: Value<'a>) -> Option<Self> {
        let strong = |oid, database| Self {
            oid,
            database,
            is_weak: false,
        };
        match id.kind() {
            Kind::Tuple(mut parts) if parts.len() == 2 => Some(strong(oid(parts.next()?)?, None)),
            Kind::Bytes(_) | Kind::Str(_) => Some(strong(oid(id)?, None)),
            Kind::List(mut parts) if parts.len() == 1 => Some(Self {
                is_weak: true,
                ..strong(oid(parts.next()?)?, None)
            }),
            Kind::List(mut parts) if parts.len() == 2 => {
                let kind = parts.next()?.as_str()?;
                let Kind::Tuple(mut parts) = parts.next()?.kind() else {
                    return None;
                };
                match (kind, parts.len()) {
                    ("m", 3) | ("n", 2) => {
                        let database = parts.next()?.as_str()?;
                        Some(strong(oid(parts.next()?)?, Some(database)))
                    }
                    ("w", 1 | 2) => {
                        let oid = oid(parts.next()?)?;
                        let database = parts.next().map(|database| database.as_str());
                        Some(Self {
                            oid,
                            database: match database {
                                Some(database) => Some(database?),
                                None => None,
                            },
                            is_weak: true,
                        })
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.oid == other.oid && self.database == other.database && !self.is_weak && !other.is_weak
    }
}

/// Text where all bytes were ASCII.
fn oid(value: Value<'_>) -> Option<&[u8]> {
    match value.kind() {
        Kind::Bytes(bytes) => Some(bytes),
        Kind::Str(text) if text.is_ascii() => Some(text.as_bytes()),
        _ => None,
    }
}

/// What a persistent id looks like. Lists count as tuples; what Python could not look up has none.
pub(crate) fn look(id: Value<'_>) -> Option<Look<'_>> {
    match id.kind() {
        Kind::List(parts) => parts
            .map(|part| part_look(part, DEPTH_MAX))
            .collect::<Option<_>>()
            .map(Look::Tuple),
        _ => part_look(id, DEPTH_MAX),
    }
}

fn part_look(part: Value<'_>, depth: usize) -> Option<Look<'_>> {
    match part.kind() {
        Kind::Bytes(bytes) => Some(Look::Bytes(bytes)),
        Kind::Str(text) => Some(Look::Text(text)),
        Kind::None | Kind::Global { .. } => Some(Look::Node(part.id())),
        Kind::Tuple(parts) if depth > 0 && parts.len() <= PARTS_MAX => {
            let parts = parts.map(|part| part_look(part, depth - 1));
            parts.collect::<Option<_>>().map(Look::Tuple)
        }
        _ => None,
    }
}

/// The original's ids are tuples within a list at most, and a class's names within those.
const DEPTH_MAX: usize = 3;
const PARTS_MAX: usize = 3;
