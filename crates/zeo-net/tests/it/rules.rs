//! The rules that a cache stands on, each of them a corruption once, against a server that says just what
//! the test wants, in the order that it wants.
//!
//! Each has tests that fail when it is broken, which was tried. Where a number alone names one, it is here;
//! `seeds` are those of the simulation in `zeo`.
//!
//! | rule | tests |
//! |---|---|
//! | 1. Replies and invalidations are applied as they came, before anybody who waits is woken. | `rule_1` |
//! | 2. A server lets no reply that calls a revision current come behind its end. | `zeo` loads: `a_load_overtaken_by_a_commit_is_corrected`, `no_stale_reply_follows_a_push_while_commits_race`; seeds |
//! | 3. A reply that was overtaken on its way is not believed to be current. | `rule_3`; `zeo` cache: `a_current_reply_that_crossed_an_invalidation_is_closed` |
//! | 4. The last transaction rises after its invalidations, for whoever looks. | `rule_4`; `zeo` cache: `last_tid_rises_after_all_it_promises`, `last_tid_rises_after_what_others_changed` |
//! | 5. Registration is atomic, and what is pushed while the cache is verified counts. | `rule_5`; `zeo` loads: `who_registers_while_others_commit_misses_none` |
//! | 6. Who cannot be told of an invalidation is disconnected. | `zeo` loads: `a_client_that_does_not_read_is_dropped_rather_than_kept_in_the_dark` |
//! | 7. Of an own commit the cache knows at once, and nothing of one whose outcome is unknown. | `rule_7`, twice; `zeo` cache: `our_own_commit_is_read_back_without_a_load`; seeds |
//! | 8. A server that lacks what was seen leaves nothing in the cache. | `rule_8`, twice; servers, reconnect; seeds |
//! | 9. Servers that do not keep the order, those before ZEO 5, are not spoken to. | `rule_9`; `zeo` refusals: `bad_handshakes_are_refused` |

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use storage::{CommitError, Oid, Record, Revision, Storage, StorageError, Tid, TransactionMeta};
use zeo::{Encoding, FRAME_BYTES_MAX, FrameReader, Value, write_frame};
use zeo_net::{ClientOptions, ZeoStorage};

use crate::world::{self, Doors, PATIENCE, TestServer, any_port, options};

const OID: Oid = Oid::new(1);
const OTHER: Oid = Oid::new(2);

fn tid(number: u64) -> Tid {
    Tid::new(number)
}

/// The server's end of one connection.
struct Script {
    stream: TcpStream,
    frames: FrameReader,
    out: Vec<u8>,
}

/// What the client asked: how to answer, the method, its arguments.
type Asked = (Value<'static>, String, Vec<Value<'static>>);

impl Script {
    /// Takes a connection and shakes hands.
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut script = Self {
            stream,
            frames: FrameReader::new(FRAME_BYTES_MAX),
            out: b"\0\0\0\x02M5".to_vec(),
        };
        script.send();
        assert_eq!(script.frame(), b"M5");
        script
    }

    fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return frame.to_vec();
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the client is gone");
            self.frames.push(&buffer[..length]);
        }
    }

    fn asked(&mut self) -> Asked {
        let frame = self.frame();
        let message = Encoding::Msgpack.decode(&frame).unwrap().into_owned();
        let Some([id, _, name, args]) = message.elements() else {
            panic!("{message:?}");
        };
        let name = name.as_text().unwrap().to_owned();
        (
            id.clone(),
            name,
            args.elements().unwrap_or_default().to_vec(),
        )
    }

    /// Waits for that call; pings are answered, and the parts of a transaction are taken.
    fn expect(&mut self, method: &str) -> Asked {
        loop {
            let asked = self.asked();
            if asked.1 == method {
                return asked;
            }
            match asked.1.as_str() {
                "ping" | "set_client_label" => {
                    self.reply(&asked.0, Value::None);
                    self.send();
                }
                one_way if ONE_WAY.contains(&one_way) => {}
                _ => panic!("{asked:?}"),
            }
        }
    }

    fn say(&mut self, id: Value<'_>, flag: Value<'_>, name: &str, args: Value<'_>) {
        let message = Value::Tuple(vec![id, flag, Value::text(name), args]).into_owned();
        write_frame(&mut self.out, |out| Encoding::Msgpack.encode(&message, out));
    }

    fn reply(&mut self, id: &Value<'static>, value: Value<'_>) {
        self.say(id.clone(), Value::Bool(false), ".reply", value);
    }

    fn refuse(&mut self, id: &Value<'static>, class: &str) {
        let what = vec![Value::text(class), Value::Tuple(vec![Value::text("no")])];
        self.say(id.clone(), Value::Bool(true), ".reply", Value::Tuple(what));
    }

    fn invalidate(&mut self, at: u64, oids: &[Oid]) {
        let args = Value::Tuple(vec![id(at), list(oids)]);
        self.say(
            Value::Int(0),
            Value::Bool(true),
            "invalidateTransaction",
            args,
        );
    }

    fn revision(&mut self, id: &Value<'static>, start: u64, end: Option<u64>) {
        let end = end.map_or(Value::None, self::id);
        let value = vec![Value::bytes(b"state"), self::id(start), end];
        self.reply(id, Value::Tuple(value));
    }

    /// All that was said since goes out at once.
    fn send(&mut self) {
        self.stream.write_all(&self.out).unwrap();
        self.out.clear();
    }

    fn register(&mut self, last: u64) {
        let (register, ..) = self.expect("register");
        self.reply(&register, id(last));
        self.send();
    }

    fn info(&mut self) {
        let (info, ..) = self.expect("get_info");
        let entry = |key, value| (Value::text(key), value);
        let facts = vec![
            entry("length", Value::Int(1)),
            entry("size", Value::Int(1)),
            entry("name", Value::text("script")),
        ];
        self.reply(&info, Value::Map(facts));
        self.send();
    }
}

fn id(number: u64) -> Value<'static> {
    Value::id(number.to_be_bytes())
}

fn list(oids: &[Oid]) -> Value<'static> {
    Value::Tuple(oids.iter().map(|oid| Value::id(oid.to_bytes())).collect())
}

/// A client, and a server that has just answered all that it asked so far.
fn connected() -> (Arc<ZeoStorage>, Script, TcpListener) {
    let listener = TcpListener::bind(any_port()).unwrap();
    let options = options(listener.local_addr().unwrap());
    thread::scope(|scope| {
        let client = scope.spawn(|| ZeoStorage::connect(options).unwrap());
        let mut script = Script::accept(&listener);
        script.register(10);
        script.info();
        (client.join().unwrap(), script, listener)
    })
}

/// What a client says without waiting for an answer.
const ONE_WAY: [&str; 4] = [
    "tpc_begin",
    "storea",
    "checkCurrentSerialInTransaction",
    "tpc_abort",
];

/// A load that has to ask, and is answered with that revision.
fn load(
    client: &ZeoStorage,
    script: &mut Script,
    (oid, before): (Oid, u64),
    start: u64,
    end: Option<u64>,
) -> Revision {
    thread::scope(|scope| {
        let load = scope.spawn(|| client.load_before(oid, tid(before)).unwrap().unwrap());
        let (asked, _, args) = script.expect("loadBefore");
        assert_eq!(args, [Value::id(oid.to_bytes()), id(before)]);
        script.revision(&asked, start, end);
        script.send();
        load.join().unwrap()
    })
}

/// What the cache has of it: nobody is asked, so this must not wait for an answer.
fn cached(client: &ZeoStorage, oid: Oid, before: u64) -> (Tid, Option<Tid>, Vec<u8>) {
    let found = client.load_before(oid, tid(before)).unwrap().unwrap();
    (found.tid, found.next, found.record.to_vec())
}

/// Commits changes of what was loaded as of 8.
fn commit(client: &Arc<ZeoStorage>, stores: &[(Oid, &[u8])]) -> Result<Tid, CommitError> {
    let mut commit = client.clone().begin(TransactionMeta::default())?;
    for (oid, record) in stores {
        commit.store(*oid, tid(8), Record::from(*record))?;
    }
    commit.vote()?.finish(Box::new(|_| {}))
}

#[test]
fn rule_1_what_comes_behind_a_reply_is_applied_behind_it() {
    let (client, mut script, _listener) = connected();
    thread::scope(|scope| {
        let load = scope.spawn(|| client.load_before(OID, Tid::MAX).unwrap().unwrap());
        let (asked, ..) = script.expect("loadBefore");
        script.revision(&asked, 8, None);
        script.invalidate(11, &[OID]);
        script.send();
        assert_eq!(load.join().unwrap().tid, tid(8));
        // The ping's answer comes behind both.
        let ping = scope.spawn(|| client.ping().unwrap());
        let (asked, ..) = script.asked();
        script.reply(&asked, Value::None);
        script.send();
        ping.join().unwrap();
        assert_eq!(client.last_tid(), tid(11));
        let old = client.load_before(OID, tid(11)).unwrap().unwrap();
        assert_eq!((old.tid, old.next), (tid(8), Some(tid(11))));
        // What is current now the server has to say.
        let load = scope.spawn(|| client.load_before(OID, tid(12)).unwrap().unwrap());
        let (asked, ..) = script.expect("loadBefore");
        script.revision(&asked, 11, None);
        script.send();
        assert_eq!(load.join().unwrap().tid, tid(11));
    });
}

#[test]
fn rule_3_a_reply_that_was_overtaken_is_not_current() {
    let (client, mut script, _listener) = connected();
    thread::scope(|scope| {
        let load = scope.spawn(|| client.load_before(OID, Tid::MAX).unwrap().unwrap());
        let (asked, ..) = script.expect("loadBefore");
        script.invalidate(11, &[OTHER, OID]);
        script.revision(&asked, 8, None);
        script.send();
        let loaded = load.join().unwrap();
        assert_eq!((loaded.tid, loaded.next), (tid(8), Some(tid(11))));
        let load = scope.spawn(|| client.load_before(OID, tid(12)).unwrap().unwrap());
        let (asked, ..) = script.expect("loadBefore");
        script.revision(&asked, 11, None);
        script.send();
        assert_eq!(load.join().unwrap().tid, tid(11));
    });
}

#[test]
fn rule_4_whoever_hears_of_a_transaction_finds_its_changes() {
    let (client, mut script, _listener) = connected();
    load(&client, &mut script, (OID, 11), 8, None);
    const LAST: u64 = 3_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            for at in 11..=LAST {
                script.invalidate(at, &[OID]);
                script.send();
            }
        });
        let mut seen = tid(10);
        while seen < tid(LAST) {
            let last = client.last_tid();
            let changes = client.changes_since(seen, usize::MAX).unwrap().unwrap();
            let told = changes.iter().filter(|changes| changes.tid <= last);
            let expected = last.number() - seen.number();
            assert_eq!(told.count() as u64, expected, "from {seen} to {last}");
            seen = last;
        }
    });
}

#[test]
fn rule_5_what_is_pushed_during_verification_counts() {
    let (client, mut script, listener) = connected();
    for oid in [OID, OTHER] {
        thread::scope(|scope| {
            let load = scope.spawn(|| client.load_before(oid, Tid::MAX).unwrap());
            let (asked, ..) = script.expect("loadBefore");
            script.revision(&asked, 8, None);
            script.send();
            load.join().unwrap();
        });
    }
    drop(script);
    thread::scope(|scope| {
        // Something that waits for the new connection.
        let ping = scope.spawn(|| client.ping().unwrap());
        let mut script = Script::accept(&listener);
        script.register(11);
        let (asked, ..) = script.expect("loadBefore");
        script.revision(&asked, 8, None);
        script.send();
        let (asked, _, args) = script.expect("getInvalidations");
        assert_eq!(args, [id(10)]);
        script.invalidate(12, &[OID]);
        script.reply(&asked, Value::Tuple(vec![id(11), list(&[OTHER])]));
        script.send();
        script.info();
        let (asked, ..) = script.asked();
        script.reply(&asked, Value::None);
        script.send();
        ping.join().unwrap();
        assert_eq!(client.last_tid(), tid(12));
        assert_eq!(client.status().verified, 1);
        for oid in [OID, OTHER] {
            let load = scope.spawn(move || oid);
            let oid = load.join().unwrap();
            let load = scope.spawn({
                let client = client.clone();
                move || client.load_before(oid, tid(13)).unwrap().unwrap()
            });
            let (asked, ..) = script.expect("loadBefore");
            script.revision(&asked, 12, None);
            script.send();
            assert_eq!(load.join().unwrap().tid, tid(12));
        }
    });
}

#[test]
fn rule_7_an_own_commit_is_known_at_once() {
    let (client, mut script, _listener) = connected();
    for oid in [OID, OTHER] {
        load(&client, &mut script, (oid, 11), 8, None);
    }
    thread::scope(|scope| {
        let done = scope.spawn(|| commit(&client, &[(OID, b"mine"), (OTHER, b"merged")]));
        let (vote, ..) = script.expect("vote");
        script.reply(&vote, list(&[OTHER]));
        script.send();
        let (finish, ..) = script.expect("tpc_finish");
        script.reply(&finish, id(11));
        script.send();
        assert_eq!(done.join().unwrap().unwrap(), tid(11));
    });
    assert_eq!(client.last_tid(), tid(11));
    let old = (tid(8), Some(tid(11)), b"state".to_vec());
    assert_eq!(cached(&client, OID, 11), old);
    assert_eq!(cached(&client, OTHER, 11), old);
    assert_eq!(cached(&client, OID, 12), (tid(11), None, b"mine".to_vec()));
    // What the server made of the other one it has to say.
    assert_eq!(
        load(&client, &mut script, (OTHER, 12), 11, None).tid,
        tid(11)
    );
}

#[test]
fn rule_7_after_a_finish_that_failed_the_cache_is_verified() {
    let (client, mut script, listener) = connected();
    load(&client, &mut script, (OID, 11), 8, None);
    let mut script = thread::scope(|scope| {
        let done = scope.spawn(|| commit(&client, &[(OID, b"mine")]));
        let (vote, ..) = script.expect("vote");
        script.reply(&vote, Value::None);
        script.send();
        let (finish, ..) = script.expect("tpc_finish");
        script.refuse(&finish, "builtins.OSError");
        script.send();
        // The client gives the connection up, and asks over the next one what became of it.
        let mut script = Script::accept(&listener);
        script.register(11);
        let (asked, ..) = script.expect("loadBefore");
        script.revision(&asked, 8, Some(11));
        script.send();
        let (asked, _, args) = script.expect("getInvalidations");
        assert_eq!(args, [id(10)]);
        script.reply(&asked, Value::Tuple(vec![id(11), list(&[OID])]));
        script.send();
        script.info();
        let (vote, ..) = script.expect("vote");
        script.refuse(&vote, "builtins.OSError");
        script.send();
        let outcome = done.join().unwrap();
        assert!(matches!(outcome, Err(CommitError::Unknown)), "{outcome:?}");
        script
    });
    assert_eq!(client.last_tid(), tid(11));
    script.expect("tpc_abort");
    assert_eq!(load(&client, &mut script, (OID, 12), 11, None).tid, tid(11));
}

/// The connection is lost; what the client then believes of a server with that last transaction, which
/// says that the revision of 8 is this one.
fn comes_back(server_tid: u64, newest: Option<u64>) {
    let (client, mut script, listener) = connected();
    load(&client, &mut script, (OID, 11), 8, None);
    drop(script);
    let mut script = thread::scope(|scope| {
        let ping = scope.spawn(|| client.ping().unwrap());
        let mut script = Script::accept(&listener);
        script.register(server_tid);
        if let Some(newest) = newest {
            let (asked, ..) = script.expect("loadBefore");
            script.revision(&asked, newest, None);
            script.send();
        }
        script.info();
        let (asked, ..) = script.asked();
        script.reply(&asked, Value::None);
        script.send();
        ping.join().unwrap();
        script
    });
    assert_eq!(client.last_tid(), tid(server_tid));
    let status = client.status();
    assert_eq!((status.went_back, status.verified), (1, 0));
    let found = status.last_loss.map(|loss| (loss.seen, loss.found));
    assert_eq!(found, Some((tid(10), tid(server_tid))));
    let before = server_tid + 1;
    let seen = load(&client, &mut script, (OID, before), 7, None);
    assert_eq!(seen.tid, tid(7));
}

#[test]
fn rule_8_a_server_that_is_behind_what_was_seen_leaves_nothing() {
    comes_back(9, None);
}

#[test]
fn rule_8_a_server_with_another_history_leaves_nothing() {
    comes_back(20, Some(7));
}

#[test]
fn rule_9_servers_before_zeo_5_are_not_spoken_to() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let options = ClientOptions {
        wait: Duration::from_millis(300),
        ..options(listener.local_addr().unwrap())
    };
    thread::scope(|scope| {
        let client = scope.spawn(|| ZeoStorage::connect(options));
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"\0\0\0\x02Z4").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(
            stream.read(&mut [0; 16]).unwrap_or_default(),
            0,
            "nothing is said"
        );
        let refused = client.join().unwrap().err();
        assert!(matches!(refused, Some(StorageError::Disconnected { .. })));
    });
}

#[test]
fn what_is_fetched_in_advance_is_asked_for_once() {
    const OBJECTS: u64 = 300;
    let storage = Arc::new(Doors::default());
    let oids: Vec<_> = (1..=OBJECTS).map(Oid::new).collect();
    for oid in &oids {
        world::commit(&storage.memory, *oid, Tid::ZERO, b"state").unwrap();
    }
    let server = TestServer::start(storage.clone());
    let client = server.client();
    let before = client.last_tid().next();
    client.prefetch(&oids, before);
    client.prefetch(&oids, before);
    for oid in &oids {
        client.load_before(*oid, before).unwrap().unwrap();
    }
    assert_eq!(storage.loads.passed(), oids.len());
    // It is a hint: nothing fails.
    client.prefetch(&[Oid::new(9999)], before);
    client.close();
    client.prefetch(&[Oid::new(9998)], before);
}
