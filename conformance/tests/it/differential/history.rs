//! What happens, by chance: the same for both sides.
//!
//! Objects hang on the root, some on other objects. Nothing ever refers to what does not exist: such
//! a file the original cannot pack.

use std::collections::BTreeSet;
use std::time::Duration;

use pickle::{Part, Pickles, Scanner};
use serde_json::{Value, json};
use storage::{Oid, Storage, StorageError, Tid};

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
        if ours.storage().last_tid() == Tid::ZERO {
            let changes = vec![store(Oid::ROOT, Tid::ZERO, record("root", &[]))];
            return self.commit("commit", changes);
        }
        match self.rng.u8(..20) {
            0 => json!({ "do": "reopen", "name": "reopen" }),
            1 => self.pack(),
            2..=5 => self.undo(ours),
            6..=9 => self.create(ours),
            10..=11 => self.forget(ours),
            12 => self.check(ours),
            13 => self.conflict(ours),
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
                changes.push(store(oid, tid, record(&self.text(), &references)));
            }
        }
        self.commit("commit", changes)
    }

    /// A new object below another one.
    fn create(&mut self, ours: &Ours) -> Value {
        let (parent, tid, mut references) = self.some(ours);
        let oid = Oid::new(self.next_oid);
        self.next_oid += 1;
        references.push(oid);
        let new = store(oid, Tid::ZERO, record(&self.text(), &[]));
        let parent = store(parent, tid, record(&self.text(), &references));
        self.commit("commit", vec![new, parent])
    }

    /// Nothing refers to an object any more.
    fn forget(&mut self, ours: &Ours) -> Value {
        let (parent, tid, mut references) = self.some(ours);
        if !references.is_empty() {
            references.remove(self.rng.usize(..references.len()));
        }
        let change = store(parent, tid, record(&self.text(), &references));
        self.commit("commit", vec![change])
    }

    fn check(&mut self, ours: &Ours) -> Value {
        let (oid, tid, references) = self.some(ours);
        let (checked, mut base, _) = self.some(ours);
        if self.rng.bool() {
            base = Tid::new(base.number() - 1);
        }
        let changes = vec![
            json!(["check", hex(&checked.to_bytes()), hex(&base.to_bytes())]),
            store(oid, tid, record(&self.text(), &references)),
        ];
        self.commit("commit", changes)
    }

    fn conflict(&mut self, ours: &Ours) -> Value {
        let (oid, tid, references) = self.some(ours);
        let base = Tid::new(tid.number() - 1);
        let change = store(oid, base, record(&self.text(), &references));
        self.commit("commit", vec![change])
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

/// The transaction of the current revision, and the objects that it refers to.
fn current(ours: &Ours, oid: Oid) -> Option<(Tid, Vec<Oid>)> {
    let found = match ours.storage().load_before(oid, Tid::MAX) {
        Ok(found) => found?,
        Err(StorageError::NotFound { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let mut references = Vec::new();
    let ids = |id: Part<'_>| {
        if let Part::Tuple(parts) = id
            && let Some(Part::Bytes(oid)) = parts.get(0)
        {
            references.push(Oid::from_bytes(oid.try_into().unwrap()));
        }
    };
    Scanner::default().scan(&found.record, ids).unwrap();
    Some((found.tid, references))
}

/// A list with a text and the objects it refers to; no class of that name merges conflicts.
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
