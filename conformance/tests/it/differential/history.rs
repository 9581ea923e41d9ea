//! What happens, by chance: the same for both sides.
//!
//! Objects hang on the root, some on other objects: lists, and counters, whose class merges conflicts.
//! Nothing ever refers to what does not exist: such
//! a file the original cannot pack.

use std::collections::BTreeSet;
use std::time::Duration;

use pickle::{Part, Pickles, Scanner};
use serde_json::{Value, json};
use storage::{Iterate, Oid, Storage, StorageError, Tid};

use super::ours::{Ours, hex};

pub(super) struct History {
    rng: fastrand::Rng,
    /// The time of the next transaction; they are ten seconds apart.
    seconds: u64,
    /// The time behind the last undo: what an undo takes up again, the original does not see when
    /// it packs to a time before it (see COMPAT.md).
    undone_at: u64,
    next_oid: u64,
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            seconds: 1_700_000_000,
            undone_at: 0,
            next_oid: 1,
        }
    }

    /// What happens next. `ours` tells what there is.
    pub(super) fn step(&mut self, ours: &Ours) -> Value {
        if current(ours, Oid::ROOT).is_none() {
            // At the beginning, and when its creation was undone.
            let newest = Iterate::history(ours.storage(), Oid::ROOT, 1);
            let base = newest.map_or(Tid::ZERO, |newest| newest[0].tid);
            let changes = vec![store(Oid::ROOT, base, record("root", &[]))];
            return self.commit("commit", changes);
        }
        match self.rng.u8(..22) {
            0 => json!({ "do": "reopen", "name": "reopen" }),
            1 => self.pack(),
            2..=5 => self.undo(ours),
            6..=9 => self.create(ours),
            10..=11 => self.forget(ours),
            12 => self.check(ours),
            13 => self.conflict(ours),
            14 => self.delete(ours),
            15 => self.restore(ours),
            _ => self.change(ours),
        }
    }

    /// Asks for everything, and of some objects at some times.
    pub(super) fn question(&mut self, ours: &Ours) -> Value {
        let all: BTreeSet<Oid> = (0..self.next_oid + 1).map(Oid::new).collect();
        let chosen = self.rng.choose_multiple(all, 8);
        let last = ours.storage().last_tid().number();
        let mut tids = vec![Tid::MAX, Tid::new(last), Tid::new(last + 1)];
        let past = Tid::from_unix_time(Duration::from_secs(1_700_000_000)).number();
        tids.extend((0..3).map(|_| Tid::new(self.rng.u64(past..=last.max(past)))));
        json!({
            "do": "facts",
            "oids": chosen.iter().map(|oid| hex(&oid.to_bytes())).collect::<Vec<_>>(),
            "tids": tids.iter().map(|tid| hex(&tid.to_bytes())).collect::<Vec<_>>(),
        })
    }

    fn commit(&mut self, name: &str, changes: Vec<Value>) -> Value {
        self.seconds += 10;
        let tid = Tid::from_unix_time(Duration::from_secs(self.seconds));
        let meta = [
            ["", "user", "/ admin"][self.rng.usize(..3)].as_bytes(),
            ["", "text", "Übung"][self.rng.usize(..3)].as_bytes(),
            // No extension, or the pickle of {"a": 1}.
            [&b""[..], b"\x80\x03}X\x01\x00\x00\x00aK\x01s."][self.rng.usize(..2)],
        ];
        json!({
            "do": "commit",
            "name": name,
            "tid": hex(&tid.to_bytes()),
            "meta": meta.map(hex),
            "changes": changes,
        })
    }

    fn text(&mut self) -> String {
        let words = format!("text {} ", self.rng.u16(..));
        words.repeat(self.rng.usize(1..30))
    }

    /// An object that exists, the root rarely; its transaction and what it refers to.
    fn some(&mut self, ours: &Ours) -> (Oid, Tid, Vec<Oid>) {
        let (tid, references) = current(ours, Oid::ROOT).unwrap();
        if references.is_empty() || self.rng.u8(..8) == 0 {
            return (Oid::ROOT, tid, references);
        }
        let oid = references[self.rng.usize(..references.len())];
        let (tid, references) = current(ours, oid).unwrap();
        (oid, tid, references)
    }

    fn change(&mut self, ours: &Ours) -> Value {
        let mut changes = Vec::new();
        let mut seen = BTreeSet::new();
        for _ in 0..self.rng.usize(1..4) {
            let (oid, tid, references) = self.some(ours);
            // An object may be stored twice in a transaction, both times from the same base.
            let is_twice = self.rng.u8(..10) == 0;
            if seen.insert(oid) || is_twice {
                let record = self.changed(ours, oid, &references);
                changes.push(store(oid, tid, record));
            }
        }
        self.commit("commit", changes)
    }

    /// A new state of an object that goes on referring to these.
    fn changed(&mut self, ours: &Ours, oid: Oid, references: &[Oid]) -> Vec<u8> {
        let current = ours.storage().load_before(oid, Tid::MAX).unwrap().unwrap();
        match counted(&current.record) {
            Some(_) => counter(self.rng.i64(-500..500)),
            None => record(&self.text(), references),
        }
    }

    /// A new object below another one.
    fn create(&mut self, ours: &Ours) -> Value {
        let (mut parent, mut tid, mut references) = self.some(ours);
        if is_counter(ours, parent) {
            parent = Oid::ROOT;
            (tid, references) = current(ours, parent).unwrap();
        }
        let oid = Oid::new(self.next_oid);
        self.next_oid += 1;
        references.push(oid);
        let new = if self.rng.bool() {
            counter(1)
        } else {
            record(&self.text(), &[])
        };
        let new = store(oid, Tid::ZERO, new);
        let parent = store(parent, tid, record(&self.text(), &references));
        self.commit("commit", vec![new, parent])
    }

    /// Nothing refers to an object any more.
    fn forget(&mut self, ours: &Ours) -> Value {
        let (parent, tid, mut references) = self.some(ours);
        if !references.is_empty() {
            references.remove(self.rng.usize(..references.len()));
        }
        let record = self.changed(ours, parent, &references);
        self.commit("commit", vec![store(parent, tid, record)])
    }

    /// Nothing refers to an object any more, and it is removed in the same transaction; or tried to.
    fn delete(&mut self, ours: &Ours) -> Value {
        let (parent, tid, mut references) = self.some(ours);
        if references.is_empty() {
            let unknown = Oid::new(self.next_oid + 7);
            return self.commit("delete", vec![delete(unknown, tid)]);
        }
        let oid = references.remove(self.rng.usize(..references.len()));
        let mut base = current(ours, oid).unwrap().0;
        if self.rng.u8(..4) == 0 {
            base = Tid::new(base.number() - 1);
        }
        let parent = store(parent, tid, record(&self.text(), &references));
        self.commit("delete", vec![parent, delete(oid, base)])
    }

    /// Copies a transaction of some other storage: with data of its own, or with those that an
    /// object had before, which only have to be referred to.
    fn restore(&mut self, ours: &Ours) -> Value {
        let mut changes = Vec::new();
        let mut seen = BTreeSet::new();
        for _ in 0..self.rng.usize(1..4) {
            let (oid, tid, references) = self.some(ours);
            let older = ours.storage().load_before(oid, tid).ok().flatten();
            let older = older.filter(|older| references_in(&older.record).is_empty());
            if !seen.insert(oid) || !references.is_empty() {
                continue;
            }
            let (data, from) = match older {
                Some(older) if self.rng.bool() => (older.record.to_vec(), Some(older.tid)),
                _ => (record(&self.text(), &[]), None),
            };
            let from = from.map(|from| hex(&from.to_bytes()));
            changes.push(json!(["restore", hex(&oid.to_bytes()), hex(&data), from]));
        }
        let mut step = self.commit("restore", changes);
        step["status"] = json!([" ", " ", " ", "p"][self.rng.usize(..4)]);
        step
    }

    fn check(&mut self, ours: &Ours) -> Value {
        let (oid, tid, references) = self.some(ours);
        let (checked, mut base, _) = self.some(ours);
        if self.rng.bool() {
            base = Tid::new(base.number() - 1);
        }
        let changes = vec![
            json!(["check", hex(&checked.to_bytes()), hex(&base.to_bytes())]),
            store(oid, tid, self.changed(ours, oid, &references)),
        ];
        self.commit("commit", changes)
    }

    fn conflict(&mut self, ours: &Ours) -> Value {
        let (oid, tid, references) = self.some(ours);
        let older = ours.storage().load_before(oid, tid).ok().flatten();
        let base = older.map_or_else(|| Tid::new(tid.number() - 1), |older| older.tid);
        let record = self.changed(ours, oid, &references);
        self.commit("conflict", vec![store(oid, base, record)])
    }

    fn undo(&mut self, ours: &Ours) -> Value {
        let undo = ours.storage().undo().unwrap();
        let log = undo.undo_log(0, 6, &mut |_| true).unwrap();
        let mut changes = Vec::new();
        // Most undos are of the last transactions, newest first.
        let mut place = if self.rng.bool() {
            0
        } else {
            self.rng.usize(..6)
        };
        for _ in 0..self.rng.usize(1..3) {
            let Some(entry) = log.get(place) else { break };
            changes.push(json!(["undo", hex(&entry.tid.to_bytes())]));
            place += self.rng.usize(1..3);
        }
        if changes.is_empty() {
            changes.push(json!(["undo", hex(&Tid::new(7).to_bytes())]));
        }
        self.undone_at = self.seconds + 10;
        self.commit("undo", changes)
    }

    /// To a time between two transactions.
    fn pack(&mut self) -> Value {
        let first = self.undone_at.max(self.seconds.saturating_sub(100));
        let to = self.rng.u64(first / 10..=self.seconds / 10) * 10 + 5;
        let gc = self.rng.u8(..4) > 0;
        json!({ "do": "pack", "name": "pack", "to": to, "gc": gc })
    }
}

fn store(oid: Oid, base: Tid, record: Vec<u8>) -> Value {
    let [oid, base] = [oid.to_bytes(), base.to_bytes()].map(|id| hex(&id));
    json!(["store", oid, base, hex(&record)])
}

fn delete(oid: Oid, base: Tid) -> Value {
    json!(["delete", hex(&oid.to_bytes()), hex(&base.to_bytes())])
}

/// The transaction of the current revision, and the objects that it refers to.
fn current(ours: &Ours, oid: Oid) -> Option<(Tid, Vec<Oid>)> {
    let found = match ours.storage().load_before(oid, Tid::MAX) {
        Ok(found) => found?,
        Err(StorageError::NotFound { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    Some((found.tid, references_in(&found.record)))
}

fn references_in(record: &[u8]) -> Vec<Oid> {
    let mut references = Vec::new();
    let ids = |id: Part<'_>| {
        if let Part::Tuple(parts) = id
            && let Some(Part::Bytes(oid)) = parts.get(0)
        {
            references.push(Oid::from_bytes(oid.try_into().unwrap()));
        }
    };
    Scanner::default().scan(record, ids).unwrap();
    references
}

fn is_counter(ours: &Ours, oid: Oid) -> bool {
    let current = ours.storage().load_before(oid, Tid::MAX).unwrap().unwrap();
    counted(&current.record).is_some()
}

/// A counter, whose class merges conflicts by adding up what was counted.
pub(super) fn counter(count: i64) -> Vec<u8> {
    let mut pickles = Pickles::new();
    let class = pickles.global(COUNTER.0, COUNTER.1);
    pickles.push_root(class);
    let count = pickles.int(count);
    pickles.push_root(count);
    pickles.encode()
}

/// The count, where the record is one of a counter.
pub(super) fn counted(record: &[u8]) -> Option<i64> {
    let pickles = Pickles::decode(record).unwrap();
    let class = pickles.root(0)?.as_global()?;
    let count = pickles.root(1)?.as_int();
    count.filter(|_| class == COUNTER)
}

const COUNTER: (&str, &str) = ("BTrees.Length", "Length");

/// A list with a text and the objects it refers to; its class merges no conflicts.
fn record(text: &str, references: &[Oid]) -> Vec<u8> {
    let mut pickles = Pickles::new();
    let class = pickles.global("persistent.list", "PersistentList");
    pickles.push_root(class);
    let mut items = vec![pickles.str(text)];
    for oid in references {
        let oid = pickles.bytes(&oid.to_bytes());
        let id = pickles.tuple(vec![oid, class]);
        items.push(pickles.persistent(id));
    }
    let list = pickles.list(items);
    let key = pickles.str("data");
    let state = pickles.dict(vec![(key, list)]);
    pickles.push_root(state);
    pickles.encode()
}
