//! Peers that send what no client would, as fast as they can, while genuine clients work.

mod frames;
mod peer;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conformance::{Process, memory};
use fastrand::Rng;

use crate::committers::Committers;
use crate::{is_full, seed, sound_site};
use peer::Peers;

/// How many peers there are at a time.
const PEERS: u64 = 4;
/// What a commit of somebody else may take meanwhile, on a machine that has much to do.
const COMMIT_MAX: Duration = Duration::from_secs(10);
/// What the server may have in memory beyond what it has after the first part of the messages. Its index
/// grows with what is committed, and the allocator keeps some for later.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

#[test]
fn a_hostile_peer_harms_nobody_else() {
    let seed = seed();
    let messages = if is_full() { 1_000_000 } else { 30_000 };
    let site = sound_site();
    let data = site.data().to_str().unwrap();
    let arguments = [
        "zeo",
        "--data",
        data,
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "error",
    ];
    let zeo = Process::start(site.directory(), &arguments).unwrap();
    let address = zeo.listening().unwrap();
    let committers = Committers::start(&address.to_string(), 1, 1);
    committers.await_more(3);

    let sent = Arc::new(AtomicUsize::new(0));
    let mut grown_from = u64::MAX;
    // The second part needs no more than the first.
    for (part, goal) in [(0, messages / 5), (1, messages)] {
        rush(address, seed ^ part, &sent, goal);
        // Everybody else goes on, and did so all the time.
        committers.await_more(3);
        let slowest = committers.slowest();
        assert!(
            slowest < COMMIT_MAX,
            "a commit took {slowest:?}, seed {seed}"
        );
        let bytes = memory::resident_bytes_of(zeo.pid()).unwrap();
        let count = sent.load(Ordering::Relaxed);
        let megabytes = bytes >> 20;
        eprintln!("{count} messages, {megabytes} MiB, slowest commit {slowest:?}");
        let most = grown_from.saturating_add(GROWTH_BYTES_MAX);
        assert!(
            bytes <= most,
            "{grown_from} bytes became {bytes}, seed {seed}"
        );
        grown_from = bytes;
    }
    let log = zeo.log();
    assert!(!log.contains("panicked"), "seed {seed}: {log}");
    let acknowledged = committers.stop();
    zeo.stop().unwrap();
    let found = site.check(&[]).unwrap();
    let there = found["transactions"].as_array().unwrap();
    let there: BTreeSet<_> = there.iter().filter_map(|found| found[0].as_str()).collect();
    for tid in acknowledged.keys() {
        let tid = format!("{:016x}", tid.number());
        assert!(there.contains(&*tid), "{tid} is lost, seed {seed}");
    }
}

/// Lets peers do what they can think of, until so many messages were sent.
fn rush(server: SocketAddr, seed: u64, sent: &Arc<AtomicUsize>, goal: usize) {
    let attack = |number: u64| {
        let sent = sent.clone();
        let random = Rng::with_seed(seed ^ (number << 32));
        std::thread::spawn(move || {
            let mut peers = Peers::new(server, random);
            while sent.load(Ordering::Relaxed) < goal {
                sent.fetch_add(peers.attack(), Ordering::Relaxed);
            }
        })
    };
    let peers: Vec<_> = (0..PEERS).map(attack).collect();
    for peer in peers {
        peer.join().unwrap();
    }
}
