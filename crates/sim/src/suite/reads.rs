//! Revisions and listings.

use storage::{Changes, Oid, StorageError, Tid};

use super::World;

/// Nothing is there, and saying so is no failure.
pub fn an_empty_storage_knows_nothing(world: &World) {
    let storage = &world.storage;
    assert_eq!(storage.last_tid(), Tid::ZERO);
    for before in [Tid::ZERO, Tid::new(1), Tid::MAX] {
        let missing = storage.load_before(Oid::ROOT, before);
        assert!(
            matches!(missing, Err(StorageError::NotFound { oid: Oid::ROOT })),
            "{missing:?}"
        );
    }
    assert_eq!(storage.changes_since(Tid::ZERO, 10).unwrap(), Some(vec![]));
    assert_eq!(storage.recent_changes(10).unwrap(), []);
    assert_eq!(storage.stats().objects, 0);
    assert!(!storage.is_read_only());
}

/// Each revision is what snapshots see from its transaction to the one that replaced it.
pub fn a_revision_is_seen_from_its_transaction_on(world: &World) {
    let oid = Oid::new(7);
    let tids: Vec<Tid> = ["zero", "one", "two"]
        .iter()
        .map(|text| {
            let tid = world.change(oid, text.as_bytes());
            world.change(Oid::new(8), b"something else in between");
            tid
        })
        .collect();
    let storage = &world.storage;
    for before in [Tid::ZERO, tids[0]] {
        assert_eq!(storage.load_before(oid, before).unwrap(), None);
    }
    for (number, text) in ["zero", "one", "two"].iter().enumerate() {
        let next = tids.get(number + 1).copied();
        for before in [tids[number].next(), next.unwrap_or(Tid::MAX)] {
            let seen = storage.load_before(oid, before).unwrap().unwrap();
            assert_eq!(
                (seen.tid, seen.next),
                (tids[number], next),
                "before {before}"
            );
            assert_eq!(&*seen.record, text.as_bytes());
            assert_eq!(seen.is_current(), number == 2);
        }
    }
}

/// Each transaction gets a larger id, and the storage says which is the last.
pub fn transaction_ids_rise(world: &World) {
    let mut last = Tid::ZERO;
    for number in 0..20u8 {
        let tid = world.change(Oid::new(u64::from(number % 3)), &[number + 1]);
        assert!(tid > last, "{tid} came after {last}");
        assert_eq!(world.storage.last_tid(), tid);
        last = tid;
    }
    assert!(last < Tid::MAX);
}

/// Records of one byte, of a page more or less, and of some megabytes.
pub fn records_of_all_sizes_come_back(world: &World) {
    let header = 42;
    let sizes = [
        1,
        2,
        511,
        4096 - header - 1,
        4096 - header,
        4096 - header + 1,
        65_536,
        3 << 20,
    ];
    let record = |size: usize| -> Vec<u8> {
        let low_byte = |number: usize| number.to_le_bytes()[0];
        (0..size)
            .map(|at| low_byte(at.wrapping_mul(31) ^ (at >> 9) ^ size))
            .collect()
    };
    for (oid, size) in (1..).map(Oid::new).zip(sizes) {
        world.change(oid, &record(size));
    }
    for (oid, size) in (1..).map(Oid::new).zip(sizes) {
        assert!(
            world.seen(oid, Tid::MAX) == Some(record(size)),
            "{size} bytes"
        );
    }
    assert_eq!(world.storage.stats().objects, sizes.len() as u64);
    // A storage may compress them.
    assert!(world.storage.stats().bytes >= 3 << 10);
}

/// Both listings name transactions and objects in order.
pub fn changes_are_listed(world: &World) {
    let (a, b, c) = (Oid::new(1), Oid::new(2), Oid::new(3));
    let new = |oid| (oid, Tid::ZERO, &b"x"[..]);
    let first = world.commit(&[new(a), new(c), new(b)]).unwrap();
    let second = world.change(b, b"y");
    let third = world.change(c, b"z");
    let all = [
        Changes {
            tid: first,
            oids: vec![a, c, b],
        },
        Changes {
            tid: second,
            oids: vec![b],
        },
        Changes {
            tid: third,
            oids: vec![c],
        },
    ];
    let storage = &world.storage;
    let since = |tid, max| storage.changes_since(tid, max).unwrap();
    assert_eq!(since(first, 2).as_deref(), Some(&all[1..]));
    assert_eq!(since(first, 1), None, "more than asked for");
    assert_eq!(since(second, 1).as_deref(), Some(&all[2..]));
    assert_eq!(since(third, 0), Some(vec![]));
    assert_eq!(storage.recent_changes(2).unwrap(), all[1..]);
    assert_eq!(storage.recent_changes(0).unwrap(), []);
    assert_eq!(storage.recent_changes(99).unwrap(), all);
}
