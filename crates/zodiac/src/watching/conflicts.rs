//! Which classes have conflicts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pickle::{Inflater, Kind, Limits, Pickles, Value};
use serde::{Deserialize, Serialize};
use storage::{ConflictingStates, Resolution, Resolver};

use crate::merging::LoggedMerger;

/// The conflicts of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClassConflicts {
    /// `module.name`; [`OTHER`] for all classes that came when there were many.
    pub(crate) class: String,
    /// Merged here.
    pub(crate) merged: u64,
    /// Not to be merged by anybody.
    pub(crate) refused: u64,
    /// Left to the client, which may know the class.
    pub(crate) left: u64,
}

/// The conflicts of one storage. How many classes there are is for its clients to choose: so it is
/// bounded.
#[derive(Debug, Default)]
pub(crate) struct ConflictCounts(Mutex<BTreeMap<String, ClassConflicts>>);

impl ConflictCounts {
    /// Class by class.
    pub(crate) fn classes(&self) -> Vec<ClassConflicts> {
        self.0.lock().values().cloned().collect()
    }

    fn count(&self, class: &str, resolution: &Resolution) {
        let mut classes = self.0.lock();
        let is_new = !classes.contains_key(class);
        let class = if is_new && classes.len() >= CLASSES_MAX {
            OTHER
        } else {
            class
        };
        let counts = classes
            .entry(class.to_owned())
            .or_insert_with(|| ClassConflicts {
                class: class.to_owned(),
                ..ClassConflicts::default()
            });
        *match resolution {
            Resolution::Merged(_) => &mut counts.merged,
            Resolution::Refused(_) => &mut counts.refused,
            Resolution::Unknown => &mut counts.left,
        } += 1;
    }
}

/// Merges, and counts what became of it.
pub(crate) struct CountingMerger(pub(crate) Arc<ConflictCounts>);

impl Resolver for CountingMerger {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        let resolution = LoggedMerger.resolve(states);
        let class = class_of(states.new);
        self.0
            .count(class.as_deref().unwrap_or(UNREADABLE), &resolution);
        resolution
    }
}

/// The class that the first pickle of a record names.
fn class_of(record: &[u8]) -> Option<String> {
    let mut inflater = Inflater::new(btrees::RECORD_BYTES_MAX);
    let plain = inflater.plain(record).ok()?;
    let limits = Limits {
        input_bytes: btrees::RECORD_BYTES_MAX,
        ..Limits::default()
    };
    let pickles = Pickles::decode_with(plain, &limits).ok()?;
    let head = pickles.root(0)?;
    let class = match head.kind() {
        Kind::Tuple(mut parts) => parts.next()?,
        _ => head,
    };
    name_of(class)
}

fn name_of(class: Value<'_>) -> Option<String> {
    let (module, name) = match class.kind() {
        Kind::Global { module, name } => (module.to_owned(), name.to_owned()),
        Kind::Tuple(mut names) => (
            names.next()?.as_text()?.into_owned(),
            names.next()?.as_text()?.into_owned(),
        ),
        _ => return None,
    };
    let name: String = format!("{module}.{name}");
    Some(name.chars().take(NAME_CHARS_MAX).collect())
}

/// How many classes are told apart, at most,
const CLASSES_MAX: usize = 50;
/// and what the others are called.
const OTHER: &str = "other";
/// What a record is counted as whose class cannot be read.
const UNREADABLE: &str = "unreadable";
/// The longest name.
const NAME_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use storage::{Oid, Record};

    use super::*;

    fn record(module: &str, name: &str, value: i64) -> Record {
        let mut record = Pickles::new();
        let class = record.global(module, name);
        let state = record.int(value);
        record.push_root(class);
        record.push_root(state);
        record.encode().into()
    }

    fn resolve(merger: &CountingMerger, states: [&Record; 3]) {
        let [old, committed, new] = states;
        merger.resolve(&ConflictingStates {
            oid: Oid::new(1),
            old,
            committed,
            new,
        });
    }

    #[test]
    fn conflicts_are_counted_by_class_up_to_a_number_of_classes() {
        let merger = CountingMerger(Arc::default());
        let [old, one, other] = [1, 2, 3].map(|value| record("BTrees.Length", "Length", value));
        resolve(&merger, [&old, &one, &other]);
        resolve(&merger, [&old, &one, &b"no pickle".as_slice().into()]);
        for number in 0..CLASSES_MAX {
            let mine = record("site.things", &format!("Thing{number}"), 1);
            resolve(&merger, [&mine, &mine, &mine]);
        }
        let classes = merger.0.classes();
        let find = |name: &str| classes.iter().find(|class| class.class == name).cloned();
        let length = find("BTrees.Length.Length").unwrap();
        assert_eq!((length.merged, length.refused, length.left), (1, 0, 0));
        assert_eq!(find(UNREADABLE).unwrap().left, 1);
        assert_eq!(find("site.things.Thing0").unwrap().left, 1);
        assert_eq!(find(OTHER).unwrap().left, 2);
        assert_eq!(classes.len(), CLASSES_MAX + 1);
    }
}
