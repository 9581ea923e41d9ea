//! References between persistent objects: what a persistent id holds.
//!
//! | persistent id | meaning |
//! |---|---|
//! | `(oid, class)` | the usual one |
//! | `oid` | classes made with arguments to `__new__` |
//! | `['w', (oid,)]`, `['w', (oid, database)]`, `[oid]` | weak |
//! | `['n', (database, oid)]` | in another database |
//! | `['m', (database, oid, class)]` | the same, with the class |

use pickle::{Kind, NodeId, Pickles, Value};
use storage::Oid;

use crate::ClassName;
use crate::object::class_named;

/// A reference to a persistent object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// To an object of the same database. Keeps it alive when packing.
    Strong {
        /// The object.
        oid: Oid,
        /// Its class when the reference was written; `None` where only its record tells.
        class: Option<ClassName>,
    },
    /// A weak reference: the object may be gone.
    Weak {
        /// The object.
        oid: Oid,
        /// The database it is in, where it is not this one.
        database: Option<String>,
    },
    /// To an object of another database.
    Foreign {
        /// The name of the database.
        database: String,
        /// The object in it.
        oid: Oid,
        /// Its class when the reference was written.
        class: Option<ClassName>,
    },
}

impl Reference {
    /// Reads a reference: a persistent node of a state, or the persistent id itself. `None` for
    /// everything else.
    pub fn read(value: Value<'_>) -> Option<Self> {
        let id = value.persistent_id().unwrap_or(value);
        match id.kind() {
            Kind::Tuple(_) => {
                let [oid, class] = exactly(id)?;
                Some(Self::Strong {
                    oid: read_oid(oid)?,
                    class: class_named(class),
                })
            }
            Kind::List(_) => Self::read_list(id),
            _ => Some(Self::Strong {
                oid: read_oid(id)?,
                class: None,
            }),
        }
    }

    fn read_list(id: Value<'_>) -> Option<Self> {
        if let Some([oid]) = exactly(id) {
            return Some(Self::Weak {
                oid: read_oid(oid)?,
                database: None,
            });
        }
        let [kind, arguments] = exactly(id)?;
        let Kind::Tuple(_) = arguments.kind() else {
            return None;
        };
        match &*kind.as_text()? {
            "w" => match exactly(arguments) {
                Some([oid]) => Some(Self::Weak {
                    oid: read_oid(oid)?,
                    database: None,
                }),
                None => {
                    let [oid, database] = exactly(arguments)?;
                    let database = if database.is_none() {
                        None
                    } else {
                        Some(database.as_text()?.into_owned())
                    };
                    Some(Self::Weak {
                        oid: read_oid(oid)?,
                        database,
                    })
                }
            },
            "n" => {
                let [database, oid] = exactly(arguments)?;
                Some(Self::Foreign {
                    database: database.as_text()?.into_owned(),
                    oid: read_oid(oid)?,
                    class: None,
                })
            }
            "m" => {
                let [database, oid, class] = exactly(arguments)?;
                Some(Self::Foreign {
                    database: database.as_text()?.into_owned(),
                    oid: read_oid(oid)?,
                    class: class_named(class),
                })
            }
            _ => None,
        }
    }

    /// The object referred to, in whichever database.
    pub fn oid(&self) -> Oid {
        match self {
            Self::Strong { oid, .. } | Self::Weak { oid, .. } | Self::Foreign { oid, .. } => *oid,
        }
    }

    /// The name of the database the object is in, where it is not the one of the reference.
    pub fn database(&self) -> Option<&str> {
        match self {
            Self::Strong { .. } => None,
            Self::Weak { database, .. } => database.as_deref(),
            Self::Foreign { database, .. } => Some(database),
        }
    }

    /// Adds a persistent node that holds this reference, in the form ZODB 6 writes.
    pub fn write(&self, pickles: &mut Pickles) -> NodeId {
        let id = match self {
            Self::Strong { oid, class: None } => write_oid(*oid, pickles),
            Self::Strong {
                oid,
                class: Some(class),
            } => {
                let parts = vec![write_oid(*oid, pickles), write_class(class, pickles)];
                pickles.tuple(parts)
            }
            Self::Weak { oid, database } => {
                let mut parts = vec![write_oid(*oid, pickles)];
                parts.extend(database.as_deref().map(|name| pickles.str(name)));
                write_tagged("w", parts, pickles)
            }
            Self::Foreign {
                database,
                oid,
                class,
            } => {
                let mut parts = vec![pickles.str(database), write_oid(*oid, pickles)];
                parts.extend(class.as_ref().map(|class| write_class(class, pickles)));
                let tag = if class.is_some() { "m" } else { "n" };
                write_tagged(tag, parts, pickles)
            }
        };
        pickles.persistent(id)
    }
}

/// The elements, where there are exactly so many.
fn exactly<const N: usize>(value: Value<'_>) -> Option<[Value<'_>; N]> {
    let mut elements = value.elements();
    let mut found = [value; N];
    for slot in &mut found {
        *slot = elements.next()?;
    }
    elements.next().is_none().then_some(found)
}

/// Eight bytes. Python 2 wrote them as a `str`, which reads as text where all are ASCII.
fn read_oid(value: Value<'_>) -> Option<Oid> {
    let bytes = value.as_bytes().or_else(|| {
        value
            .as_str()
            .map(str::as_bytes)
            .filter(|text| text.is_ascii())
    })?;
    Oid::try_from(bytes).ok()
}

fn write_oid(oid: Oid, pickles: &mut Pickles) -> NodeId {
    pickles.bytes(&oid.to_bytes())
}

fn write_class(class: &ClassName, pickles: &mut Pickles) -> NodeId {
    pickles.global(class.module(), class.name())
}

fn write_tagged(tag: &str, parts: Vec<NodeId>, pickles: &mut Pickles) -> NodeId {
    let tag = pickles.str(tag);
    let arguments = pickles.tuple(parts);
    pickles.list(vec![tag, arguments])
}
