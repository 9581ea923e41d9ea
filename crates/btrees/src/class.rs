//! Which rule a record's class has.

use pickle::{Kind, Value};

use crate::family;

/// How the states of a class are merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// Key by key.
    Family(family::Class),
    /// The same, by the class that is written in Python.
    Python(family::Class),
    /// Both changes of a number are added.
    Length,
    /// The class is known to have none.
    None,
}

impl Rule {
    /// The rule of the class that the first pickle of a record names; nothing where it is not known.
    pub(crate) fn of(meta: Value<'_>) -> Option<Self> {
        // Either the class, or a tuple of it and the arguments for `__new__`; in the tuple the class
        // may be given by its names.
        let Kind::Tuple(mut parts) = meta.kind() else {
            return Self::of_class(meta);
        };
        let (class, args) = (parts.next()?, parts.next()?);
        let is_plain =
            args.is_none() || matches!(args.kind(), Kind::Tuple(args) if args.len() == 0);
        if parts.next().is_some() || !is_plain {
            return None;
        }
        Self::of_class(class)
    }

    fn of_class(class: Value<'_>) -> Option<Self> {
        match class.kind() {
            Kind::Global { module, name } => Self::named(module, name),
            Kind::Tuple(mut names) if names.len() == 2 => {
                Self::named(names.next()?.as_str()?, names.next()?.as_str()?)
            }
            _ => None,
        }
    }

    fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("BTrees.Length", "Length") => Some(Self::Length),
            (module, name) if WITHOUT_RULE.contains(&(module, name)) => Some(Self::None),
            _ => family::Class::named(module, name)
                .map(Self::Family)
                .or_else(|| family::Class::named_in_python(module, name).map(Self::Python)),
        }
    }
}

/// Classes of the stock that have no `_p_resolveConflict`.
const WITHOUT_RULE: [(&str, &str); 8] = [
    ("persistent.mapping", "PersistentMapping"),
    ("persistent.dict", "PersistentDict"),
    ("persistent.list", "PersistentList"),
    ("Persistence.mapping", "PersistentMapping"),
    ("ZODB.PersistentMapping", "PersistentMapping"),
    ("ZODB.PersistentList", "PersistentList"),
    ("Persistence", "Persistent"),
    ("persistent", "Persistent"),
];
