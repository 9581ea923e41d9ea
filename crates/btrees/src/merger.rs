//! Records in, a record out.

use pickle::{Inflater, Limits, Pickles};
use storage::{ConflictingStates, Resolution, Resolver};

use crate::bucket::{Bucket, only_bucket};
use crate::class::Rule;
use crate::compare::Comparer;
use crate::family::Class;
use crate::python::Plain;
use crate::refusal::{Refusal, Unmerged};
use crate::{length, merge as buckets, unify};

/// Longest record that is merged, without compression. A bucket of the family has some dozens of keys.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Merges the family's classes, and the counters that go with them, for a storage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Merger;

impl Resolver for Merger {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        match merge(states.old, states.committed, states.new) {
            Ok(merged) => Resolution::Merged(merged.into()),
            Err(Unmerged::Refused(refusal)) => Resolution::Refused(refusal.text()),
            Err(Unmerged::Unknown) => Resolution::Unknown,
        }
    }
}

/// The record with both changes in it: what was made of `old` by those who committed first, and by the
/// one who comes now. Records that `zc.zlibstorage` compressed are read; where the new one is, the result
/// is compressed as well.
///
/// # Errors
/// Nobody can merge them, or nobody here.
pub fn merge(old: &[u8], committed: &[u8], new: &[u8]) -> Result<Vec<u8>, Unmerged> {
    let is_compressed = pickle::is_compressed(new);
    let limits = Limits {
        input_bytes: RECORD_BYTES_MAX * 3,
        ..Limits::default()
    };
    let new = plain(new)?;
    let class = Pickles::decode_with(&new, &limits).map_err(|_| Unmerged::Unknown)?;
    let rule = class.root(0).and_then(Rule::of);
    match rule.ok_or(Unmerged::Unknown)? {
        Rule::None => return Err(Refusal::NoRule.into()),
        Rule::Family(_) | Rule::Python(_) | Rule::Length => drop(class),
    }
    let merged = plain_merge(&plain(old)?, &plain(committed)?, &new, &limits)?;
    Ok(if is_compressed {
        pickle::compressed(&merged).into_owned()
    } else {
        merged
    })
}

fn plain(record: &[u8]) -> Result<Vec<u8>, Unmerged> {
    if !pickle::is_compressed(record) && record.len() > RECORD_BYTES_MAX {
        return Err(Unmerged::Unknown);
    }
    let mut inflater = Inflater::new(RECORD_BYTES_MAX);
    let plain = inflater.plain(record).map_err(|_| Unmerged::Unknown)?;
    Ok(plain.to_vec())
}

fn plain_merge(
    old: &[u8],
    committed: &[u8],
    new: &[u8],
    limits: &Limits,
) -> Result<Vec<u8>, Unmerged> {
    // The original reads the new state first, and keeps what it read first of the references.
    let pickles = Pickles::decode_records(&[new, old, committed], limits);
    let mut pickles = pickles.map_err(|_| Refusal::WrongState)?;
    unify::unify(&mut pickles)?;
    let roots: Vec<_> = pickles.roots().map(pickle::Value::id).collect();
    let [meta, new, _, old, _, committed] = roots[..] else {
        return Err(Refusal::WrongState.into());
    };
    let states = [old, committed, new];
    let rule = Rule::of(pickles.value(meta)).ok_or(Unmerged::Unknown)?;
    let state = match rule {
        Rule::Family(class) => merge_buckets(&mut pickles, class, states)?,
        Rule::Python(class) => merge_in_python(&mut pickles, class, states)?,
        Rule::Length => length::merge(&mut pickles, states)?,
        Rule::None => return Err(Refusal::NoRule.into()),
    };
    pickles.set_roots(&[meta, state]);
    Ok(pickles.encode())
}

fn merge_buckets(
    pickles: &mut Pickles,
    class: Class,
    states: [pickle::NodeId; 3],
) -> Result<pickle::NodeId, Unmerged> {
    let mut states = states.map(|state| pickles.value(state));
    if class.is_tree() {
        for state in &mut states {
            *state = only_bucket(*state)?;
        }
    }
    let read = |state| Bucket::read(state, class);
    let [old, committed, new] = [read(states[0])?, read(states[1])?, read(states[2])?];
    let comparer = Comparer::new(pickles);
    let merged = buckets::merge(&old, &committed, &new, &comparer)?;
    Ok(merged.write(pickles, class))
}

fn merge_in_python(
    pickles: &mut Pickles,
    class: Class,
    states: [pickle::NodeId; 3],
) -> Result<pickle::NodeId, Unmerged> {
    let mut plain = Plain::default();
    let mut read = |state| plain.read(pickles.value(state), class);
    let [old, committed, new] = [read(states[0])?, read(states[1])?, read(states[2])?];
    let comparer = Comparer::new(pickles);
    let merged = buckets::merge(&old, &committed, &new, &comparer)?;
    Ok(merged.write(pickles, class.in_python()))
}
