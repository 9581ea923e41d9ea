//! Looking at all that a storage holds ([`storage::Iterate`]).

use std::sync::Arc;

use storage::{DataRecord, Iterate, Oid, Record, StorageError, Tid, TransactionMeta};

use super::{World, meta};

/// A transaction as it was iterated: its id, whether a pack wrote it, its texts, its records.
pub(crate) type Iterated = (Tid, bool, TransactionMeta, Vec<DataRecord>);

impl World {
    pub(crate) fn iterate(&self) -> &dyn Iterate {
        self.storage.iterate().expect("it can iterate")
    }

    /// Everything from `from` to `to`.
    pub(crate) fn iterated(&self, from: Tid, to: Tid) -> Vec<Iterated> {
        iterated(self.iterate(), from, to)
    }
}

pub(crate) fn iterated(iterate: &dyn Iterate, from: Tid, to: Tid) -> Vec<Iterated> {
    let transactions = iterate.iterate_transactions(from, to).unwrap();
    let read = |entry: Result<storage::TransactionEntry, StorageError>| {
        let entry = entry.unwrap();
        let records = entry.records.collect::<Result<_, _>>().unwrap();
        (entry.tid, entry.is_packed, entry.meta, records)
    };
    transactions.map(read).collect()
}

fn facts() -> TransactionMeta {
    TransactionMeta {
        user: b"/ admin".to_vec(),
        description: "größer".into(),
        // {'k': 1}
        extension: b"\x80\x03}q\x00X\x01\x00\x00\x00kq\x01K\x01s.".to_vec(),
    }
}

fn store(world: &World, records: &[(Oid, &str)]) -> Tid {
    let mut commit = Arc::clone(&world.storage).begin(facts()).unwrap();
    for (oid, text) in records {
        let record = Record::from(text.as_bytes());
        commit.store(*oid, Tid::ZERO, record).unwrap();
    }
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

/// Of an object that was stored twice in a transaction, both records are kept, and the later one
/// counts. (On the way to a storage far away, the earlier one is left out.)
pub fn an_object_stored_twice_in_a_transaction_has_two_records(world: &World) {
    let (one, two) = (Oid::new(1), Oid::new(2));
    store(world, &[(two, "early"), (one, "one"), (two, "late")]);
    let iterated = world.iterated(Tid::ZERO, Tid::MAX);
    let [(.., records)] = &iterated[..] else {
        panic!("{iterated:?}");
    };
    let records = records
        .iter()
        .map(|record| (record.oid, record.data.as_deref().unwrap()));
    let expected = [(two, &b"early"[..]), (one, b"one"), (two, b"late")];
    assert_eq!(records.collect::<Vec<_>>(), expected);
    assert_eq!(world.now(two).as_deref(), Some(&b"late"[..]));
}

/// All transactions with their texts and all their records, in the order they were stored.
pub fn iteration_shows_all_that_was_stored(world: &World) {
    let (one, two) = (Oid::new(1), Oid::new(2));
    let first = store(world, &[(two, "two"), (one, "one")]);
    let empty = world.commit(&[]).unwrap();
    let last = world.change(one, b"one, again");
    let record = |oid, tid, text: &str| DataRecord {
        oid,
        tid,
        data: Some(Record::from(text.as_bytes())),
        data_tid: None,
    };
    let stored = vec![record(two, first, "two"), record(one, first, "one")];
    let expected = [
        (first, false, facts(), stored),
        (empty, false, TransactionMeta::default(), vec![]),
        (
            last,
            false,
            TransactionMeta::default(),
            vec![record(one, last, "one, again")],
        ),
    ];
    assert_eq!(world.iterated(Tid::ZERO, Tid::MAX), expected);
}

/// Both ends of a span belong to it, whether or not there is a transaction.
pub fn iteration_keeps_to_its_span(world: &World) {
    let tids: Vec<Tid> = (0..6)
        .map(|n| world.change(Oid::new(n % 2), &[1]))
        .collect();
    let around = |tid: &Tid| [Tid::new(tid.number() - 1), *tid, tid.next()];
    let ends: Vec<Tid> = tids.iter().flat_map(around).chain([Tid::MAX]).collect();
    for &from in &ends {
        for &to in &ends {
            let found = world.iterate().iterate_transactions(from, to).unwrap();
            let found: Vec<Tid> = found.map(|entry| entry.unwrap().tid).collect();
            let within = tids.iter().filter(|tid| (from..=to).contains(tid));
            assert!(within.eq(&found), "from {from} to {to}: {found:?}");
        }
    }
}

/// Who iterates is not led on and on by those who commit.
pub fn iteration_ends_where_it_began(world: &World) {
    let tids = [1, 2, 3].map(|n| world.change(Oid::new(n), b"x"));
    let mut found = world
        .iterate()
        .iterate_transactions(Tid::ZERO, Tid::MAX)
        .unwrap();
    let first = found.next().unwrap().unwrap();
    world.change(Oid::new(1), b"too late");
    let rest: Vec<Tid> = found.map(|entry| entry.unwrap().tid).collect();
    assert_eq!((first.tid, &rest[..]), (tids[0], &tids[1..]));
    let records: Vec<_> = first.records.map(Result::unwrap).collect();
    assert_eq!(records.len(), 1);
}

/// A revision is found by the transaction that wrote it, and by no other.
pub fn load_serial_finds_what_a_transaction_wrote(world: &World) {
    let (oid, other) = (Oid::new(1), Oid::new(2));
    let first = world.change(oid, b"first");
    let between = world.change(other, b"other");
    let second = world.change(oid, b"second");
    let load = |oid, tid| world.iterate().load_serial(oid, tid);
    assert_eq!(*load(oid, first).unwrap(), *b"first");
    assert_eq!(*load(oid, second).unwrap(), *b"second");
    for (oid, tid) in [
        (oid, between),
        (oid, second.next()),
        (oid, Tid::ZERO),
        (Oid::new(9), first),
    ] {
        let missing = load(oid, tid);
        assert!(
            matches!(missing, Err(StorageError::NotFound { .. })),
            "{oid} at {tid}: {missing:?}"
        );
    }
}

/// The newest revision first, with who wrote it.
pub fn a_history_is_listed_newest_first(world: &World) {
    let oid = Oid::new(1);
    let mut base = Tid::ZERO;
    let mut tids = Vec::new();
    for text in ["a", "ab", "abc"] {
        let meta = meta(text, "changed");
        let mut commit = Arc::clone(&world.storage).begin(meta).unwrap();
        let record = Record::from(text.as_bytes());
        commit.store(oid, base, record).unwrap();
        base = commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
        tids.push(base);
        world.change(Oid::new(2), text.as_bytes());
    }
    for size in [0, 1, 2, 3, 100] {
        let found = world.iterate().history(oid, size).unwrap();
        assert_eq!(found.len(), size.min(3));
        for (entry, at) in found.iter().zip((0..3).rev()) {
            let text = &"abc"[..=at];
            assert_eq!(entry.tid, tids[at]);
            assert_eq!(entry.meta, meta(text, "changed"));
            assert_eq!(entry.bytes, text.len() as u64);
        }
    }
    let missing = world.iterate().history(Oid::new(9), 1);
    assert!(matches!(missing, Err(StorageError::NotFound { .. })));
}

/// From object to object, each with its current record (`record_iternext`).
pub fn current_records_are_walked_in_the_order_of_their_ids(world: &World) {
    assert_eq!(world.iterate().current_record(Oid::ROOT).unwrap(), None);
    let oids = [3, 5, 1000, 1 << 40].map(Oid::new);
    for oid in oids.into_iter().rev() {
        world.change(oid, b"old");
    }
    let tids = oids.map(|oid| world.change(oid, &oid.to_bytes()));
    let mut from = Some(Oid::ROOT);
    for (at, oid) in oids.into_iter().enumerate() {
        let found = world.iterate().current_record(from.unwrap()).unwrap();
        let found = found.unwrap();
        assert_eq!((found.oid, found.tid), (oid, tids[at]));
        assert_eq!(*found.record, oid.to_bytes());
        assert_eq!(found.next, oids.get(at + 1).copied());
        from = found.next;
    }
    let behind = oids[3].next();
    assert_eq!(world.iterate().current_record(behind).unwrap(), None);
}

/// The storage says that it cannot, instead of showing nothing.
pub fn iteration_is_not_offered(world: &World) {
    assert!(world.storage.iterate().is_none());
}
