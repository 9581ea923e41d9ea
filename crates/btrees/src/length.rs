//! Counters.

use pickle::{Kind, NodeId, Pickles};

use crate::number::{Number, Sum, add_changes};
use crate::refusal::{Refusal, Unmerged};

/// Both changes of a number, added.
pub(crate) fn merge(pickles: &mut Pickles, states: [NodeId; 3]) -> Result<NodeId, Unmerged> {
    let values = states.map(|state| pickles.value(state));
    let [Some(old), Some(committed), Some(new)] = values.map(Number::of) else {
        // Instances of other classes may know how to add.
        let is_instance = |kind| {
            matches!(
                kind,
                Kind::Instance(_) | Kind::Extension(_) | Kind::Global { .. }
            )
        };
        return Err(if values.iter().any(|value| is_instance(value.kind())) {
            Unmerged::Unknown
        } else {
            Refusal::NoNumber.into()
        });
    };
    let sum = add_changes(old, committed, new).ok_or(Unmerged::Unknown)?;
    Ok(match sum {
        Sum::Float(float) => pickles.float(float),
        Sum::Int(int) => pickles.big_int(&int.to_le_bytes()),
    })
}
