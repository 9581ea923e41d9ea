//! Other ids for the objects that a record refers to.

use std::collections::HashMap;

use pickle::{NodeId, Pickles};
use storage::Oid;

use crate::Reference;

/// A persistent id whose form is not known: what it refers to cannot be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a persistent id of unknown form")]
pub struct UnknownReference;

/// Gives the objects that a record refers to other ids, as an import does: `new` is asked for each
/// reference, with whether it is a strong one. References to other databases stay as they are.
///
/// # Errors
/// Those of `new`, and [`UnknownReference`].
pub fn renumber<E: From<UnknownReference>>(
    pickles: &mut Pickles,
    mut new: impl FnMut(Oid, bool) -> Result<Oid, E>,
) -> Result<(), E> {
    // References to one object share their id, as they do where the object is pickled.
    let mut renumbered: HashMap<(Oid, bool), NodeId> = HashMap::new();
    let references: Vec<NodeId> = pickles.references().map(|value| value.id()).collect();
    for node in references {
        let (oid, is_strong) = match Reference::read(pickles.value(node)) {
            Some(Reference::Strong { oid, .. }) => (oid, true),
            Some(Reference::Weak {
                oid,
                database: None,
            }) => (oid, false),
            Some(_) => continue,
            None => return Err(UnknownReference.into()),
        };
        let to = new(oid, is_strong)?;
        let id = *renumbered.entry((oid, is_strong)).or_insert_with(|| {
            if is_strong {
                strong(pickles, node, to)
            } else {
                weak(pickles, to)
            }
        });
        pickles.set_persistent(node, id);
    }
    Ok(())
}

/// The persistent id of a reference with another object in it.
fn strong(pickles: &mut Pickles, reference: NodeId, new: Oid) -> NodeId {
    let id = pickles.value(reference).persistent_id();
    let class = id
        .and_then(|id| id.elements().nth(1))
        .map(|class| class.id());
    let oid = pickles.bytes(&new.to_bytes());
    match class {
        Some(class) => pickles.tuple(vec![oid, class]),
        None => oid,
    }
}

fn weak(pickles: &mut Pickles, new: Oid) -> NodeId {
    let oid = pickles.bytes(&new.to_bytes());
    let (kind, arguments) = (pickles.str("w"), pickles.tuple(vec![oid]));
    pickles.list(vec![kind, arguments])
}
