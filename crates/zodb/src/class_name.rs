//! Names of Python classes, interned.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;

/// The name of a Python class: module and qualified name. Clones and comparisons are cheap.
#[derive(Clone)]
pub struct ClassName(Arc<Inner>);

struct Inner {
    module: Box<str>,
    name: Box<str>,
    hash: u64,
}

impl ClassName {
    /// The class `name` of `module`.
    pub fn new(module: &str, name: &str) -> Self {
        let hash = hash_of(module, name);
        if let Some(known) = INTERNED.read().get(&hash)
            && known.is(module, name)
        {
            return known.clone();
        }
        let fresh = Self(Arc::new(Inner {
            module: module.into(),
            name: name.into(),
            hash,
        }));
        let mut interned = INTERNED.write();
        if interned.len() >= INTERNED_MAX {
            return fresh;
        }
        let kept = interned.entry(hash).or_insert_with(|| fresh.clone());
        if *kept == fresh { kept.clone() } else { fresh }
    }

    /// The dotted module.
    pub fn module(&self) -> &str {
        &self.0.module
    }

    /// The name within the module.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is this class.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module() == module && self.name() == name
    }
}

/// The names seen so far, by hash. A data file may hold any number of invented names, so the table
/// has a bound; what does not fit, or collides, is compared by its text.
static INTERNED: LazyLock<RwLock<HashMap<u64, ClassName>>> = LazyLock::new(RwLock::default);

const INTERNED_MAX: usize = 16_384;

/// FNV-1a with the byte 0xff, which no UTF-8 holds, between module and name.
fn hash_of(module: &str, name: &str) -> u64 {
    let bytes = module.bytes().chain([0xff]).chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl PartialEq for ClassName {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.is(other.module(), other.name()))
    }
}

impl Eq for ClassName {}

impl Hash for ClassName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for ClassName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ClassName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.module(), self.name()).cmp(&(other.module(), other.name()))
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module(), self.name())
    }
}

impl fmt::Debug for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClassName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_allocation() {
        let folder = ClassName::new("OFS.Folder", "Folder");
        assert!(Arc::ptr_eq(
            &folder.0,
            &ClassName::new("OFS.Folder", "Folder").0
        ));
        assert_eq!(folder.to_string(), "OFS.Folder.Folder");
    }

    #[test]
    fn where_the_dot_lies_matters() {
        assert_ne!(ClassName::new("a.b", "c"), ClassName::new("a", "b.c"));
    }
}
