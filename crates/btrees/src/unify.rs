//! Makes one object of what is one in Python, however many records it was read from.
//!
//! The pickler writes an object once and refers to it afterwards, so the bytes depend on this. Across
//! records Python shares classes, empty and one-character strings, and, while states are merged,
//! references.

use std::collections::HashMap;

use pickle::{Kind, NodeId, Pickles};

use crate::family::Class;
use crate::reference::look;
use crate::refusal::Refusal;

/// # Errors
/// A `str` of Python 2 that is not ASCII, or a reference that is none: the original cannot read them.
pub(crate) fn unify(pickles: &mut Pickles) -> Result<(), Refusal> {
    rename(pickles)?;
    let shared = texts_and_classes(pickles);
    pickles.substitute(&shared);
    let references = references(pickles)?;
    pickles.substitute(&references);
    Ok(())
}

/// Makes one object of what is one in Python within a record that is about to be written: besides
/// texts and classes the ids of the objects referred to.
pub(crate) fn share(pickles: &mut Pickles) {
    let mut instead = texts_and_classes(pickles);
    let mut first: HashMap<&[u8], NodeId> = HashMap::new();
    for id in pickles.persistent_ids() {
        let oid = match id.kind() {
            Kind::Tuple(mut parts) => parts.next(),
            _ => Some(id),
        };
        if let Some(oid) = oid
            && let Some(bytes) = oid.as_bytes()
        {
            let known = *first.entry(bytes).or_insert_with(|| oid.id());
            if known != oid.id() {
                instead.insert(oid.id(), known);
            }
        }
    }
    pickles.substitute(&instead);
}

fn texts_and_classes(pickles: &Pickles) -> HashMap<NodeId, NodeId> {
    let mut first: HashMap<(u8, Vec<u8>), NodeId> = HashMap::new();
    let mut instead = HashMap::new();
    for value in pickles.values() {
        let key = match value.kind() {
            Kind::Str(text) if is_cached(text) => (b's', text.as_bytes().to_vec()),
            Kind::Bytes(bytes) if bytes.len() <= 1 => (b'b', bytes.to_vec()),
            Kind::Global { module, name } => (b'c', format!("{module}\n{name}").into_bytes()),
            _ => continue,
        };
        let id = *first.entry(key).or_insert_with(|| value.id());
        if id != value.id() {
            instead.insert(value.id(), id);
        }
    }
    instead
}

/// Python keeps one object for the empty string and for each character of Latin-1.
fn is_cached(text: &str) -> bool {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (None, _) => true,
        (Some(first), None) => u32::from(first) < 256,
        _ => false,
    }
}

/// Turns the strings of Python 2 into those of today, and classes by names of long ago likewise.
///
/// # Errors
/// As [`unify`].
pub(crate) fn rename(pickles: &mut Pickles) -> Result<(), Refusal> {
    enum New {
        Text(String),
        Class(String, String),
    }
    let mut renamed = Vec::new();
    for value in pickles.values() {
        let new = match value.kind() {
            Kind::ByteString(bytes) if bytes.is_ascii() => {
                New::Text(bytes.iter().copied().map(char::from).collect())
            }
            Kind::ByteString(_) => return Err(Refusal::WrongState),
            Kind::Global { module, name } => match Class::module_of_today(module, name) {
                Some(module) => New::Class(module, name.to_owned()),
                None => continue,
            },
            _ => continue,
        };
        renamed.push((value.id(), new));
    }
    let mut instead = HashMap::new();
    for (old, new) in renamed {
        let new = match new {
            New::Text(text) => pickles.str(&text),
            New::Class(module, name) => pickles.global(&module, &name),
        };
        instead.insert(old, new);
    }
    pickles.substitute(&instead);
    Ok(())
}

fn references(pickles: &Pickles) -> Result<HashMap<NodeId, NodeId>, Refusal> {
    let mut first = HashMap::new();
    let mut instead = HashMap::new();
    for reference in pickles.references() {
        let id = reference.persistent_id().ok_or(Refusal::WrongState)?;
        let look = look(id).ok_or(Refusal::WrongState)?;
        let known = *first.entry(look).or_insert_with(|| reference.id());
        if known != reference.id() {
            instead.insert(reference.id(), known);
        }
    }
    Ok(instead)
}
