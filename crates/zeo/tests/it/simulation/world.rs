//! Clients, hub, storage, disk and clock under one seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use filestorage::{FileStorage, Options};
use sim::{Fault, SimDisk};
use storage::{MemoryOptions, MemoryStorage, Oid, Storage, Tid};
use zeo::{Encoding, Hub, HubOptions, Job};

use super::client::{Client, Stage, Witnesses};
use super::history::{Finishes, History, Witnessed};
use super::line::{Doing, Ether, Line};
use crate::pair::epoch;

const OBJECTS: u64 = 6;
/// What the clients do until then; after it everything comes to rest.
const STEPS: usize = 5_000;
const REST_ROUNDS: usize = 200;

pub(super) struct World {
    random: fastrand::Rng,
    kind: Kind,
    /// Where transaction ids come from.
    clock: Arc<AtomicU64>,
    storage: Option<Arc<dyn Storage>>,
    options: HubOptions,
    hub: Option<Arc<Hub>>,
    ether: Arc<Ether>,
    finishes: Arc<Finishes>,
    witnesses: Witnesses,
    clients: Vec<Client>,
    /// What connections that are gone have left to do.
    orphans: Vec<Doing>,
    now: Instant,
    written: i32,
}

enum Kind {
    /// In memory: what is lost is what another server that takes over has not copied.
    Memory,
    File(SimDisk),
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let kind = if random.bool() {
            Kind::Memory
        } else {
            Kind::File(SimDisk::new())
        };
        let options = HubOptions {
            encoding: [Encoding::Pickle, Encoding::Msgpack][random.usize(..2)],
            invalidations_max: [1, 4, 10_000][random.usize(..3)],
            invalidation_age: [None, Some(Duration::from_secs(2))][random.usize(..2)],
            output_bytes_max: [4_000, 64 << 20][random.usize(..2)],
            ..HubOptions::default()
        };
        let history = Arc::new(History::default());
        let ether = Ether::new(random.u8(..4) > 0, history.clone());
        let clients = random.usize(2..6);
        let mut world = Self {
            finishes: Arc::new(Finishes::new(random.u64(..))),
            witnesses: Witnesses::new(history, ether.is_eager),
            clients: std::iter::repeat_with(Client::new).take(clients).collect(),
            random,
            kind,
            clock: Arc::new(AtomicU64::new(1)),
            storage: None,
            options,
            hub: None,
            ether,
            orphans: Vec::new(),
            now: epoch(),
            written: 0,
        };
        world.open();
        world
    }

    /// Lives through it all; what is broken comes back.
    pub(super) fn run(mut self) -> Result<BTreeMap<&'static str, usize>, String> {
        for step in 0..STEPS {
            self.step();
            if let Some(fault) = self.witnesses.history.first_fault() {
                return Err(format!("step {step}: {fault}"));
            }
        }
        self.rest();
        match self.witnesses.history.first_fault() {
            Some(fault) => Err(format!("at the end: {fault}")),
            None => Ok(self.witnesses.seen),
        }
    }

    fn open(&mut self) {
        let storage: Arc<dyn Storage> = match (&self.kind, self.storage.take()) {
            (Kind::Memory, Some(storage)) => storage,
            (Kind::Memory, None) => Arc::new(self.memory()),
            (Kind::File(disk), _) => {
                let options = Options {
                    disk: Arc::new(disk.clone()),
                    clock: self.ticking(),
                    background: Arc::new(|work| work()),
                    pack_gc: false,
                    pack_keep_old: false,
                    ..Options::default()
                };
                FileStorage::open(Path::new("/db/Data.fs"), options).unwrap()
            }
        };
        let history = self.witnesses.history.clone();
        history.reopen(&*storage);
        self.storage = Some(storage.clone());
        let witnessed = Witnessed {
            inner: storage,
            history,
            finishes: self.finishes.clone(),
        };
        let storages = vec![("1".to_owned(), Arc::new(witnessed) as _)];
        let hub = Hub::new(storages, self.options.clone()).unwrap();
        self.ether.probe(Some(&hub));
        self.hub = Some(hub);
    }

    fn memory(&self) -> MemoryStorage {
        MemoryStorage::with(MemoryOptions {
            clock: Some(self.ticking()),
            ..MemoryOptions::default()
        })
    }

    fn ticking(&self) -> Arc<dyn Fn() -> Duration + Send + Sync> {
        let clock = self.clock.clone();
        Arc::new(move || Duration::from_secs(1_700_000_000 + clock.fetch_add(1, Ordering::Relaxed)))
    }

    fn step(&mut self) {
        let chosen = self.random.usize(..self.clients.len());
        match self.random.u16(..1_000) {
            0..300 => self.act(chosen),
            300..500 => self.serve(chosen),
            500..680 => self.work(chosen),
            680..930 => self.hear(chosen),
            930..980 => _ = self.finishes.run_one(),
            980..995 => self.work_of_orphans(),
            995..998 => self.tick(),
            _ if self.random.u8(..4) > 0 => self.cut(chosen),
            _ if self.random.u8(..4) == 0 => self.restart(),
            _ => {}
        }
    }

    /// One client does something that a client may do now.
    fn act(&mut self, chosen: usize) {
        let client = &mut self.clients[chosen];
        if client.line.is_none() {
            let hub = self.hub.as_ref().expect("the server runs");
            client.connect(Line::new(hub, &self.ether));
            return;
        }
        if !client.is_ready {
            return;
        }
        let (random, witnesses) = (&mut self.random, &mut self.witnesses);
        let oid = Oid::new(random.u64(..OBJECTS));
        match random.u8(..20) {
            0..5 => client.load(oid, None, witnesses),
            5 => {
                let old = witnesses.history.recent(random.usize(..10));
                // Nobody takes a snapshot of what it has not heard of, or of what a pack took away.
                if old >= witnesses.packed && old <= client.last_tid() {
                    client.load(oid, Some(old.next()), witnesses);
                }
            }
            8 => client.ping(witnesses),
            9 => client.ask_last_transaction(witnesses),
            10 => client.ask_changes(witnesses.history.recent(random.usize(..10))),
            11 => client.ask_undo_log(),
            12 if random.u8(..8) == 0 => self.pack(chosen),
            _ => Self::commit(client, random, &mut self.written),
        }
        self.clients[chosen].transmit();
    }

    fn commit(client: &mut Client, random: &mut fastrand::Rng, written: &mut i32) {
        let stage = client.open.as_ref().map(|open| open.stage);
        match stage {
            None => {
                let oids: Vec<_> = (0..OBJECTS).filter(|_| random.u8(..3) == 0).collect();
                let oids: Vec<_> = oids.into_iter().map(Oid::new).collect();
                client.begin(random, &oids, written);
            }
            Some(Stage::Filling) => client.vote(),
            Some(Stage::Voting | Stage::Voted) if random.u8(..40) == 0 => client.abort(),
            Some(Stage::Voted) => client.finish(),
            Some(_) => {}
        }
    }

    /// Everybody still sees what the snapshots need that they may take. And the last transaction
    /// stays: a pack that takes it away, as it left nothing, makes it unknown after the next start.
    fn pack(&mut self, chosen: usize) {
        let connected = self.clients.iter().map(Client::last_tid);
        let to = connected.min().unwrap_or(Tid::ZERO);
        let is_useful = to > Tid::ZERO && to < self.witnesses.history.last();
        if is_useful && matches!(self.kind, Kind::File(_)) {
            self.witnesses.packed = self.witnesses.packed.max(to);
            self.clients[chosen].pack(to);
        }
    }

    fn serve(&mut self, chosen: usize) {
        let Some(line) = &mut self.clients[chosen].line else {
            return;
        };
        match line.serve(&mut self.random) {
            Ok(finishes) => self.finishes.waiting.lock().unwrap().extend(finishes),
            Err(()) => {
                self.witnesses.count("given up");
                self.cut(chosen);
            }
        }
    }

    fn work(&mut self, chosen: usize) {
        let Some(line) = &mut self.clients[chosen].line else {
            return;
        };
        if !line.work.is_empty() {
            let doing = line.work.swap_remove(self.random.usize(..line.work.len()));
            line.work.extend(Self::one_stage(doing, &self.finishes));
        }
    }

    fn work_of_orphans(&mut self) {
        if !self.orphans.is_empty() {
            let doing = self
                .orphans
                .swap_remove(self.random.usize(..self.orphans.len()));
            self.orphans.extend(Self::one_stage(doing, &self.finishes));
        }
    }

    fn one_stage(doing: Doing, finishes: &Finishes) -> Option<Doing> {
        // A pack waits for those that are being written, and there is one thread only.
        if matches!(&doing, Doing::Job(job) if job.is_lasting()) {
            while finishes.run_one() {}
        }
        doing.step()
    }

    fn hear(&mut self, chosen: usize) {
        let client = &mut self.clients[chosen];
        let Some(line) = &client.line else {
            return;
        };
        if !self.ether.is_eager {
            line.flush();
        }
        let Some(chunk) = line.hear(&mut self.random) else {
            return;
        };
        let heard = client.hear(&chunk.bytes, chunk.stamp, &mut self.witnesses);
        client.transmit();
        if heard.is_err() {
            self.cut(chosen);
        }
    }

    fn tick(&mut self) {
        self.now += Duration::from_secs(self.random.u64(..15));
        let hub = self.hub.as_ref().expect("the server runs");
        hub.handle_timeout(self.now);
    }

    /// A connection is lost. What it was about to do goes on.
    fn cut(&mut self, chosen: usize) {
        if let Some(mut line) = self.clients[chosen].lose() {
            self.witnesses.count("cut");
            self.orphans.append(&mut line.work);
            let left = line.connection.disconnect();
            self.orphans.extend(left.map(Doing::Job));
        }
    }

    /// The server is killed, or loses its power, in the middle of everything, and starts again.
    fn restart(&mut self) {
        self.witnesses.count("restarted");
        self.ether.probe(None);
        if let Kind::File(disk) = &self.kind {
            let at = disk.operations() + self.random.u64(1..6);
            disk.fail_at(at, Fault::PowerLoss);
            while self.finishes.run_one() {}
            // What is left to do finds that there is no power.
            let now = disk.operations() + 1;
            disk.fail_at(at.min(now), Fault::PowerLoss);
        }
        (0..self.clients.len()).for_each(|client| self.cut(client));
        self.orphans.clear();
        let waiting: Vec<Job> = self.finishes.waiting.lock().unwrap().drain(..).collect();
        drop(waiting);
        self.hub = None;
        if let Kind::File(disk) = &self.kind {
            self.storage = None;
            disk.restart(self.random.u64(..));
        } else if self.random.bool() {
            self.fail_over();
        }
        self.open();
    }

    /// The other server begins where its copying has come to: what was committed last may be lost.
    fn fail_over(&mut self) {
        self.witnesses.count("failed over");
        let kept = self.witnesses.history.recent(self.random.usize(..4));
        let other: Arc<dyn Storage> = Arc::new(self.memory());
        if let Some(storage) = self.storage.take() {
            copy(&*storage, &other, kept);
        }
        self.witnesses.forget_after(kept);
        self.storage = Some(other);
    }

    /// Everything that is under way comes to its end; then all know all.
    fn rest(&mut self) {
        for round in 0..REST_ROUNDS {
            self.orphans_rest();
            for chosen in 0..self.clients.len() {
                let client = &mut self.clients[chosen];
                if client.line.is_none() {
                    self.act(chosen);
                } else if client.is_ready {
                    match client.open.as_ref().map(|open| open.stage) {
                        Some(Stage::Filling) => client.vote(),
                        Some(Stage::Voted) => client.finish(),
                        _ if round + 10 > REST_ROUNDS && round + 5 < REST_ROUNDS => {
                            client.ping(&self.witnesses);
                        }
                        _ => {}
                    }
                    client.transmit();
                }
                for _ in 0..8 {
                    self.serve(chosen);
                    self.work(chosen);
                    self.hear(chosen);
                    while self.finishes.run_one() {}
                }
            }
        }
        let history = self.witnesses.history.clone();
        let last = history.last();
        for (number, client) in self.clients.iter_mut().enumerate() {
            let is_at_rest = client.is_ready && client.open.is_none() && !client.is_waiting();
            history.check(is_at_rest && client.last_tid() == last, || {
                let (tid, is_waiting) = (client.last_tid(), client.is_waiting());
                let stage = client.open.as_ref().map(|open| open.stage);
                format!("client {number} is at {tid} of {last}, waits: {is_waiting}, {stage:?}")
            });
        }
        self.compare();
    }

    fn orphans_rest(&mut self) {
        while !self.orphans.is_empty() {
            self.work_of_orphans();
            while self.finishes.run_one() {}
        }
    }

    /// What the storage has is what history says.
    fn compare(&self) {
        let history = &self.witnesses.history;
        let storage = self.storage.as_ref().expect("the server runs");
        for oid in (0..OBJECTS).map(Oid::new) {
            let found = storage.load_before(oid, Tid::MAX).ok().flatten();
            let found = found.map(|found| (found.tid, found.record));
            let expected = history.before(oid, Tid::MAX);
            let expected = expected.and_then(|(tid, record, _)| Some((tid, record?)));
            history.check(found == expected, || {
                format!("{oid} is {found:?} instead of {expected:?}")
            });
        }
    }
}

/// Copies the transactions up to that one.
fn copy(from: &dyn Storage, to: &Arc<dyn Storage>, last: Tid) {
    let source = from.iterate().expect("it can be walked");
    for transaction in source.iterate_transactions(Tid::ZERO, last).unwrap() {
        let transaction = transaction.unwrap();
        let to = to.clone();
        let begun = to.begin_restore(transaction.meta, transaction.tid, transaction.is_packed);
        let mut copied = begun.unwrap();
        for record in transaction.records {
            let record = record.unwrap();
            let restored = copied.restore(record.oid, record.data, record.data_tid);
            restored.unwrap();
        }
        copied.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    }
}
