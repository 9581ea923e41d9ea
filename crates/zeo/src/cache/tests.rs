//! Each rule of the cache, and that breaking it shows.

use super::shard::{ENTRY_BYTES, cost};
use super::*;

const OID: Oid = Oid::new(1);

fn tid(number: u64) -> Tid {
    Tid::new(number)
}

fn revision(start: u64, next: Option<u64>) -> Revision {
    Revision {
        tid: tid(start),
        next: next.map(Tid::new),
        record: Record::from(format!("state of {start}").into_bytes()),
    }
}

fn load(cache: &ClientCache, start: u64, next: Option<u64>) -> Option<Revision> {
    let ticket = cache.begin_load(OID);
    cache.finish_load(ticket, Some(revision(start, next)))
}

fn cache() -> ClientCache {
    let cache = ClientCache::new(1 << 20);
    cache.restart(tid(10));
    cache
}

#[test]
fn a_revision_is_seen_by_the_snapshots_it_belongs_to() {
    let cache = cache();
    load(&cache, 5, Some(8));
    load(&cache, 8, None);
    let seen = |before| {
        cache
            .lookup(OID, tid(before))
            .map(|found| found.tid.number())
    };
    assert_eq!(seen(5), None);
    assert_eq!(seen(6), Some(5));
    assert_eq!(seen(8), Some(5));
    assert_eq!(seen(9), Some(8));
    assert_eq!(cache.lookup(OID, Tid::MAX), Some(revision(8, None)));
}

#[test]
fn an_invalidation_ends_the_current_revision_before_last_tid_rises() {
    let cache = cache();
    load(&cache, 8, None);
    cache.invalidate(tid(11), vec![OID]);
    assert_eq!(cache.last_tid(), tid(11));
    assert_eq!(cache.lookup(OID, tid(12)), None);
    assert_eq!(cache.lookup(OID, tid(11)), Some(revision(8, Some(11))));
}

#[test]
fn a_current_reply_that_crossed_an_invalidation_is_closed() {
    let cache = cache();
    let ticket = cache.begin_load(OID);
    cache.invalidate(tid(11), vec![OID]);
    cache.invalidate(tid(12), vec![OID]);
    let believed = cache.finish_load(ticket, Some(revision(8, None)));
    assert_eq!(believed, Some(revision(8, Some(11))));
    assert_eq!(cache.lookup(OID, tid(13)), None);
    // The next load begins with a clean slate.
    assert_eq!(load(&cache, 12, None), Some(revision(12, None)));
}

#[test]
fn a_crossing_by_the_revision_itself_does_not_close_it() {
    let cache = cache();
    let ticket = cache.begin_load(OID);
    cache.invalidate(tid(11), vec![OID]);
    let believed = cache.finish_load(ticket, Some(revision(11, None)));
    assert_eq!(believed, Some(revision(11, None)));
}

#[test]
fn our_own_commit_is_read_back_without_a_load() {
    let cache = cache();
    load(&cache, 8, None);
    let resolved = Oid::new(2);
    let record = revision(11, None).record;
    cache.committed(tid(11), vec![(OID, Some(record)), (resolved, None)]);
    assert_eq!(cache.last_tid(), tid(11));
    assert_eq!(cache.lookup(OID, tid(12)), Some(revision(11, None)));
    assert_eq!(cache.lookup(OID, tid(11)), Some(revision(8, Some(11))));
    assert_eq!(cache.lookup(resolved, tid(12)), None);
}

#[test]
fn verification_drops_what_changed_at_an_unknown_time() {
    let cache = cache();
    load(&cache, 5, Some(8));
    load(&cache, 8, None);
    let ticket = cache.begin_load(OID);
    cache.verify(tid(20), vec![OID]);
    assert_eq!(cache.last_tid(), tid(20));
    assert_eq!(cache.lookup(OID, tid(10)), None);
    assert_eq!(cache.lookup(OID, tid(6)), Some(revision(5, Some(8))));
    // A reply of the old connection must not come back as current.
    cache.finish_load(ticket, Some(revision(8, None)));
    assert_eq!(cache.lookup(OID, tid(21)), None);
}

#[test]
fn a_server_that_went_back_leaves_nothing_behind() {
    let cache = cache();
    load(&cache, 8, None);
    cache.restart(tid(7));
    assert_eq!(cache.last_tid(), tid(7));
    assert_eq!(cache.lookup(OID, Tid::MAX), None);
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn what_was_seen_of_a_lost_history_has_no_known_sequel() {
    let cache = cache();
    let changes = |tid, oid| Changes {
        tid,
        oids: vec![oid],
    };
    cache.invalidate(tid(11), vec![OID]);
    cache.restart(tid(7));
    assert_eq!(cache.changes_since(tid(11)), None);
    assert_eq!(cache.changes_since(tid(10)), None);
    // Nor after another restart, which looks like a step forward.
    cache.restart(tid(8));
    assert_eq!(cache.changes_since(tid(11)), None);
    // Transactions of the new history, before and after the ids of the lost ones.
    cache.invalidate(tid(9), vec![OID]);
    cache.invalidate(tid(20), vec![OID]);
    cache.invalidate(tid(21), vec![Oid::new(2)]);
    assert_eq!(cache.changes_since(tid(9)), None);
    assert_eq!(cache.changes_since(tid(11)), None);
    let expected = vec![changes(tid(21), Oid::new(2))];
    assert_eq!(cache.changes_since(tid(20)), Some(expected));
}

#[test]
fn a_revision_that_ended_at_an_unknown_time_is_not_kept() {
    let cache = cache();
    load(&cache, 3, Some(5));
    load(&cache, 5, None);
    // There may have been a revision of 7.
    load(&cache, 9, None);
    assert_eq!(cache.lookup(OID, tid(8)), None);
    assert_eq!(cache.lookup(OID, tid(5)), Some(revision(3, Some(5))));
    assert_eq!(cache.lookup(OID, tid(10)), Some(revision(9, None)));
    // A late reply brings it back with the end it has.
    load(&cache, 5, Some(7));
    assert_eq!(cache.lookup(OID, tid(7)), Some(revision(5, Some(7))));
    assert_eq!(cache.lookup(OID, tid(8)), None);
    let all = [3, 5, 9].map(|start| cost(&revision(start, None).record));
    assert_eq!(cache.bytes(), all.iter().sum::<usize>());
}

#[test]
fn an_end_that_is_known_is_never_taken_back() {
    let cache = cache();
    load(&cache, 8, Some(9));
    load(&cache, 8, None);
    assert_eq!(cache.lookup(OID, tid(11)), None);
}

#[test]
fn the_byte_bound_holds_and_what_is_used_stays() {
    let room = 20 * (1000 + ENTRY_BYTES);
    let cache = ClientCache::new(SHARDS * room);
    let favourite = Oid::new(0);
    for number in 0..1000u64 {
        // One shard only.
        let oid = Oid::new(number * (SHARDS as u64));
        let ticket = cache.begin_load(oid);
        let revision = Revision {
            tid: tid(5),
            next: None,
            record: Record::from(vec![7; 1000]),
        };
        cache.finish_load(ticket, Some(revision));
        assert!(cache.bytes() <= room);
        assert!(cache.lookup(favourite, tid(6)).is_some(), "after {number}");
    }
    assert!(cache.lookup(Oid::new(SHARDS as u64), tid(6)).is_none());
    assert!(cache.shards[0].read().clock.len() <= 20);
}

#[test]
fn a_record_larger_than_its_share_is_passed_through() {
    let cache = ClientCache::new(SHARDS * 1000);
    let ticket = cache.begin_load(OID);
    let large = Revision {
        tid: tid(5),
        next: None,
        record: Record::from(vec![7; 2000]),
    };
    assert_eq!(cache.finish_load(ticket, Some(large.clone())), Some(large));
    assert_eq!(cache.bytes(), 0);
}

/// Whoever sees a transaction in `last_tid` finds nothing older than it.
#[test]
fn last_tid_rises_after_all_it_promises() {
    const LAST: u64 = 20_000;
    let cache = cache();
    load(&cache, 8, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 11..=LAST {
                let others = (2..20).map(|oid| (Oid::new(oid), None));
                let record = revision(number, None).record;
                let stored = others.chain([(OID, Some(record))]).collect();
                cache.committed(tid(number), stored);
            }
        });
        loop {
            let seen = cache.last_tid();
            if let Some(found) = cache.lookup(OID, seen.next()) {
                assert!(found.tid >= seen || seen == tid(10), "{found:?} at {seen}");
            }
            if seen == tid(LAST) {
                break;
            }
        }
    });
}

#[test]
fn last_tid_rises_after_what_others_changed() {
    const LAST: u64 = 20_000;
    let cache = cache();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 11..=LAST {
                load(&cache, number - 1, None);
                cache.invalidate(tid(number), (2..20).map(Oid::new).chain([OID]).collect());
            }
        });
        while cache.last_tid() < tid(LAST) {
            let seen = cache.last_tid();
            // What was current before has ended, or is not there.
            if let Some(found) = cache.lookup(OID, seen.next()) {
                assert!(found.tid >= seen, "{found:?} at {seen}");
            }
            let told = cache.recent_changes(1).pop().map(|changes| changes.tid);
            assert!(told.is_none_or(|told| told >= seen), "{told:?} at {seen}");
        }
    });
}
