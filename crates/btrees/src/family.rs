//! The names of the classes, and what follows from them.

use zodb::ClassName;

/// What a class of the family is. All four keep their records in one of two forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `Bucket`: keys with values.
    Bucket,
    /// `Set`: keys alone.
    Set,
    /// `BTree`: buckets beneath nodes; the only bucket of a small one is part of its record.
    BTree,
    /// `TreeSet`: sets beneath nodes.
    TreeSet,
}

/// How a key or a value is held in memory, which decides how it is compared and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Datum {
    /// `O`: any object.
    Object,
    /// `I`: 32 bits.
    Int,
    /// `U`: 32 bits without a sign.
    Unsigned,
    /// `L`: 64 bits.
    Long,
    /// `Q`: 64 bits without a sign.
    UnsignedLong,
    /// `F`: a C `float`; never a key.
    Float,
    /// `fs`: so many bytes.
    Bytes(usize),
}

/// One of the classes that `BTrees` defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Class {
    pub(crate) key: Datum,
    pub(crate) value: Datum,
    pub(crate) shape: Shape,
}

impl Class {
    /// The class of that name, where the C extensions pickle one by it.
    pub(crate) fn named(module: &str, name: &str) -> Option<Self> {
        let family = module.strip_prefix("BTrees.")?;
        let family = family.strip_prefix('_').unwrap_or(family);
        let family = family.strip_suffix("BTree")?;
        if !FAMILIES.contains(&family) {
            return None;
        }
        let shape = match name.strip_prefix(family)? {
            "Bucket" => Shape::Bucket,
            "Set" => Shape::Set,
            "BTree" => Shape::BTree,
            "TreeSet" => Shape::TreeSet,
            _ => return None,
        };
        let (key, value) = match family.as_bytes() {
            b"fs" => (Datum::Bytes(2), Datum::Bytes(6)),
            [key, value] => (Datum::of_letter(*key)?, Datum::of_letter(*value)?),
            _ => return None,
        };
        Some(Self { key, value, shape })
    }

    /// The module's name of today, where the name is one of long ago: the extension module's own.
    pub(crate) fn module_of_today(module: &str, name: &str) -> Option<String> {
        let rest = module.strip_prefix("BTrees._")?;
        Self::named(module, name)?;
        Some(format!("BTrees.{rest}"))
    }

    /// The class's names of today.
    pub(crate) fn class_name(self) -> ClassName {
        let letters = [self.key.letter(), self.value.letter()].concat();
        let family = if letters.len() == 2 { &letters } else { "fs" };
        let shape = match self.shape {
            Shape::Bucket => "Bucket",
            Shape::Set => "Set",
            Shape::BTree => "BTree",
            Shape::TreeSet => "TreeSet",
        };
        ClassName::new(
            &format!("BTrees.{family}BTree"),
            &format!("{family}{shape}"),
        )
    }

    /// The class of a tree's buckets; a bucket's own.
    pub(crate) fn leaves(self) -> Self {
        let shape = match self.shape {
            Shape::Bucket | Shape::BTree => Shape::Bucket,
            Shape::Set | Shape::TreeSet => Shape::Set,
        };
        Self { shape, ..self }
    }

    /// The class of the trees that have such buckets; nothing for a tree.
    pub(crate) fn tree_of(self) -> Option<Self> {
        let shape = match self.shape {
            Shape::Bucket => Shape::BTree,
            Shape::Set => Shape::TreeSet,
            Shape::BTree | Shape::TreeSet => return None,
        };
        Some(Self { shape, ..self })
    }

    /// The class of a node of a tree of this class, by its name; nothing for all others.
    ///
    /// The letters of the family are not taken apart anew: they are looked at as they stand.
    pub(crate) fn of_node(self, name: &ClassName) -> Option<Self> {
        let family = name.module().strip_prefix("BTrees.")?;
        let family = family
            .strip_prefix('_')
            .unwrap_or(family)
            .strip_suffix("BTree")?;
        let shape = name.name().strip_prefix(family)?;
        let is_family = match self.key {
            Datum::Bytes(_) => family == "fs",
            _ => match family.as_bytes() {
                [key, value] => {
                    Datum::of_letter(*key) == Some(self.key)
                        && Datum::of_letter(*value) == Some(self.value)
                }
                _ => false,
            },
        };
        if !is_family {
            return None;
        }
        match (shape, self.has_values()) {
            ("BTree", true) | ("TreeSet", false) if self.is_tree() => Some(self),
            ("Bucket", true) | ("Set", false) => Some(self.leaves()),
            _ => None,
        }
    }

    /// The sizes that the original's classes have.
    pub(crate) fn sizes(self) -> Sizes {
        let (leaf, internal) = match (self.key, self.value) {
            (Datum::Bytes(_), _) => (500, 500),
            (Datum::Object, Datum::Object) => (30, 250),
            (Datum::Object, _) => (60, 250),
            (_, Datum::Object) => (60, 500),
            _ => (120, 500),
        };
        Sizes { leaf, internal }
    }

    pub(crate) fn has_values(self) -> bool {
        matches!(self.shape, Shape::Bucket | Shape::BTree)
    }

    pub(crate) fn is_tree(self) -> bool {
        matches!(self.shape, Shape::BTree | Shape::TreeSet)
    }
}

/// When nodes are split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Most keys of a bucket (`max_leaf_size`).
    pub leaf: usize,
    /// Most children of a node below the root (`max_internal_size`); the root may have nearly twice
    /// as many.
    pub internal: usize,
}

impl Datum {
    fn letter(self) -> &'static str {
        match self {
            Self::Object => "O",
            Self::Int => "I",
            Self::Unsigned => "U",
            Self::Long => "L",
            Self::UnsignedLong => "Q",
            Self::Float => "F",
            Self::Bytes(_) => "fs",
        }
    }

    /// What may be put there, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Object => "an object that has an order",
            Self::Int => "an int of 32 bits",
            Self::Unsigned => "a natural number of 32 bits",
            Self::Long => "an int of 64 bits",
            Self::UnsignedLong => "a natural number of 64 bits",
            Self::Float => "a float",
            Self::Bytes(2) => "2 bytes",
            Self::Bytes(_) => "6 bytes",
        }
    }

    fn of_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'O' => Self::Object,
            b'I' => Self::Int,
            b'U' => Self::Unsigned,
            b'L' => Self::Long,
            b'Q' => Self::UnsignedLong,
            b'F' => Self::Float,
            _ => return None,
        })
    }
}

/// The class of a family (`"OO"`, `"fs"`) and shape; nothing where BTrees builds no such family.
///
/// ```
/// let class = btrees::class_name("IO", btrees::Shape::TreeSet);
/// assert_eq!(class.unwrap().to_string(), "BTrees.IOBTree.IOTreeSet");
/// assert!(btrees::class_name("FF", btrees::Shape::BTree).is_none());
/// ```
pub fn class_name(family: &str, shape: Shape) -> Option<ClassName> {
    let name = |shape: &str| {
        ClassName::new(
            &format!("BTrees.{family}BTree"),
            &format!("{family}{shape}"),
        )
    };
    let name = match shape {
        Shape::Bucket => name("Bucket"),
        Shape::Set => name("Set"),
        Shape::BTree => name("BTree"),
        Shape::TreeSet => name("TreeSet"),
    };
    Class::named(name.module(), name.name()).map(|_| name)
}

/// What BTrees 6.5 builds: not every pair of letters.
const FAMILIES: [&str; 22] = [
    "OO", "OI", "OU", "OL", "OQ", "IO", "II", "IU", "IF", "UO", "UI", "UU", "UF", "LO", "LL", "LQ",
    "LF", "QO", "QL", "QQ", "QF", "fs",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_known_by_their_names() {
        let class = Class::named("BTrees.IOBTree", "IOTreeSet").unwrap();
        assert_eq!(class.key, Datum::Int);
        assert_eq!(class.shape, Shape::TreeSet);
        assert_eq!(
            Class::named("BTrees._OOBTree", "OOBucket"),
            Class::named("BTrees.OOBTree", "OOBucket")
        );
        assert_eq!(
            Class::module_of_today("BTrees._fsBTree", "fsSet").as_deref(),
            Some("BTrees.fsBTree")
        );
        for family in FAMILIES {
            for shape in [Shape::Bucket, Shape::Set, Shape::BTree, Shape::TreeSet] {
                let name = class_name(family, shape).unwrap();
                let class = Class::named(name.module(), name.name()).unwrap();
                assert_eq!((class.class_name(), class.shape), (name, shape));
            }
        }
        for (module, name) in [
            ("BTrees.OOBTree", "OOBTreePy"),
            ("BTrees.OOBTree", "IOBTree"),
            ("BTrees.FFBTree", "FFBTree"),
            ("BTrees.OOBTree", "OOTreeIterator"),
            ("shop.OOBTree", "OOBTree"),
        ] {
            assert_eq!(Class::named(module, name), None, "{module}.{name}");
        }
    }
}
