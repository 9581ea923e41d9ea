//! What is in a record: its class and its references. Nothing of a class is imported.

use std::borrow::Cow;
use std::collections::HashSet;

use pickle::{Kind, Pickles, Value, uncompressed};
use storage::Oid;
use zodb::Reference;

/// A decoded record.
pub(crate) struct Content {
    pickles: Pickles,
}

impl Content {
    /// # Errors
    /// What is wrong with the record.
    pub(crate) fn decode(record: &[u8]) -> Result<Self, String> {
        let record = uncompressed(record).map_err(|error| error.to_string())?;
        let pickles = Pickles::decode(&record).map_err(|error| error.to_string())?;
        match pickles.roots().count() {
            2 => Ok(Self { pickles }),
            found => Err(format!(
                "a record is two pickles, class and state, and this has {found}"
            )),
        }
    }

    /// The state of the object.
    pub(crate) fn state(&self) -> Value<'_> {
        self.pickles.root(1).expect("a content has two pickles")
    }

    /// The name of its class, as the original's `get_pickle_metadata` finds it.
    pub(crate) fn class(&self) -> Option<String> {
        let head = self.pickles.root(0)?;
        if let Some(name) = global(head) {
            return Some(name);
        }
        let first = head.elements().next()?;
        global(first).or_else(|| pair(first)).or_else(|| pair(head))
    }

    /// The objects of the same database that it needs, each once, with the class that the reference
    /// names. Weak references and those to other databases are none of them.
    pub(crate) fn references(&self) -> Vec<(Oid, Option<String>)> {
        let mut found = Vec::new();
        let mut known = HashSet::new();
        self.visit(|reference, _label| {
            if let Reference::Strong { oid, class } = reference
                && known.insert(oid)
            {
                found.push((oid, class.map(|class| class.to_string())));
            }
            true
        });
        found
    }

    /// The name under which it refers to the object: the nearest text key.
    pub(crate) fn name_of(&self, target: Oid) -> Option<String> {
        let mut name = None;
        self.visit(|reference, label| match reference {
            Reference::Strong { oid, .. } if oid == target => {
                name = label.map(Cow::into_owned);
                false
            }
            _ => true,
        });
        name
    }

    /// The first object that it refers to under that name.
    pub(crate) fn named(&self, name: &str) -> Option<Oid> {
        let mut found = None;
        self.visit(|reference, label| match reference {
            Reference::Strong { oid, .. } if label.as_deref() == Some(name) => {
                found = Some(oid);
                false
            }
            _ => true,
        });
        found
    }

    /// Every reference, with the text key it is nearest to, until `wanted` says no.
    fn visit(&self, mut wanted: impl FnMut(Reference, Option<Cow<'_, str>>) -> bool) {
        let mut seen = HashSet::new();
        let mut pending: Vec<_> = self.pickles.roots().map(|root| (root, None)).collect();
        pending.reverse();
        while let Some((value, label)) = pending.pop() {
            if !seen.insert(value.id()) {
                continue;
            }
            if value.persistent_id().is_some() {
                let label = label.and_then(Value::as_text);
                if let Some(reference) = Reference::read(value)
                    && !wanted(reference, label)
                {
                    return;
                }
                continue;
            }
            let met = pending.len();
            meet_children(value, label, &mut pending);
            pending[met..].reverse();
        }
    }
}

type Labelled<'a> = (Value<'a>, Option<Value<'a>>);

fn meet_children<'a>(value: Value<'a>, label: Option<Value<'a>>, pending: &mut Vec<Labelled<'a>>) {
    let text = |value: Value<'a>| value.as_text().map(|_| value);
    let mut pairs = |entries: &mut dyn Iterator<Item = (Value<'a>, Value<'a>)>| {
        for (key, item) in entries {
            pending.push((key, label));
            pending.push((item, text(key).or(label)));
        }
    };
    if let Some(mut instance) = value.instance() {
        pairs(&mut instance.pairs);
        pending.push((instance.class, label));
        pending.extend(instance.args.map(|args| (args, label)));
        pending.extend(instance.state.map(|state| (state, label)));
        pending.extend(instance.items.map(|item| (item, label)));
        return;
    }
    match value.kind() {
        Kind::Dict(mut entries) => pairs(&mut entries),
        Kind::Tuple(items) => {
            // In the state of a bucket of a BTree, keys and values take turns.
            let mut key = None;
            for item in items {
                pending.push((item, key.or(label)));
                key = text(item);
            }
        }
        Kind::List(items) => pending.extend(items.map(|item| (item, label))),
        _ => {}
    }
}

/// The class of a record, found without decoding its state where the record is of the usual form.
pub(crate) fn class_of(record: &[u8]) -> Option<String> {
    let record = uncompressed(record).ok()?;
    quick_class(&record).or_else(|| Content::decode(&record).ok()?.class())
}

/// A record begins with the protocol and the class: `\x80\x03cmodule\nname\n`.
fn quick_class(record: &[u8]) -> Option<String> {
    let [0x80, _protocol, rest @ ..] = record else {
        return None;
    };
    let names = rest.strip_prefix(b"(").unwrap_or(rest).strip_prefix(b"c")?;
    let mut lines = names.splitn(3, |byte| *byte == b'\n');
    let (module, name, _rest) = (lines.next()?, lines.next()?, lines.next()?);
    if module.len() + name.len() > NAME_BYTES_MAX {
        return None;
    }
    let (module, name) = (std::str::from_utf8(module), std::str::from_utf8(name));
    Some(format!("{}.{}", module.ok()?, name.ok()?))
}

fn global(value: Value<'_>) -> Option<String> {
    let (module, name) = value.as_global()?;
    Some(format!("{module}.{name}"))
}

/// `(module, name)`, as old records have it.
fn pair(value: Value<'_>) -> Option<String> {
    let mut elements = value.elements();
    let (module, name) = (elements.next()?.as_text()?, elements.next()?.as_text()?);
    Some(format!("{module}.{name}"))
}

/// No class has a longer name.
const NAME_BYTES_MAX: usize = 1024;
