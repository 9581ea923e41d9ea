//! Loads and invalidations: what a client may believe, and in which order it hears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use storage::{MemoryOptions, MemoryStorage, Oid, Record, Revision, Tid};
use zeo::{Encoding, Event, HubOptions, ProtocolError, Reply, Request};

use crate::pair::{Client, commit_into, hub, hub_with, memory, not_found, register};

const OID: Oid = Oid::new(1);
const BOTH: [Encoding; 2] = [Encoding::Pickle, Encoding::Msgpack];

fn load(before: Tid) -> Request {
    Request::LoadBefore { oid: OID, before }
}

fn revision(tid: Tid, next: Option<Tid>, data: &[u8]) -> Reply {
    Reply::Revision(Some(Revision {
        tid,
        next,
        record: Record::from(data),
    }))
}

#[test]
fn a_client_loads_what_another_committed() {
    for encoding in BOTH {
        let hub = hub(encoding);
        let mut writer = Client::registered(&hub);
        let mut reader = Client::registered(&hub);
        let first = writer.commit(OID, Tid::ZERO, b"one");
        let second = writer.commit(OID, first, b"two");
        reader.settle();
        assert_eq!(
            reader.invalidations(),
            [(first, vec![OID]), (second, vec![OID])]
        );
        assert_eq!(
            reader.ask(&load(Tid::MAX)),
            Ok(revision(second, None, b"two"))
        );
        assert_eq!(
            reader.ask(&load(second)),
            Ok(revision(first, Some(second), b"one"))
        );
        assert_eq!(reader.ask(&load(first)), Ok(Reply::Revision(None)));
        let missing = Request::LoadBefore {
            oid: Oid::new(9),
            before: Tid::MAX,
        };
        assert!(not_found(&reader.ask(&missing).unwrap_err()));
        let serial = Request::LoadSerial {
            oid: OID,
            tid: first,
        };
        assert_eq!(
            reader.ask(&serial),
            Ok(Reply::Record(Record::from(&b"one"[..])))
        );
        assert_eq!(reader.ask(&Request::GetTid(OID)), Ok(Reply::Tid(second)));
        assert_eq!(
            reader.ask(&Request::LastTransaction),
            Ok(Reply::Tid(second))
        );
    }
}

/// The storage was asked before the commit, and answered "current"; the reply is queued after the
/// push that ends the revision. It must say so.
#[test]
fn a_load_overtaken_by_a_commit_is_corrected() {
    for encoding in BOTH {
        let hub = hub(encoding);
        let mut writer = Client::registered(&hub);
        let mut reader = Client::registered(&hub);
        let first = writer.commit(OID, Tid::ZERO, b"one");
        reader.settle();
        reader.events.clear();
        let id = reader.call(&load(Tid::MAX));
        let done = reader.jobs.pop_front().expect("a load").perform();
        let second = writer.commit(OID, first, b"two");
        let third = writer.commit(OID, second, b"three");
        assert!(done.deliver().is_none());
        reader.hear();
        assert_eq!(
            reader.invalidations(),
            [(second, vec![OID]), (third, vec![OID])]
        );
        assert_eq!(
            reader.answer(id),
            Some(Ok(revision(first, Some(second), b"one")))
        );
    }
}

/// The reply was queued before the push: "current" was true, and the push ends it.
#[test]
fn a_load_delivered_before_a_commit_precedes_its_push() {
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let mut reader = Client::registered(&hub);
    let first = writer.commit(OID, Tid::ZERO, b"one");
    reader.settle();
    reader.events.clear();
    let id = reader.call(&load(Tid::MAX));
    assert!(
        reader
            .jobs
            .pop_front()
            .expect("a load")
            .perform()
            .deliver()
            .is_none()
    );
    let second = writer.commit(OID, first, b"two");
    reader.hear();
    let expected = [
        Event::Replied {
            id,
            outcome: Ok(revision(first, None, b"one")),
        },
        Event::Invalidated {
            tid: second,
            oids: vec![OID],
        },
    ];
    assert_eq!(reader.events, expected);
}

/// A commit of other objects does not end the revision.
#[test]
fn a_load_overtaken_by_a_stranger_stays_current() {
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let mut reader = Client::registered(&hub);
    let first = writer.commit(OID, Tid::ZERO, b"one");
    let id = reader.call(&load(Tid::MAX));
    let done = reader.jobs.pop_front().expect("a load").perform();
    writer.commit(Oid::new(2), Tid::ZERO, b"other");
    assert!(done.deliver().is_none());
    reader.hear();
    assert_eq!(reader.answer(id), Some(Ok(revision(first, None, b"one"))));
}

/// More commits than the queue remembers: the load is done again.
#[test]
fn a_load_overtaken_by_too_much_is_repeated() {
    let options = HubOptions {
        invalidations_max: 1,
        ..HubOptions::default()
    };
    let hub = hub_with(memory(), options);
    let mut writer = Client::registered(&hub);
    let mut reader = Client::registered(&hub);
    let first = writer.commit(OID, Tid::ZERO, b"one");
    let id = reader.call(&load(first.next()));
    let done = reader.jobs.pop_front().expect("a load").perform();
    let second = writer.commit(OID, first, b"two");
    writer.commit(Oid::new(2), Tid::ZERO, b"other");
    writer.commit(Oid::new(3), Tid::ZERO, b"other");
    done.deliver().expect("once more").run();
    reader.hear();
    assert_eq!(
        reader.answer(id),
        Some(Ok(revision(first, Some(second), b"one")))
    );
}

/// Loads that come together are one job. What is published between its work and its delivery amends
/// those that it concerns, and the answers keep their order.
#[test]
fn loads_that_come_together_are_answered_in_order() {
    for encoding in BOTH {
        let hub = hub(encoding);
        let mut writer = Client::registered(&hub);
        let mut reader = Client::registered(&hub);
        let other = Oid::new(2);
        let first = writer.commit(OID, Tid::ZERO, b"one");
        let alone = writer.commit(other, Tid::ZERO, b"other");
        reader.settle();
        let asked = [OID, other, Oid::new(9), OID].map(|oid| {
            let before = Tid::MAX;
            reader.session.call(&Request::LoadBefore { oid, before })
        });
        let early = reader.session.call(&load(first));
        reader.talk();
        let done = reader.jobs.pop_front().expect("loads").perform();
        assert!(reader.jobs.is_empty(), "one job for all");
        let second = writer.commit(OID, first, b"two");
        assert!(done.deliver().is_none());
        reader.hear();
        let replied = reader.events.iter().filter_map(|event| match event {
            Event::Replied { id, .. } => Some(*id),
            _ => None,
        });
        assert!(replied.eq(asked.into_iter().chain([early])));
        let [one, two, three, four] = asked.map(|id| reader.answer(id).expect("answered"));
        let amended = Ok(revision(first, Some(second), b"one"));
        assert_eq!([one, four], [amended.clone(), amended]);
        assert_eq!(two, Ok(revision(alone, None, b"other")));
        assert!(not_found(&three.unwrap_err()));
        assert_eq!(reader.answer(early), Some(Ok(Reply::Revision(None))));
    }
}

/// Most calls are recognized by their bytes. Those that say the same in other bytes, as no client
/// does, get the same answers.
#[test]
fn calls_in_other_bytes_get_the_same_answers() {
    for encoding in BOTH {
        let hub = hub(encoding);
        let mut writer = Client::registered(&hub);
        let first = writer.commit(OID, Tid::ZERO, b"one");
        let second = writer.commit(OID, first, b"two");
        let mut reader = Client::registered(&hub);
        for (oid, before) in [
            (OID, Tid::MAX),
            (OID, second),
            (OID, first),
            (Oid::new(9), Tid::MAX),
        ] {
            let [usual, other] = [false, true].map(|is_other| {
                let call = load_frame(encoding, oid, before, is_other);
                reader.connection.receive(&call);
                let job = reader.connection.next_job().unwrap().expect("a load");
                job.run();
                assert!(reader.connection.next_job().unwrap().is_none());
                let mut out = Vec::new();
                assert!(reader.connection.outbox().take(&mut out).unwrap());
                (call, out)
            });
            assert_ne!(usual.0, other.0);
            assert_eq!(usual.1, other.1);
        }
    }
}

/// A load as clients write it, or with a longer form of its number.
fn load_frame(encoding: Encoding, oid: Oid, before: Tid, is_other: bool) -> Vec<u8> {
    let (oid, before) = (oid.to_bytes(), before.to_bytes());
    let (id, parts): (&[u8], [&[u8]; 4]) = match encoding {
        Encoding::Msgpack => (
            if is_other { b"\xd2\0\0\0\x07" } else { b"\x07" },
            [b"\x94", b"\xc2\xaaloadBefore\x92\xc4\x08", b"\xc4\x08", b""],
        ),
        Encoding::Pickle => (
            if is_other { b"\x8a\x01\x07" } else { b"K\x07" },
            [
                b"\x80\x03(",
                b"\x89X\x0a\0\0\0loadBeforeC\x08",
                b"C\x08",
                b"\x86t.",
            ],
        ),
    };
    let [start, name, between, end] = parts;
    let payload = [start, id, name, &oid[..], between, &before[..], end].concat();
    let mut frame = Vec::new();
    zeo::write_frame(&mut frame, |out| out.extend_from_slice(&payload));
    frame
}

/// What a client asks for at once may be more than should wait for it at once.
#[test]
fn large_loads_are_delivered_bit_by_bit() {
    let hub = hub(Encoding::Msgpack);
    let mut writer = Client::registered(&hub);
    let mut reader = Client::registered(&hub);
    let large = vec![7; 200 << 10];
    let tid = writer.commit(OID, Tid::ZERO, &large);
    reader.settle();
    let asked = [0; 5].map(|_| reader.session.call(&load(Tid::MAX)));
    reader.talk();
    let mut next = reader.jobs.pop_front();
    let mut parts = 0;
    while let Some(job) = next {
        next = job.perform().deliver();
        assert!(reader.connection.outbox().pending() < 3 * large.len());
        reader.hear();
        parts += 1;
    }
    assert_eq!(parts, 3);
    for id in asked {
        assert_eq!(reader.answer(id), Some(Ok(revision(tid, None, &large))));
    }
}

#[test]
fn registration_tells_the_newest_and_pushes_what_follows() {
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let first = writer.commit(OID, Tid::ZERO, b"one");
    let mut late = Client::connect(&hub);
    let id = late.call(&register(true));
    let second = writer.commit(OID, first, b"two");
    late.hear();
    assert_eq!(late.answer(id), Some(Ok(Reply::Tid(first))));
    assert_eq!(late.invalidations(), [(second, vec![OID])]);
}

#[test]
fn ping_is_a_barrier() {
    let hub = hub(Encoding::Msgpack);
    let mut writer = Client::registered(&hub);
    let mut reader = Client::registered(&hub);
    let tid = writer.commit(OID, Tid::ZERO, b"one");
    let id = reader.call(&Request::Ping);
    reader.hear();
    let expected = [
        Event::Invalidated {
            tid,
            oids: vec![OID],
        },
        Event::Replied {
            id,
            outcome: Ok(Reply::Nothing),
        },
    ];
    assert_eq!(reader.events, expected);
}

#[test]
fn returning_clients_hear_what_they_missed_or_that_nobody_knows() {
    let storage = memory();
    let zero = commit_into(&storage, OID, Tid::ZERO, b"zero");
    let one = commit_into(&storage, OID, zero, b"one");
    let options = HubOptions {
        invalidations_max: 2,
        ..HubOptions::default()
    };
    let hub = hub_with(storage, options);
    let mut client = Client::registered(&hub);
    let missed = |client: &mut Client, tid| client.ask(&Request::GetInvalidations(tid));
    let two = client.commit(Oid::new(2), Tid::ZERO, b"two");
    client.commit(Oid::new(3), Tid::ZERO, b"three");
    let last = client.commit(Oid::new(3), two.next(), b"four");
    let newer = vec![Oid::new(3)];
    assert_eq!(
        missed(&mut client, two),
        Ok(Reply::Invalidations(Some((last, newer))))
    );
    assert_eq!(
        missed(&mut client, last),
        Ok(Reply::Invalidations(Some((last, vec![]))))
    );
    // The queue does not reach so far; the storage itself does.
    let all = vec![Oid::new(2), Oid::new(3)];
    assert_eq!(
        missed(&mut client, one),
        Ok(Reply::Invalidations(Some((last, all))))
    );
}

#[test]
fn who_was_away_for_longer_than_the_age_has_to_drop_its_cache() {
    let time = Arc::new(AtomicU64::new(1_000_000_000));
    let clock = time.clone();
    let storage = Arc::new(MemoryStorage::with(MemoryOptions {
        clock: Some(Arc::new(move || {
            Duration::from_secs(clock.load(Ordering::Relaxed))
        })),
        ..MemoryOptions::default()
    }));
    let options = HubOptions {
        invalidations_max: 1,
        invalidation_age: Some(Duration::from_secs(100)),
        ..HubOptions::default()
    };
    let hub = hub_with(storage, options);
    let mut client = Client::registered(&hub);
    let mut base = Tid::ZERO;
    let [three_ago, two_ago, one_ago, last] = [(); 4].map(|()| {
        time.fetch_add(60, Ordering::Relaxed);
        base = client.commit(OID, base, b"state");
        base
    });
    let mut missed = |tid| client.ask(&Request::GetInvalidations(tid));
    let all = Ok(Reply::Invalidations(Some((last, vec![OID]))));
    assert_eq!(missed(one_ago), all);
    assert_eq!(missed(two_ago), Ok(Reply::Invalidations(None)));
    assert_eq!(missed(three_ago), Ok(Reply::Invalidations(None)));
    time.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(missed(one_ago), all);
}

/// A server that starts looks at few of the transactions that its storage has. Who returns to it hears of
/// as many as any other time, however old they are.
#[test]
fn what_was_committed_before_the_start_is_remembered() {
    let storage = memory();
    let tids: Vec<_> = (1..=300)
        .map(|number| commit_into(&storage, Oid::new(number), Tid::ZERO, b"state"))
        .collect();
    let options = HubOptions {
        invalidations_max: 250,
        invalidation_age: Some(Duration::from_nanos(1)),
        ..HubOptions::default()
    };
    let hub = hub_with(storage, options);
    let mut client = Client::registered(&hub);
    for (seen, is_remembered) in [(298, true), (150, true), (50, true), (48, false)] {
        let oids = (seen as u64 + 1..=300).map(Oid::new).collect();
        let expected = is_remembered.then(|| (tids[299], oids));
        let missed = client.ask(&Request::GetInvalidations(tids[seen - 1]));
        assert_eq!(missed, Ok(Reply::Invalidations(expected)), "{seen}");
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped_rather_than_kept_in_the_dark() {
    let options = HubOptions {
        output_bytes_max: 1000,
        ..HubOptions::default()
    };
    let hub = hub_with(memory(), options);
    let mut writer = Client::registered(&hub);
    let mut idle = Client::registered(&hub);
    for number in 1..100 {
        writer.commit(Oid::new(number), Tid::ZERO, b"state");
    }
    idle.hear();
    assert!(
        matches!(idle.error, Some(ProtocolError::Stalled { .. })),
        "{:?}",
        idle.error
    );
    assert_eq!(writer.error, None);
}

#[test]
fn a_gone_client_is_told_nothing_more() {
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let mut gone = Client::registered(&hub);
    assert!(gone.connection.disconnect().is_none());
    writer.commit(OID, Tid::ZERO, b"one");
    gone.hear();
    assert!(gone.events.is_empty());
}

/// The same without a plan: after a push of a transaction no reply may call an older revision
/// current, however reads and commits race.
#[test]
fn no_stale_reply_follows_a_push_while_commits_race() {
    const COMMITS: usize = 3000;
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let first = writer.commit(OID, Tid::ZERO, b"state");
    let mut reader = Client::registered(&hub);
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut base = first;
            for _ in 0..COMMITS {
                base = writer.commit(OID, base, b"state");
            }
            base
        });
        let mut pushed = first;
        while !writing.is_finished() {
            for _ in 0..10 {
                reader.call(&load(Tid::MAX));
            }
            // All are asked before any is answered, which leaves time to be overtaken.
            let done: Vec<_> = reader.jobs.drain(..).map(zeo::Job::perform).collect();
            for done in done {
                assert!(done.deliver().is_none());
            }
            reader.hear();
            for event in reader.events.drain(..) {
                match event {
                    Event::Invalidated { tid, .. } => {
                        assert!(tid > pushed, "pushes rise");
                        pushed = tid;
                    }
                    Event::Replied {
                        outcome: Ok(Reply::Revision(Some(found))),
                        ..
                    } => {
                        let is_stale = found.is_current() && found.tid < pushed;
                        assert!(!is_stale, "{found:?} after the push of {pushed}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        reader.settle();
        let last = reader
            .invalidations()
            .last()
            .map_or(pushed, |(tid, _)| *tid);
        assert_eq!(last, writing.join().unwrap());
    });
}

/// Whoever registers while others commit hears of every transaction after the one that it is told.
#[test]
fn who_registers_while_others_commit_misses_none() {
    const COMMITS: usize = 3000;
    let hub = hub(Encoding::Msgpack);
    let mut writer = Client::registered(&hub);
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut base = Tid::ZERO;
            for _ in 0..COMMITS {
                base = writer.commit(OID, base, b"state");
            }
        });
        while !writing.is_finished() {
            let mut client = Client::connect(&hub);
            let told = match client.ask(&register(false)) {
                Ok(Reply::Tid(tid)) => tid,
                other => panic!("{other:?}"),
            };
            let mut pushed = client.invalidations();
            while pushed.is_empty() && !writing.is_finished() {
                client.hear();
                pushed = client.invalidations();
            }
            if let Some((tid, _)) = pushed.first() {
                assert_eq!(*tid, told.next(), "ids are counted up");
            }
        }
    });
}
