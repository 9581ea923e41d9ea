//! Loads and commits against any ZEO server, and tells how fast:
//! `cargo run --release -p zeo-net --example load_zeo -- ADDR [CLIENTS [SECONDS]]`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures and prints"
)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage::{Commit, CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};
use zeo_net::{ClientOptions, ZeoStorage};

/// How many objects are loaded in turn.
const OBJECTS: u64 = 1000;
const THREADS_PER_CLIENT: usize = 4;
/// How many clients commit at once, each to an object of its own.
const COMMITTERS: [usize; 3] = [1, 8, 32];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let server = args.next().ok_or("name an address, as 127.0.0.1:8100")?;
    let clients: usize = args.next().map_or(Ok(4), |number| number.parse())?;
    let seconds: u64 = args.next().map_or(Ok(5), |number| number.parse())?;
    // No cache: every load goes over the wire.
    let options = ClientOptions {
        servers: vec![server],
        cache_bytes: 0,
        label: Some("load_zeo".to_owned()),
        ..ClientOptions::default()
    };
    let first = ZeoStorage::connect(options.clone())?;
    let oids = prepare(&first)?;
    let count = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let mut threads = Vec::new();
    for _ in 0..clients {
        let client = ZeoStorage::connect(options.clone())?;
        for part in 0..THREADS_PER_CLIENT {
            let (client, oids, count) = (client.clone(), oids.clone(), count.clone());
            threads.push(std::thread::spawn(move || {
                let own = oids
                    .iter()
                    .cycle()
                    .skip(part * oids.len() / THREADS_PER_CLIENT);
                for oid in own {
                    if Instant::now() > end {
                        return Ok(());
                    }
                    client.load_before(*oid, Tid::MAX)?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), StorageError>(())
            }));
        }
    }
    for thread in threads {
        thread.join().expect("the loader does not panic")?;
    }
    let rate = count.load(Ordering::Relaxed) / seconds;
    println!("{rate} loads/s with {clients} clients of {THREADS_PER_CLIENT} threads");
    drop(first);
    for clients in COMMITTERS {
        commits(&options, &oids[..clients], Duration::from_secs(seconds))?;
    }
    Ok(())
}

/// Makes the objects that are loaded.
fn prepare(client: &Arc<ZeoStorage>) -> Result<Vec<Oid>, Box<dyn Error>> {
    let oids = client.new_oids(usize::try_from(OBJECTS)?)?;
    let mut commit = client.clone().begin(TransactionMeta::default())?;
    for oid in &oids {
        commit.store(*oid, Tid::ZERO, record(1000))?;
    }
    commit.vote()?.finish(Box::new(|_| {}))?;
    Ok(oids)
}

/// A record that Python can read: `(persistent.mapping.PersistentMapping, None)`, then its state.
fn record(length: usize) -> Record {
    let mut bytes = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03".to_vec();
    bytes.extend(b"}X\x04\x00\x00\x00data}X\x01\x00\x00\x00xX");
    bytes.extend(u32::try_from(length).unwrap_or(0).to_le_bytes());
    bytes.extend(std::iter::repeat_n(b'x', length));
    bytes.extend(b"ss.");
    Record::from(bytes)
}

fn commits(options: &ClientOptions, oids: &[Oid], time: Duration) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let mut threads = Vec::new();
    for &oid in oids {
        let client = ZeoStorage::connect(options.clone())?;
        threads.push(std::thread::spawn(move || {
            let found = client.load_before(oid, Tid::MAX)?;
            let mut base = found.ok_or(StorageError::NotFound { oid })?.tid;
            let mut times = Vec::new();
            while begin.elapsed() < time {
                let start = Instant::now();
                let mut commit: Box<dyn Commit> =
                    client.clone().begin(TransactionMeta::default())?;
                commit.store(oid, base, record(1000))?;
                base = commit.vote()?.finish(Box::new(|_| {}))?;
                times.push(start.elapsed());
            }
            Ok::<_, CommitError>(times)
        }));
    }
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.join().expect("the committer does not panic")?);
    }
    times.sort_unstable();
    let rate = times.len() as u128 * 1000 / begin.elapsed().as_millis().max(1);
    let p99 = times.get(times.len() * 99 / 100).unwrap_or(&Duration::ZERO);
    println!(
        "{rate} commits/s with {} client(s), p99 {p99:?}",
        oids.len()
    );
    Ok(())
}
