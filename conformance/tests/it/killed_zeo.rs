//! The storage server killed at any moment under many committing clients: nothing that was acknowledged is
//! lost, nothing is torn, and the clients go on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use conformance::{Process, Site, pause, zodiac_binary};
use fastrand::Rng;
use storage::Tid;

use crate::committers::Committers;
use crate::up::role;
use crate::{is_full, seed, sound_site};

const OURS: usize = 12;
const GENUINE: usize = 4;
/// The longest time between two blows.
const BLOW_MILLISECONDS_MAX: u64 = 500;

#[test]
fn sixteen_clients_lose_nothing_to_a_killed_storage_server() {
    let mut random = Rng::with_seed(seed());
    let rounds = if is_full() { 20 } else { 3 };
    let site = sound_site();
    let data = site.data().to_str().unwrap().to_owned();
    let mut zeo = role(site.directory(), &["zeo", "--data", &data]);
    let address = zeo.listening().unwrap().to_string();
    let committers = Committers::start(&address, OURS, GENUINE);
    for round in 0..rounds {
        // All have come back from the last blow.
        committers.await_more(2);
        pause(Duration::from_millis(random.u64(0..BLOW_MILLISECONDS_MAX)));
        let acknowledged = committers.acknowledged();
        zeo.kill().unwrap();
        compare(&site, &acknowledged, &format!("after blow {round}"));
        zeo = Process::start(
            site.directory(),
            &["zeo", "--data", data.as_str(), "--listen", address.as_str()],
        )
        .unwrap();
        zeo.listening().unwrap();
    }
    committers.await_more(2);
    let acknowledged = committers.stop();
    zeo.stop().unwrap();
    site.check(&[]).unwrap();
    compare(&site, &acknowledged, "at the end");
    let verify = Command::new(zodiac_binary().unwrap())
        .args(["fs", "verify", &data])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(verify.status.success(), "{said}");
    eprintln!("{} acknowledged, {rounds} blows", acknowledged.len());
}

/// Every acknowledged transaction is in the file, and all of each that is there.
fn compare(site: &Site, acknowledged: &BTreeMap<Tid, String>, when: &str) {
    let found = site.check_crashed(&[]).unwrap();
    let mut there = BTreeMap::new();
    for transaction in found["transactions"].as_array().unwrap() {
        let tid = u64::from_str_radix(transaction[0].as_str().unwrap(), 16).unwrap();
        there.insert(Tid::new(tid), transaction[3].as_array().unwrap().len());
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|(tid, _)| !there.contains_key(tid))
        .collect();
    assert!(
        lost.is_empty(),
        "{when}, {} of {} acknowledged transactions are gone: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    // Each changes two objects; the site's own are older than the first.
    let first = acknowledged.keys().next().copied().unwrap_or(Tid::MAX);
    let sizes: BTreeSet<_> = there.range(first..).map(|(_, size)| *size).collect();
    let whole = |size: &usize| *size == 2 || *size == 2 * GENUINE + 1;
    assert!(
        sizes.iter().all(whole),
        "{when}, transactions have {sizes:?} objects"
    );
}
