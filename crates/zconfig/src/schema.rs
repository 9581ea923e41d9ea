//! Which sections and keys there may be.

use crate::datatype::Datatype;
use crate::section::Section;
use crate::world::World;

/// What a kind of configuration may hold.
#[derive(Debug)]
pub struct Schema {
    /// What stands outside of all sections; its name is not used.
    pub root: SectionType,
    /// The types of sections that are known from the start.
    pub types: &'static [&'static SectionType],
    /// The packages that `%import` may name.
    pub packages: &'static [Package],
    /// The packages that `%import` may not name, and why.
    pub refused: &'static [(&'static str, &'static str)],
}

/// A package of Python, and the types of sections that `%import` brings.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its sections; empty where they are known from the start.
    pub types: &'static [&'static SectionType],
}

/// A type of sections.
#[derive(Debug)]
pub struct SectionType {
    /// As it is written in `<type>`, in lower case.
    pub name: &'static str,
    /// What it can stand for: `zodb.storage`.
    pub implements: Option<&'static str>,
    /// Keys and sections that come before its own.
    pub base: &'static [Child],
    /// Its keys and the sections in it.
    pub children: &'static [Child],
    /// What types alone cannot say.
    pub rule: Option<Rule>,
}

/// Looks at a whole section: the key that is to blame (empty for the section itself), and why.
pub type Rule = fn(&Section, &dyn World) -> Result<(), (&'static str, String)>;

/// A part of a section.
#[derive(Clone, Copy, Debug)]
pub enum Child {
    /// A key with a value.
    Key(Key),
    /// A place for sections.
    Slot(Slot),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// In lower case.
    pub name: &'static str,
    /// What its value is.
    pub datatype: Datatype,
    /// The text of the value where the key is absent.
    pub default: Option<&'static str>,
    /// Whether it must be there.
    pub is_required: bool,
    /// Whether it may be there more than once.
    pub is_multiple: bool,
}

/// A place for sections.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The type of its sections, or what they implement.
    pub kind: &'static str,
    /// Whether there must be one.
    pub is_required: bool,
    /// Whether there may be several.
    pub is_multiple: bool,
}

impl SectionType {
    /// A type with these children.
    pub const fn new(name: &'static str, children: &'static [Child]) -> Self {
        Self {
            name,
            implements: None,
            base: &[],
            children,
            rule: None,
        }
    }

    /// It can stand for that.
    pub const fn implements(mut self, name: &'static str) -> Self {
        self.implements = Some(name);
        self
    }

    /// It begins with those children.
    pub const fn extends(mut self, base: &'static [Child]) -> Self {
        self.base = base;
        self
    }

    /// It is held against that rule.
    pub const fn with_rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// All keys and slots.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.base.iter().chain(self.children)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.children().filter_map(|child| match child {
            Child::Key(key) => Some(key),
            Child::Slot(_) => None,
        })
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.children().filter_map(|child| match child {
            Child::Slot(slot) => Some(slot),
            Child::Key(_) => None,
        })
    }

    /// Whether it fits the slot.
    pub fn fits(&self, slot: &Slot) -> bool {
        slot.kind == self.name || self.implements == Some(slot.kind)
    }
}

/// A key that may be absent.
pub(crate) const fn key(name: &'static str, datatype: Datatype) -> Child {
    Child::Key(Key {
        name,
        datatype,
        default: None,
        is_required: false,
        is_multiple: false,
    })
}

/// A key that must be there.
pub(crate) const fn required(name: &'static str, datatype: Datatype) -> Child {
    Child::Key(Key {
        name,
        datatype,
        default: None,
        is_required: true,
        is_multiple: false,
    })
}

/// A key that must be there, once or more often.
pub(crate) const fn some(name: &'static str, datatype: Datatype) -> Child {
    Child::Key(Key {
        name,
        datatype,
        default: None,
        is_required: true,
        is_multiple: true,
    })
}

/// A key that has a value where it is absent.
pub(crate) const fn with_default(
    name: &'static str,
    datatype: Datatype,
    default: &'static str,
) -> Child {
    Child::Key(Key {
        name,
        datatype,
        default: Some(default),
        is_required: false,
        is_multiple: false,
    })
}

/// A place for sections: (at least, more than one).
pub(crate) const fn slot(kind: &'static str, is_required: bool, is_multiple: bool) -> Child {
    Child::Slot(Slot {
        kind,
        is_required,
        is_multiple,
    })
}
