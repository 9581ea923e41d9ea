//! Commits: whose turn it is, conflicts, and what becomes of transactions that are left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use storage::{
    Changes, Commit, CommitError, Conflict, ConflictingStates, MemoryOptions, MemoryStorage, Oid,
    Resolution, Resolver, Revision, Storage, StorageError, StorageStats, Tid, TransactionMeta,
};
use zeo::{Encoding, Event, Hub, HubOptions, Reply, Request, Value};

use crate::pair::{Client, hub, hub_with, memory, register};

const OID: Oid = Oid::new(1);

fn voted() -> Option<Result<Reply, zeo::Refusal>> {
    Some(Ok(Reply::Voted(vec![])))
}

#[test]
fn the_committer_hears_the_size_then_its_tid_and_no_invalidation() {
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let id = writer.begin(OID, Tid::ZERO, b"state");
    let vote = writer.call(&Request::Vote(id.clone()));
    let finish = writer.call(&Request::TpcFinish(id));
    // The order to finish came before the vote was done, so it is refused.
    writer.settle();
    assert_eq!(writer.answer(vote), voted());
    assert!(writer.answer(finish).unwrap().is_err());

    let finish = writer.call(&Request::TpcFinish(Value::Int(101)));
    writer.settle();
    let stats = StorageStats {
        objects: 1,
        bytes: 5,
    };
    let tid = Tid::new(1);
    let expected = [
        Event::Resized(stats),
        Event::Replied {
            id: finish,
            outcome: Ok(Reply::Tid(tid)),
        },
    ];
    assert_eq!(writer.events, expected);
}

#[test]
fn others_hear_before_the_committer_does() {
    let hub = hub(Encoding::Pickle);
    let mut writer = Client::registered(&hub);
    let mut reader = Client::registered(&hub);
    let id = writer.begin(OID, Tid::ZERO, b"state");
    writer.ask(&Request::Vote(id.clone())).unwrap();
    reader.hear();
    assert!(
        reader.invalidations().is_empty(),
        "nothing before the finish"
    );
    writer.call(&Request::TpcFinish(id));
    let done = writer.jobs.pop_front().expect("a finish").perform();
    reader.hear();
    assert_eq!(reader.invalidations().len(), 1);
    assert!(done.deliver().is_none());
}

#[test]
fn votes_wait_in_the_order_of_their_arrival_while_loads_go_on() {
    let hub = hub(Encoding::Pickle);
    let mut clients: Vec<_> = (0..5).map(|_| Client::registered(&hub)).collect();
    let mut transactions = Vec::new();
    for (number, client) in (1u64..).zip(&mut clients) {
        let id = client.begin(Oid::new(number), Tid::ZERO, b"state");
        let vote = client.call(&Request::Vote(id.clone()));
        client.settle();
        transactions.push((id, vote));
    }
    assert_eq!(clients[0].answer(transactions[0].1), voted());
    for (client, (_, vote)) in clients.iter_mut().zip(&transactions).skip(1) {
        assert_eq!(client.answer(*vote), None, "it waits");
        assert_eq!(client.ask(&Request::Ping), Ok(Reply::Nothing));
    }
    // The second gives up, the third leaves: neither may hold up the fourth,
    // nor may the fifth overtake it.
    let abort = Request::TpcAbort(transactions[1].0.clone());
    assert_eq!(clients[1].ask(&abort), Ok(Reply::Nothing));
    assert!(clients[1].answer(transactions[1].1).unwrap().is_err());
    assert!(clients[2].connection.disconnect().is_none());
    let finished = clients[0].ask(&Request::TpcFinish(transactions[0].0.clone()));
    assert_eq!(finished, Ok(Reply::Tid(Tid::new(1))));
    for (client, expected) in [(3, voted()), (4, None)] {
        clients[client].settle();
        assert_eq!(clients[client].answer(transactions[client].1), expected);
    }
}

/// Several votes at a time, over a storage that says that they need not wait for each other.
fn hub_side_by_side() -> Arc<Hub> {
    let storage: Arc<dyn Storage> = memory();
    Hub::new(vec![("1".to_owned(), storage)], HubOptions::default()).unwrap()
}

fn waiting(client: &mut Client) -> Option<i64> {
    let Ok(Reply::Other(status)) = client.ask(&Request::ServerStatus) else {
        panic!("no status");
    };
    status.get("waiting").and_then(Value::as_int)
}

#[test]
fn votes_wait_for_those_who_touch_the_same_objects_and_for_nobody_else() {
    let hub = hub_side_by_side();
    let mut clients: Vec<_> = (0..4).map(|_| Client::registered(&hub)).collect();
    let mut reader = Client::registered(&hub);
    let mut transactions = Vec::new();
    // The third wants the object of the first, the fourth one that the third wants besides.
    for (number, client) in [1, 2, 1, 3].into_iter().zip(&mut clients) {
        let id = client.begin(Oid::new(number), Tid::ZERO, b"state");
        if transactions.len() == 2 {
            client.store(Oid::new(3), Tid::ZERO, b"more", &id);
        }
        let vote = client.call(&Request::Vote(id.clone()));
        client.settle();
        transactions.push((id, vote));
    }
    let answers = |clients: &mut [Client], numbers: &[usize]| {
        let heard = |&number: &usize| {
            clients[number].settle();
            clients[number].answer(transactions[number].1)
        };
        numbers.iter().map(heard).collect::<Vec<_>>()
    };
    assert_eq!(answers(&mut clients, &[0, 1]), [voted(), voted()]);
    assert_eq!(answers(&mut clients, &[2, 3]), [None, None]);
    assert_eq!(waiting(&mut reader), Some(2));
    // The second is finished while the first still thinks about it.
    let finish = |client: &mut Client, number: usize| {
        client.ask(&Request::TpcFinish(transactions[number].0.clone()))
    };
    assert_eq!(finish(&mut clients[1], 1), Ok(Reply::Tid(Tid::new(1))));
    assert_eq!(answers(&mut clients, &[2, 3]), [None, None]);
    assert!(clients[2].connection.disconnect().is_none(), "it waited");
    assert_eq!(answers(&mut clients, &[3]), [voted()]);
    assert_eq!(finish(&mut clients[3], 3), Ok(Reply::Tid(Tid::new(2))));
    assert_eq!(finish(&mut clients[0], 0), Ok(Reply::Tid(Tid::new(3))));
    assert_eq!(waiting(&mut reader), Some(0));
    reader.hear();
    let told: Vec<_> = reader.invalidations().into_iter().collect();
    let expected = [(1, 2), (2, 3), (3, 1)];
    assert_eq!(
        told,
        expected.map(|(tid, oid)| (Tid::new(tid), vec![Oid::new(oid)]))
    );
}

#[test]
fn an_undo_has_its_turn_alone() {
    let hub = hub_side_by_side();
    let mut first = Client::registered(&hub);
    let mut undoer = Client::registered(&hub);
    let mut third = Client::registered(&hub);
    assert_eq!(first.commit(OID, Tid::ZERO, b"one"), Tid::new(1));
    let held = first.begin(Oid::new(2), Tid::ZERO, b"two");
    first.ask(&Request::Vote(held.clone())).unwrap();
    let undo = undoer.begin(Oid::new(3), Tid::ZERO, b"three");
    undoer.send(&Request::Undo {
        transaction: b"AAAAAAAAAAE=".to_vec(),
        id: undo.clone(),
    });
    let undo_vote = undoer.call(&Request::Vote(undo.clone()));
    undoer.settle();
    let behind = third.begin(Oid::new(4), Tid::ZERO, b"four");
    let behind_vote = third.call(&Request::Vote(behind.clone()));
    third.settle();
    assert_eq!(undoer.answer(undo_vote), None);
    assert_eq!(third.answer(behind_vote), None);
    first.ask(&Request::TpcFinish(held)).unwrap();
    undoer.settle();
    assert_eq!(undoer.answer(undo_vote), Some(Ok(Reply::Voted(vec![OID]))));
    third.settle();
    assert_eq!(third.answer(behind_vote), None);
    undoer.ask(&Request::TpcFinish(undo)).unwrap();
    third.settle();
    assert_eq!(third.answer(behind_vote), voted());
}

#[test]
fn whoever_leaves_with_its_turn_just_granted_lets_the_next_one_pass() {
    let hub = hub_side_by_side();
    let mut clients: Vec<_> = (0..3).map(|_| Client::registered(&hub)).collect();
    let mut transactions = Vec::new();
    for client in &mut clients {
        let id = client.begin(OID, Tid::ZERO, b"state");
        let vote = client.call(&Request::Vote(id.clone()));
        client.settle();
        transactions.push((id, vote));
    }
    let abort = Request::TpcAbort(transactions[0].0.clone());
    assert_eq!(clients[0].ask(&abort), Ok(Reply::Nothing));
    // Granted, but its connection has not been looked at since.
    assert!(clients[1].connection.is_committing());
    assert!(clients[1].connection.disconnect().is_none());
    clients[2].settle();
    assert_eq!(clients[2].answer(transactions[2].1), voted());
}

#[test]
fn a_connection_tells_whether_it_is_committing() {
    let hub = hub(Encoding::Pickle);
    let mut first = Client::registered(&hub);
    let mut second = Client::registered(&hub);
    let holders = |first: &Client, second: &Client| {
        [first, second].map(|client| client.connection.is_committing())
    };
    let id = first.begin(OID, Tid::ZERO, b"one");
    assert_eq!(holders(&first, &second), [false, false]);
    first.call(&Request::Vote(id.clone()));
    assert_eq!(holders(&first, &second), [true, false], "voting");
    first.settle();
    let other = second.begin(Oid::new(2), Tid::ZERO, b"two");
    second.call(&Request::Vote(other.clone()));
    assert_eq!(holders(&first, &second), [true, false], "voted");
    first.call(&Request::TpcFinish(id));
    assert_eq!(holders(&first, &second), [true, false], "finishing");
    first.settle();
    assert_eq!(holders(&first, &second), [false, true], "granted");
    second.ask(&Request::TpcAbort(other)).unwrap();
    assert_eq!(holders(&first, &second), [false, false]);
}

#[test]
fn whoever_leaves_with_the_lock_gives_it_back() {
    for leaves_while_voting in [false, true] {
        let hub = hub(Encoding::Pickle);
        let mut first = Client::registered(&hub);
        let mut second = Client::registered(&hub);
        let id = first.begin(OID, Tid::ZERO, b"lost");
        first.call(&Request::Vote(id));
        let done = first.jobs.pop_front().expect("a vote").perform();
        let id = second.begin(OID, Tid::ZERO, b"kept");
        let vote = second.call(&Request::Vote(id.clone()));
        second.settle();
        let release = if leaves_while_voting {
            assert!(first.connection.disconnect().is_none());
            done.deliver()
        } else {
            assert!(done.deliver().is_none());
            first.connection.disconnect()
        };
        release.expect("the turn is ended by a job").run();
        second.settle();
        assert_eq!(second.answer(vote), voted());
        assert_eq!(
            second.ask(&Request::TpcFinish(id)),
            Ok(Reply::Tid(Tid::new(1)))
        );
    }
}

#[test]
fn a_dropped_connection_gives_the_lock_back_by_itself() {
    let hub = hub(Encoding::Pickle);
    let mut first = Client::registered(&hub);
    let id = first.begin(OID, Tid::ZERO, b"lost");
    first.ask(&Request::Vote(id)).unwrap();
    drop(first);
    Client::registered(&hub).commit(OID, Tid::ZERO, b"kept");
}

#[test]
fn conflicts_go_to_the_client_which_may_merge_and_vote_again() {
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        let hub = hub(encoding);
        let mut client = Client::registered(&hub);
        let mut other = Client::registered(&hub);
        let base = client.commit(OID, Tid::ZERO, b"base");
        let committed = other.commit(OID, base, b"theirs");
        let id = client.begin(OID, base, b"ours");
        client.store(Oid::new(2), Tid::ZERO, b"bystander", &id);
        let conflict = Conflict {
            oid: OID,
            committed,
            base,
            refusal: None,
        };
        let vote = Request::Vote(id.clone());
        assert_eq!(client.ask(&vote), Ok(Reply::Conflicts(vec![conflict])));
        // The lock is free meanwhile, and the conflict may come again.
        let newer = other.commit(OID, committed, b"theirs again");
        client.store(OID, committed, b"merged", &id);
        assert!(matches!(client.ask(&vote), Ok(Reply::Conflicts(_))));
        client.store(OID, newer, b"merged again", &id);
        assert_eq!(client.ask(&vote), Ok(Reply::Voted(vec![])));
        other.settle();
        other.events.clear();
        let Ok(Reply::Tid(tid)) = client.ask(&Request::TpcFinish(id)) else {
            panic!("finished");
        };
        other.hear();
        assert_eq!(other.invalidations(), [(tid, vec![OID, Oid::new(2)])]);
        let load = Request::LoadBefore {
            oid: OID,
            before: Tid::MAX,
        };
        let Ok(Reply::Revision(Some(seen))) = other.ask(&load) else {
            panic!("loaded");
        };
        assert_eq!(&*seen.record, b"merged again");
    }
}

/// Merges what begins with `+`, refuses what begins with `-`, and knows nothing else.
struct Signs;

impl Resolver for Signs {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        match states.new.first() {
            Some(b'+') => Resolution::Merged(states.new.clone()),
            Some(b'-') => Resolution::Refused("a minus"),
            _ => Resolution::Unknown,
        }
    }
}

/// Merged by the server, or else left to the client, unless the server knows that nobody can.
#[test]
fn a_conflict_that_nobody_can_merge_is_an_error_and_ends_the_transaction() {
    let [unknown, merged, refused] = [1, 2, 3].map(Oid::new);
    let storage = MemoryStorage::with(MemoryOptions {
        resolver: Some(Arc::new(Signs)),
        ..MemoryOptions::default()
    });
    let hub = hub_with(Arc::new(storage), HubOptions::default());
    let mut client = Client::registered(&hub);
    let bases = [unknown, merged, refused].map(|oid| client.commit(oid, Tid::ZERO, b"base"));
    let newest = [unknown, merged, refused].map(|oid| {
        let at = usize::try_from(oid.number() - 1).unwrap();
        client.commit(oid, bases[at], b"newer")
    });
    let id = client.begin(unknown, bases[0], b"?");
    client.store(merged, bases[1], b"+", &id);
    let conflict = |at: usize, oid| Conflict {
        oid,
        committed: newest[at],
        base: bases[at],
        refusal: None,
    };
    let vote = Request::Vote(id.clone());
    let handed = Reply::Conflicts(vec![conflict(0, unknown)]);
    assert_eq!(client.ask(&vote), Ok(handed));
    client.store(unknown, newest[0], b"merged there", &id);
    assert_eq!(client.ask(&vote), Ok(Reply::Voted(vec![merged])));
    client.ask(&Request::TpcAbort(id)).unwrap();

    let id = client.begin(unknown, bases[0], b"?");
    client.store(refused, bases[2], b"-", &id);
    let refusal = client.ask(&Request::Vote(id.clone())).unwrap_err();
    match refusal.to_commit_error() {
        CommitError::Conflict(found) => assert_eq!(found, [conflict(2, refused)]),
        other => panic!("{other}"),
    }
    assert_eq!(client.ask(&Request::TpcAbort(id)), Ok(Reply::Nothing));
    client.commit(unknown, newest[0], b"the lock is free");
}

/// Whether a vote would be granted now; the lock is as it was afterwards.
fn is_lock_free(hub: &Arc<Hub>) -> bool {
    let mut client = Client::registered(hub);
    let id = client.begin(Oid::new(99), Tid::ZERO, b"probe");
    client.call(&Request::Vote(id));
    let is_granted = !client.jobs.is_empty();
    client.run_jobs();
    is_granted
}

/// Who merges quickly must not be told that its first vote still holds the lock.
#[test]
fn the_lock_is_free_before_a_vote_that_failed_or_an_abort_is_answered() {
    let hub = hub(Encoding::Pickle);
    let base = Client::registered(&hub).commit(OID, Tid::ZERO, b"base");
    Client::registered(&hub).commit(OID, base, b"theirs");
    let watched = Arc::new(AtomicBool::new(false));
    let found = Arc::new(Mutex::new(Vec::new()));
    let wake = {
        let (hub, watched, found) = (hub.clone(), watched.clone(), Arc::clone(&found));
        move || {
            if watched.load(Ordering::SeqCst) {
                found.lock().unwrap().push(is_lock_free(&hub));
            }
        }
    };
    let mut client = Client::connect_with(&hub, wake);
    client.ask(&register(false)).unwrap();
    let deliver = |client: &mut Client| {
        let done = client.jobs.pop_front().expect("work").perform();
        watched.store(true, Ordering::SeqCst);
        assert!(done.deliver().is_none());
        watched.store(false, Ordering::SeqCst);
        std::mem::take(&mut *found.lock().unwrap())
    };
    let id = client.begin(OID, base, b"a conflict");
    let vote = Request::Vote(id.clone());
    client.call(&vote);
    assert_eq!(deliver(&mut client), [true], "a conflict");
    client.hear();

    client.send(&Request::CheckCurrent {
        oid: OID,
        base,
        id: id.clone(),
    });
    client.store(OID, Tid::new(2), b"merged", &id);
    client.call(&vote);
    assert_eq!(deliver(&mut client), [true], "a read conflict");
    client.hear();

    let id = client.begin(OID, Tid::new(2), b"good");
    client.ask(&Request::Vote(id.clone())).unwrap();
    client.call(&Request::TpcAbort(id));
    assert_eq!(deliver(&mut client), [true], "an abort");
}

#[test]
fn a_read_conflict_is_an_error_and_ends_the_transaction() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let base = client.commit(OID, Tid::ZERO, b"one");
    let committed = client.commit(OID, base, b"two");
    let id = client.begin(Oid::new(2), Tid::ZERO, b"depends on one");
    client.send(&Request::CheckCurrent {
        oid: OID,
        base,
        id: id.clone(),
    });
    let refusal = client.ask(&Request::Vote(id.clone())).unwrap_err();
    let expected = Conflict {
        oid: OID,
        committed,
        base,
        refusal: None,
    };
    match refusal.to_commit_error() {
        CommitError::ReadConflict(found) => assert_eq!(found, expected),
        other => panic!("{other}"),
    }
    assert_eq!(client.ask(&Request::TpcAbort(id)), Ok(Reply::Nothing));
    client.commit(OID, committed, b"three");
}

#[test]
fn a_transaction_that_needs_what_is_not_offered_fails_at_its_vote() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let id = client.begin(OID, Tid::ZERO, b"state");
    client.send(&Request::BlobStart);
    assert_eq!(client.error, None, "the connection stays");
    let refusal = client.ask(&Request::Vote(id.clone())).unwrap_err();
    let text = refusal.to_commit_error().to_string();
    assert!(text.contains("does not offer blobs"), "{text}");
    assert_eq!(
        client.ask(&Request::TpcFinish(id.clone())),
        Ok(Reply::Nothing)
    );
    assert_eq!(client.ask(&Request::TpcAbort(id)), Ok(Reply::Nothing));
    assert_eq!(
        client.ask(&Request::LastTransaction),
        Ok(Reply::Tid(Tid::ZERO))
    );
}

#[test]
fn a_transaction_over_the_limit_fails_at_its_vote() {
    let options = HubOptions {
        transaction_bytes_max: 1000,
        ..HubOptions::default()
    };
    let hub = hub_with(memory(), options);
    let mut client = Client::registered(&hub);
    let id = client.begin(OID, Tid::ZERO, &[7; 2000]);
    client.store(Oid::new(2), Tid::ZERO, b"small", &id);
    let refusal = client.ask(&Request::Vote(id)).unwrap_err();
    let text = refusal.to_commit_error().to_string();
    assert!(text.contains("limit of 1000"), "{text}");
    client.commit(OID, Tid::ZERO, b"small enough");
}

#[test]
fn a_second_vote_is_refused_and_does_not_disturb_the_first() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let id = client.begin(OID, Tid::ZERO, b"state");
    let vote = Request::Vote(id.clone());
    assert_eq!(client.ask(&vote), Ok(Reply::Voted(vec![])));
    let refusal = client.ask(&vote).unwrap_err();
    assert!(
        refusal
            .to_commit_error()
            .to_string()
            .contains("Already voting (locked)")
    );
    assert_eq!(
        client.ask(&Request::TpcFinish(id)),
        Ok(Reply::Tid(Tid::new(1)))
    );
}

#[test]
fn the_status_counts_what_happened() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let base = client.commit(OID, Tid::ZERO, b"one");
    client.commit(OID, base, b"two");
    let id = client.begin(OID, base, b"stale");
    assert!(matches!(
        client.ask(&Request::Vote(id.clone())),
        Ok(Reply::Conflicts(_))
    ));
    client.ask(&Request::TpcAbort(id)).unwrap();
    client.begin(OID, base, b"open");
    let Ok(Reply::Other(status)) = client.ask(&Request::ServerStatus) else {
        panic!("no status");
    };
    let counted = |key| status.get(key).and_then(Value::as_int);
    for (key, expected) in [
        ("connections", 1),
        ("stores", 4),
        ("commits", 2),
        ("aborts", 1),
        ("conflicts", 1),
        ("active_txns", 1),
        ("waiting", 0),
    ] {
        assert_eq!(counted(key), Some(expected), "{key}");
    }
    let last = status.get("last-transaction").and_then(Value::as_text);
    assert_eq!(last, Some("0000000000000002"));
}

#[test]
fn a_second_transaction_beside_the_first_costs_the_connection() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let id = client.begin(OID, Tid::ZERO, b"state");
    let again = |id| Request::TpcBegin {
        id,
        meta: TransactionMeta::default(),
        copied: None,
    };
    client.send(&again(id));
    client.hear();
    assert_eq!(client.error, None, "the same once more is nothing");
    client.send(&again(Value::Int(7)));
    client.hear();
    assert!(client.error.is_some());
}

/// A storage with a bug.
struct Panics;

impl Storage for Panics {
    fn name(&self) -> String {
        "panics".to_owned()
    }
    fn last_tid(&self) -> Tid {
        Tid::ZERO
    }
    fn load_before(&self, oid: Oid, _: Tid) -> Result<Option<Revision>, StorageError> {
        Err(StorageError::NotFound { oid })
    }
    fn new_oids(&self, _: usize) -> Result<Vec<Oid>, StorageError> {
        Ok(Vec::new())
    }
    fn begin(self: Arc<Self>, _: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        panic!("a bug in a storage, on purpose")
    }
    fn stats(&self) -> StorageStats {
        StorageStats::default()
    }
    fn changes_since(&self, _: Tid, _: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        Ok(None)
    }
    fn recent_changes(&self, _: usize) -> Result<Vec<Changes>, StorageError> {
        Ok(Vec::new())
    }
}

#[test]
fn a_storage_that_panics_does_not_keep_the_lock() {
    let storages = vec![("1".to_owned(), Arc::new(Panics) as Arc<dyn Storage>)];
    let hub = Hub::new(storages, HubOptions::default()).unwrap();
    for _ in 0..2 {
        let mut client = Client::registered(&hub);
        let id = client.begin(OID, Tid::ZERO, b"state");
        assert!(client.ask(&Request::Vote(id)).is_err());
    }
}
