//! What a hub tells of itself, by a clock that the test moves.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use storage::{
    ConflictingStates, MemoryOptions, MemoryStorage, Oid, Resolution, Resolver, Spans, Tid,
};
use zeo::{Hub, HubOptions, Reply, Request, StorageFigures, Value};

use crate::pair::{Client, epoch, hub_with, register};

static EPOCH: LazyLock<Instant> = LazyLock::new(epoch);

thread_local! {
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn clock() -> Instant {
    *EPOCH + PASSED.get()
}

fn wait(seconds: u64) {
    PASSED.set(PASSED.get() + Duration::from_secs(seconds));
}

/// The new state wins, unless it says that it must not.
struct NewWins;

impl Resolver for NewWins {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        match &**states.new {
            b"stubborn" => Resolution::Refused("it says so"),
            b"foreign" => Resolution::Unknown,
            _ => Resolution::Merged(states.new.clone()),
        }
    }
}

fn timed_hub() -> Arc<Hub> {
    let options = MemoryOptions {
        resolver: Some(Arc::new(NewWins)),
        ..MemoryOptions::default()
    };
    let hub_options = HubOptions {
        clock: Some(clock),
        started: Duration::from_secs(1_000_000),
        ..HubOptions::default()
    };
    hub_with(Arc::new(MemoryStorage::with(options)), hub_options)
}

fn figures(hub: &Hub) -> StorageFigures {
    hub.figures().storages.remove(0)
}

fn seconds(spans: &Spans) -> (u64, u64) {
    (spans.count(), spans.nanoseconds / 1_000_000_000)
}

fn status(client: &mut Client, key: &str) -> Value<'static> {
    let answer = client.ask(&Request::ServerStatus).unwrap();
    let Reply::Other(Value::Map(pairs)) = answer else {
        panic!("{answer:?}");
    };
    let found = pairs
        .into_iter()
        .find(|(name, _)| *name == Value::text(key));
    found.expect(key).1
}

#[test]
fn votes_tell_how_long_they_waited_and_turns_how_long_they_last() {
    let hub = timed_hub();
    let (mut first, mut second) = (Client::registered(&hub), Client::registered(&hub));
    assert_eq!(status(&mut first, "lock_time"), Value::None);
    wait(5);
    let id = first.begin(Oid::new(1), Tid::ZERO, b"first");
    first.ask(&Request::Vote(id.clone())).unwrap();
    wait(3);
    let other = second.begin(Oid::new(2), Tid::ZERO, b"second");
    let vote = second.call(&Request::Vote(other.clone()));
    second.settle();
    wait(4);
    let now = figures(&hub);
    assert_eq!((now.active, now.waiting), (2, 1));
    assert_eq!(now.held, Some(Duration::from_secs(7)));
    // As Python's time.time() at the moment of the lock.
    assert_eq!(status(&mut second, "lock_time"), Value::Float(1_000_005.0));
    first.ask(&Request::TpcFinish(id)).unwrap();
    second.settle();
    assert_eq!(second.answer(vote), Some(Ok(Reply::Voted(vec![]))));
    let now = figures(&hub);
    assert_eq!(seconds(&now.lock_waits), (2, 4));
    assert_eq!(seconds(&now.turns), (1, 7));
    assert_eq!(now.held, Some(Duration::ZERO));
    let votes = now.methods.iter().find(|calls| calls.method == "vote");
    assert_eq!(seconds(&votes.unwrap().spans), (2, 4));
    drop(second);
    let now = figures(&hub);
    assert_eq!((now.commits, now.aborts, now.active), (1, 1, 0));
    assert_eq!(now.invalidations, 1);
}

#[test]
fn conflicts_are_counted_by_what_becomes_of_them() {
    let hub = timed_hub();
    let mut client = Client::registered(&hub);
    let (oid, base) = (Oid::new(1), client.commit(Oid::new(1), Tid::ZERO, b"base"));
    client.commit(oid, base, b"later");
    let id = client.begin(oid, base, b"mine");
    assert_eq!(
        client.ask(&Request::Vote(id.clone())),
        Ok(Reply::Voted(vec![oid]))
    );
    client.ask(&Request::TpcFinish(id)).unwrap();
    let id = client.begin(oid, base, b"stubborn");
    client.ask(&Request::Vote(id)).unwrap_err();
    let id = client.begin(oid, base, b"foreign");
    let answer = client.ask(&Request::Vote(id)).unwrap();
    assert!(matches!(answer, Reply::Conflicts(_)), "{answer:?}");
    let now = figures(&hub);
    assert_eq!((now.conflicts, now.resolved, now.commits), (2, 1, 3));
    assert_eq!(status(&mut client, "conflicts_resolved"), Value::Int(1));
    let votes = now.methods.iter().find(|calls| calls.method == "vote");
    assert_eq!(votes.unwrap().refused, 1);
}

#[test]
fn clients_are_told_apart_and_their_traffic_stays_counted() {
    let hub = timed_hub();
    let mut client = Client::connect(&hub);
    let stranger = hub.figures().clients.remove(0);
    assert_eq!((stranger.storage, stranger.calls), (None, 0));
    client.ask(&register(true)).unwrap();
    let label = Request::SetClientLabel("kitchen".to_owned());
    client.ask(&label).unwrap();
    wait(9);
    let load = Request::LoadBefore {
        oid: Oid::new(7),
        before: Tid::MAX,
    };
    client.ask(&load).unwrap_err();
    client.connection.sent(1_000);
    let guest = hub.figures().clients.remove(0);
    assert_eq!(guest.label.as_deref(), Some("kitchen"));
    assert_eq!(guest.storage.as_deref(), Some("1"));
    assert_eq!((guest.calls, guest.sent), (3, 1_000));
    assert_eq!(guest.age, Duration::from_secs(9));
    let before = hub.figures().traffic;
    assert_eq!(before.received, guest.received);
    drop(client);
    let after = hub.figures();
    assert!(after.clients.is_empty());
    assert_eq!(after.traffic, before);
    assert_eq!(after.connections.map(|(_, count)| count), [1, 0]);
    let loads = figures(&hub);
    let loads = loads
        .methods
        .iter()
        .find(|calls| calls.method == "loadBefore");
    let loads = loads.unwrap();
    assert_eq!((loads.spans.count(), loads.refused), (1, 1));
}
