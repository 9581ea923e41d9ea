//! Clients that commit without end, ours and genuine ones, and what was acknowledged to them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use conformance::{PATIENCE, judge, pause, poll};
use serde_json::{Value, json};
use storage::{Oid, Record, Storage, Tid, TransactionMeta};
use zeo_net::{ClientOptions, ZeoStorage};

/// What the clients were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Who was told of each transaction.
    tids: BTreeMap<Tid, String>,
    counts: BTreeMap<String, usize>,
    wrong: Vec<String>,
    /// How long the slowest commit of a genuine client took, in seconds.
    slowest: f64,
}

/// The clients; they end with it.
pub(crate) struct Committers {
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    ours: Vec<JoinHandle<()>>,
    genuine: Option<Genuine>,
    count: usize,
}

struct Genuine {
    process: Child,
    input: Option<ChildStdin>,
    listener: JoinHandle<()>,
}

impl Committers {
    /// Starts so many of ours and of genuine ones.
    pub(crate) fn start(server: &str, ours: usize, genuine: usize) -> Self {
        let told: Arc<Mutex<Told>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..ours).map(|number| {
            let (server, told, stop) = (server.to_owned(), told.clone(), stop.clone());
            std::thread::spawn(move || Ours::new(&server, number, told).commit_until(&stop))
        });
        Self {
            ours: threads.collect(),
            genuine: (genuine > 0).then(|| Genuine::start(server, genuine, told.clone())),
            told,
            stop,
            count: ours + genuine,
        }
    }

    /// Waits until each client was told of so many more transactions.
    pub(crate) fn await_more(&self, more: usize) {
        let before = self.told.lock().unwrap().counts.clone();
        let progress = || {
            let told = self.told.lock().unwrap();
            let gone_on = |(who, count): (&String, &usize)| {
                *count >= before.get(who).copied().unwrap_or_default() + more
            };
            let done = told.counts.iter().filter(|entry| gone_on(*entry)).count();
            (done == self.count).then_some(())
        };
        let found = poll("commits of every client", PATIENCE * 2, progress);
        found.unwrap_or_else(|error| panic!("{error}: {:?}", self.told.lock().unwrap().counts));
    }

    /// What was acknowledged so far.
    pub(crate) fn acknowledged(&self) -> BTreeMap<Tid, String> {
        self.told.lock().unwrap().tids.clone()
    }

    /// How long the slowest commit of a genuine client took since this was asked last.
    pub(crate) fn slowest(&self) -> Duration {
        let mut told = self.told.lock().unwrap();
        Duration::from_secs_f64(std::mem::take(&mut told.slowest))
    }

    /// What clients found wrong.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.told.lock().unwrap().wrong.clone()
    }

    /// Lets them all end their transactions, and ends them.
    pub(crate) fn stop(mut self) -> BTreeMap<Tid, String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.ours.drain(..) {
            thread.join().unwrap();
        }
        if let Some(mut genuine) = self.genuine.take() {
            drop(genuine.input.take());
            assert!(genuine.process.wait().unwrap().success());
            genuine.listener.join().unwrap();
        }
        assert_eq!(self.wrong(), Vec::<String>::new());
        self.acknowledged()
    }
}

impl Told {
    fn tell(told: &Mutex<Self>, who: &str, tid: Tid) {
        let mut told = told.lock().unwrap();
        if let Some(other) = told.tids.insert(tid, who.to_owned()) {
            told.wrong
                .push(format!("{who} and {other} were both told of {tid}"));
        }
        *told.counts.entry(who.to_owned()).or_default() += 1;
    }
}

impl Genuine {
    fn start(server: &str, count: usize, told: Arc<Mutex<Told>>) -> Self {
        let mut process = judge::command("committing_clients.py")
            .unwrap()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Of a server that goes away they have much to say.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let wanted = json!({ "server": server, "processes": count });
        writeln!(input, "{wanted}").unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let listener = std::thread::spawn(move || {
            for line in output.lines() {
                let said: Value = serde_json::from_str(&line.unwrap()).unwrap();
                if let Some(wrong) = said.get("wrong") {
                    told.lock().unwrap().wrong.push(wrong.to_string());
                    continue;
                }
                let tid = u64::from_str_radix(said["tid"].as_str().unwrap(), 16).unwrap();
                Told::tell(&told, &format!("genuine {}", said["client"]), Tid::new(tid));
                let slowest = &mut told.lock().unwrap().slowest;
                *slowest = slowest.max(said["seconds"].as_f64().unwrap());
            }
        });
        Self {
            process,
            input: Some(input),
            listener,
        }
    }
}

/// One of our clients: it changes two objects of its own together.
struct Ours {
    storage: Arc<ZeoStorage>,
    name: String,
    oids: Vec<Oid>,
    told: Arc<Mutex<Told>>,
    acknowledged: i32,
}

impl Ours {
    fn new(server: &str, number: usize, told: Arc<Mutex<Told>>) -> Self {
        let options = ClientOptions {
            servers: vec![server.to_owned()],
            ..ClientOptions::default()
        };
        let storage = ZeoStorage::connect(options).unwrap();
        let oids = poll("object ids", PATIENCE, || storage.new_oids(2).ok());
        Self {
            storage,
            name: format!("ours {number}"),
            oids: oids.unwrap(),
            told,
            acknowledged: 0,
        }
    }

    fn commit_until(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let Ok(found) = self.read() else {
                pause(Duration::from_millis(20));
                continue;
            };
            let numbers: Vec<_> = found.iter().map(|(number, _)| *number).collect();
            let known = [self.acknowledged, self.acknowledged + 1];
            if numbers[0] != numbers[1] || !known.contains(&numbers[0]) {
                let wrong = format!("{} found {numbers:?} after {}", self.name, known[0]);
                self.told.lock().unwrap().wrong.push(wrong);
            }
            // What was under way when the server went counts as it is found.
            self.acknowledged = numbers[0];
            let bases: Vec<_> = found.iter().map(|(_, tid)| *tid).collect();
            if let Some(tid) = self.commit(numbers[0] + 1, &bases) {
                self.acknowledged += 1;
                Told::tell(&self.told, &self.name, tid);
            }
        }
    }

    /// The numbers in the two objects as the server has them now, and since when.
    fn read(&self) -> Result<Vec<(i32, Tid)>, storage::StorageError> {
        self.storage.sync()?;
        let before = self.storage.last_tid().next();
        let read = |oid: &Oid| match self.storage.load_before(*oid, before) {
            Ok(Some(found)) => Ok((number_in(&found.record), found.tid)),
            Ok(None) | Err(storage::StorageError::NotFound { .. }) => Ok((0, Tid::ZERO)),
            Err(error) => Err(error),
        };
        self.oids.iter().map(read).collect()
    }

    fn commit(&self, number: i32, bases: &[Tid]) -> Option<Tid> {
        let storage = self.storage.clone() as Arc<dyn Storage>;
        let mut commit = storage.begin(TransactionMeta::default()).ok()?;
        for (oid, base) in self.oids.iter().zip(bases) {
            commit.store(*oid, *base, record(number)).ok()?;
        }
        let finished = commit.vote().ok()?.finish(Box::new(|_| {}));
        finished.ok()
    }
}

const HEAD: &[u8] = b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\
    \x80\x03}X\x04\0\0\0data}X\x06\0\0\0numberJ";

/// A mapping with one number.
fn record(number: i32) -> Record {
    Record::from([HEAD, &number.to_le_bytes(), b"ss."].concat())
}

fn number_in(record: &[u8]) -> i32 {
    let bytes = &record[HEAD.len()..HEAD.len() + 4];
    i32::from_le_bytes(bytes.try_into().unwrap())
}
