//! One storage as the hub serves it: who is registered, what was published, who commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use storage::{Changes, Histogram, Oid, Storage, StorageError, StorageStats, Tid};

use super::calls::{Calls, Part};
use super::claims::Claim;
use super::desk::{Aborted, Turns, Vote};
use super::outbox::{Outbox, ReplyTo};
use super::pack::Packs;
use super::transaction::{Ended, TransactionKey};
use crate::message::write_one_way;
use crate::queue::InvalidationQueue;
use crate::{Encoding, Value};

/// A storage and everybody who uses it.
pub(super) struct Served {
    pub(super) name: String,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) counters: Counters,
    pub(super) calls: Calls,
    /// How long jobs that may take long waited for a thread.
    pub(super) queue_waits: Histogram,
    pub(super) packs: Packs,
    clock: Option<fn() -> Instant>,
    /// The newest transaction whose invalidations are in every outbox. It rises, with the desk
    /// locked, *before* they are put there: whoever sees it unchanged while holding an outbox
    /// knows that no newer invalidation is in that outbox.
    head: AtomicU64,
    desk: Mutex<Desk>,
    /// Never locked together with the desk: to claim many objects takes its time.
    turns: Mutex<Turns>,
    votes_side_by_side: bool,
    /// Set when the server stops.
    pub(super) stop_packs: Arc<AtomicBool>,
}

/// What changes under the lock.
pub(super) struct Desk {
    pub(super) queue: InvalidationQueue,
    members: BTreeMap<u64, Member>,
    /// How many transactions are published and not settled.
    unsettled: usize,
    /// Who is to be woken for what these said.
    news: Vec<Arc<Outbox>>,
}

/// A registered connection.
struct Member {
    outbox: Arc<Outbox>,
    encoding: Encoding,
}

/// Counts for `server_status` and for those who watch.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) loads: AtomicU64,
    pub(super) stores: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) aborts: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) active_transactions: AtomicU64,
    pub(super) timeouts: AtomicU64,
    /// Objects whose conflicts were merged.
    pub(super) resolved: AtomicU64,
    pub(super) invalidations: AtomicU64,
    pub(super) invalidated: AtomicU64,
    pub(super) verified_from_queue: AtomicU64,
    pub(super) verified_from_storage: AtomicU64,
    pub(super) not_verified: AtomicU64,
}

/// How many transactions of before its start a server looks at: clients cannot be served before. Whoever
/// was away for longer has the storage asked.
const FIRST_TRANSACTIONS: usize = 100;

/// Counts one up.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Served {
    pub(super) fn new(
        name: String,
        storage: Arc<dyn Storage>,
        transactions_max: usize,
        clock: Option<fn() -> Instant>,
    ) -> Result<Self, StorageError> {
        let recent = storage.recent_changes(transactions_max.min(FIRST_TRANSACTIONS))?;
        let head = storage.last_tid();
        Ok(Self {
            name,
            counters: Counters::default(),
            calls: Calls::default(),
            queue_waits: Histogram::default(),
            packs: Packs::default(),
            clock,
            head: AtomicU64::new(head.number()),
            desk: Mutex::new(Desk {
                queue: InvalidationQueue::new(recent, head, transactions_max),
                members: BTreeMap::new(),
                unsettled: 0,
                news: Vec::new(),
            }),
            turns: Mutex::new(Turns::with_clock(clock)),
            votes_side_by_side: storage.votes_side_by_side(),
            storage,
            stop_packs: Arc::default(),
        })
    }

    pub(super) fn now(&self) -> Option<Instant> {
        self.clock.map(|clock| clock())
    }

    pub(super) fn head(&self) -> Tid {
        Tid::new(self.head.load(Ordering::SeqCst))
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock()
    }

    pub(super) fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock()
    }

    /// Asks for a turn to commit; see [`Turns::request`].
    pub(super) fn request_turn(&self, vote: Vote) -> Option<Vote> {
        let claim = if self.votes_side_by_side {
            vote.log.claim()
        } else {
            Claim::Everything
        };
        self.turns().request(vote, claim)
    }

    /// Ends a turn to commit.
    pub(super) fn end_turn(&self, key: TransactionKey) {
        let granted = self.turns().release(key);
        granted.wake();
    }

    /// Gives a transaction up, wherever it stands.
    pub(super) fn abort(&self, key: TransactionKey) -> Aborted {
        self.turns().abort(key)
    }

    /// Adds a connection and answers with the newest transaction, in one step: what is published
    /// later is pushed to it, after this reply.
    pub(super) fn register(&self, connection: u64, to: &ReplyTo) {
        let mut desk = self.desk.lock();
        desk.members.insert(
            connection,
            Member {
                outbox: to.outbox.clone(),
                encoding: to.encoding,
            },
        );
        to.reply(Value::id(self.head().to_bytes()));
    }

    pub(super) fn unregister(&self, connection: u64) {
        self.desk.lock().members.remove(&connection);
    }

    pub(super) fn connections(&self) -> usize {
        self.desk.lock().members.len()
    }

    /// Tells everybody how large the storage is now.
    pub(super) fn tell_size(&self) {
        let info = size_info(self.storage.stats());
        let desk = self.desk.lock();
        for member in desk.members.values() {
            let args = Value::Tuple(vec![info.clone()]);
            member
                .outbox
                .append(|out| write_one_way(member.encoding, "info", args, out));
        }
    }

    /// Marks a transaction as ended, once.
    pub(super) fn end(&self, ended: &Ended) {
        if ended.set() {
            self.counters
                .active_transactions
                .fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Tells everybody of a finished transaction: the others what became invalid, the committer
    /// its id. Called by the storage in the order of
    /// transactions.
    ///
    /// The others come first: who hears of the commit from the committer and then asks the server
    /// (`ping`) finds the invalidation before the answer.
    ///
    /// Nobody is woken before the transaction is [settled](Self::settled): others that reached the
    /// disk together with it are published first.
    pub(super) fn publish(
        &self,
        tid: Tid,
        oids: Vec<Oid>,
        committer: u64,
        to: &ReplyTo,
        ended: &Ended,
    ) {
        let info = size_info(self.storage.stats());
        let mut guard = self.desk.lock();
        let desk = &mut *guard;
        desk.unsettled += 1;
        self.head.store(tid.number(), Ordering::SeqCst);
        let mut frames = InvalidationFrames::new(tid, &oids);
        let mut others = 0;
        for (id, member) in &desk.members {
            if *id != committer {
                let frame = frames.of(member.encoding);
                let outbox = &member.outbox;
                if outbox.append_quietly(|out| out.extend_from_slice(frame)) {
                    desk.news.push(outbox.clone());
                }
                others += 1;
            }
        }
        let counters = &self.counters;
        counters.invalidations.fetch_add(others, Ordering::Relaxed);
        let objects = oids.len() as u64;
        counters.invalidated.fetch_add(objects, Ordering::Relaxed);
        desk.queue.push(Changes { tid, oids });
        count(&self.counters.commits);
        self.end(ended);
        let mut bytes = 0;
        to.outbox.append_quietly(|out| {
            write_one_way(to.encoding, "info", Value::Tuple(vec![info]), out);
            bytes = to.write(Value::id(tid.to_bytes()), out);
        });
        // In any case: the end of its turn is what a connection may wait for that is told to stop.
        desk.news.push(to.outbox.clone());
        drop(guard);
        to.watch.end(Part::Sync, bytes);
    }

    /// A published transaction is settled. With the last of them everybody is woken who has news.
    pub(super) fn settled(&self) {
        let mut desk = self.desk.lock();
        // One whose publishing failed was not counted.
        desk.unsettled = desk.unsettled.saturating_sub(1);
        if desk.unsettled > 0 {
            return;
        }
        let news = std::mem::take(&mut desk.news);
        drop(desk);
        news.iter().for_each(|outbox| outbox.wake());
    }
}

/// The push of one transaction, encoded at most once for each encoding.
struct InvalidationFrames<'a> {
    tid: Tid,
    oids: &'a [Oid],
    pickle: Option<Vec<u8>>,
    msgpack: Option<Vec<u8>>,
}

impl<'a> InvalidationFrames<'a> {
    fn new(tid: Tid, oids: &'a [Oid]) -> Self {
        Self {
            tid,
            oids,
            pickle: None,
            msgpack: None,
        }
    }

    fn of(&mut self, encoding: Encoding) -> &[u8] {
        let frame = match encoding {
            Encoding::Pickle => &mut self.pickle,
            Encoding::Msgpack => &mut self.msgpack,
        };
        frame.get_or_insert_with(|| {
            let args = Value::Tuple(vec![Value::id(self.tid.to_bytes()), oid_list(self.oids)]);
            let mut out = Vec::new();
            write_one_way(encoding, "invalidateTransaction", args, &mut out);
            out
        })
    }
}

/// Object ids as a list.
pub(super) fn oid_list(oids: &[Oid]) -> Value<'static> {
    Value::List(oids.iter().map(|oid| Value::id(oid.to_bytes())).collect())
}

fn size_info(stats: StorageStats) -> Value<'static> {
    Value::Map(vec![
        (Value::text("length"), number(stats.objects)),
        (Value::text("size"), number(stats.bytes)),
    ])
}

/// What `get_info` answers. The interfaces make a Python client offer what the storage can do; a
/// plain `IStorage` promises loads and commits, no more.
pub(super) fn get_info(storage: &dyn Storage, may_undo: bool) -> Value<'static> {
    let stats = storage.stats();
    let interface = |module, name| Value::Tuple(vec![Value::text(module), Value::text(name)]);
    let iterates = storage.iterate().is_some();
    let undoes = storage.undo().is_some();
    let has_blobs = storage.blobs().is_some();
    // In the order in which the original's FileStorage has them. What can undo can also restore, and
    // delete single objects.
    let interfaces = [
        (
            "ZODB.interfaces",
            "IBlobStorageRestoreable",
            has_blobs && undoes,
        ),
        ("ZODB.interfaces", "IBlobStorage", has_blobs),
        ("ZODB.interfaces", "IStorageRestoreable", undoes),
        ("ZODB.interfaces", "IStorageIteration", iterates),
        ("ZODB.interfaces", "IStorageUndoable", undoes && may_undo),
        (
            "ZODB.interfaces",
            "IStorageCurrentRecordIteration",
            iterates,
        ),
        ("ZODB.interfaces", "IExternalGC", undoes),
        ("ZODB.interfaces", "IStorage", true),
        ("zope.interface", "Interface", true),
    ];
    let offered = interfaces
        .into_iter()
        .filter(|(.., is_offered)| *is_offered);
    let interfaces = offered.map(|(module, name, _)| interface(module, name));
    Value::Map(vec![
        (Value::text("length"), number(stats.objects)),
        (Value::text("size"), number(stats.bytes)),
        (Value::text("name"), Value::Text(storage.name().into())),
        (Value::text("supportsUndo"), Value::Bool(undoes && may_undo)),
        (
            Value::text("supports_record_iternext"),
            Value::Bool(iterates),
        ),
        (
            Value::text("interfaces"),
            Value::Tuple(interfaces.collect()),
        ),
    ])
}

/// A count as the wire has it.
pub(super) fn number(value: u64) -> Value<'static> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use storage::MemoryStorage;

    use super::super::caller::Caller;
    use super::super::calls::{Method, Watch};
    use super::super::outbox::Notice;
    use super::super::slow::SlowLog;
    use super::*;

    /// Somebody who asks for something, and how often it is woken.
    fn client() -> (ReplyTo, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let woken = wakes.clone();
        let wake = Box::new(move |notice| {
            let is_now = usize::from(notice == Notice::Now);
            woken.fetch_add(is_now, Ordering::Relaxed);
        });
        let outbox = Arc::new(Outbox::new(1 << 20, wake));
        let slow = Arc::new(SlowLog::new(None));
        let caller = Caller::new(1, "test".to_owned(), outbox.clone(), None, slow);
        let method = "tpc_finish";
        let to = ReplyTo {
            outbox,
            encoding: Encoding::Msgpack,
            id: Some(Value::Int(1)),
            method: method.to_owned(),
            watch: Watch::begin(Arc::new(caller), Method::named(method), 0),
        };
        (to, wakes)
    }

    #[test]
    fn who_hears_of_several_transactions_is_woken_once() {
        let storage = Arc::new(MemoryStorage::new());
        let served = Served::new("1".to_owned(), storage, 10, None).unwrap();
        let clients = [1, 2, 3].map(|connection| {
            let (to, wakes) = client();
            served.register(connection, &to);
            to.outbox.take(&mut Vec::new()).unwrap();
            (to, wakes)
        });
        let woken = || {
            clients
                .each_ref()
                .map(|(_, wakes)| wakes.load(Ordering::Relaxed))
        };
        let before = woken();
        for (tid, committer) in [(8, 1), (9, 2)] {
            let to = &clients[committer - 1].0;
            let committer = committer as u64;
            served.publish(
                Tid::new(tid),
                vec![Oid::ROOT],
                committer,
                to,
                &Ended::default(),
            );
        }
        assert_eq!(served.head(), Tid::new(9));
        served.settled();
        assert_eq!(woken(), before, "the second is not settled");
        served.settled();
        let news = woken().map(|woken| woken - before[0]);
        assert_eq!(news[2], 1, "who only listens");
        assert!(news[0] > 0 && news[1] > 0, "{news:?}");
        for (to, _) in &clients {
            let mut out = Vec::new();
            assert!(to.outbox.take(&mut out).unwrap());
        }
        served.settled();
        assert_eq!(woken().map(|woken| woken - before[0]), news, "nothing new");
    }
}
