//! The storage server killed at any moment: what was acknowledged is there, what is there is sound.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance::{PATIENCE, Process, Site, http, pause, poll};
use serde_json::Value;

use crate::load::Load;
use crate::up::role;
use crate::{put_text, sound_site};

/// The longest time between two blows.
const BLOW_MILLISECONDS_MAX: u64 = 700;

const WRITERS: usize = 4;

#[test]
fn every_acknowledged_write_survives_a_killed_storage_server() {
    let mut random = fastrand::Rng::with_seed(crate::seed());
    let rounds = if crate::is_full() { 60 } else { 6 };

    let site = sound_site();
    let data = site.data().to_str().unwrap().to_owned();
    let mut zeo = role(site.directory(), &["zeo", "--data", &data]);
    let address = zeo.listening().unwrap().to_string();
    let publishers = [0, 1].map(|_| role(site.directory(), &["publish", "--zeo", &address]));
    let members = publishers.each_ref().map(|one| one.listening().unwrap());

    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let noted = Arc::clone(&acknowledged);
    let load = Load::start(WRITERS, move |writer, round| {
        let name = format!("w{writer}-{round:05}");
        let put = put_text(&format!("/drop{writer}/{name}"), &content(&name));
        let answer = http::send(members[writer % 2], &put)?;
        if answer.status == 201 {
            noted.lock().expect("no writer panics").insert(name);
        } else {
            // A write that met the blow has no known outcome, and one that the wait limit ended has
            // none at all: neither was acknowledged.
            pause(Duration::from_millis(20));
        }
        Ok(())
    });

    for round in 0..rounds {
        let goal = acknowledged.lock().unwrap().len() + 5;
        poll("acknowledged writes", PATIENCE, || {
            (acknowledged.lock().unwrap().len() >= goal).then_some(())
        })
        .unwrap();
        pause(Duration::from_millis(random.u64(0..BLOW_MILLISECONDS_MAX)));
        let before = acknowledged.lock().unwrap().clone();
        zeo.kill().unwrap();
        missing(
            &site,
            &site.check_crashed(&folders()).unwrap(),
            &before,
            round,
        );
        zeo = Process::start(
            site.directory(),
            &["zeo", "--data", data.as_str(), "--listen", address.as_str()],
        )
        .unwrap();
        zeo.listening().unwrap();
    }
    let (_, failures) = load.stop();
    drop(publishers);
    zeo.stop().unwrap();
    let acknowledged = acknowledged.lock().unwrap().clone();
    missing(
        &site,
        &site.check(&folders()).unwrap(),
        &acknowledged,
        rounds,
    );
    eprintln!(
        "{} acknowledged, {rounds} blows, {} broken off",
        acknowledged.len(),
        failures.len()
    );
}

fn content(name: &str) -> String {
    format!("the content of {name}\n").repeat(name.len() * 20)
}

fn folders() -> Vec<&'static str> {
    ["drop0", "drop1", "drop2", "drop3"].into()
}

fn missing(site: &Site, found: &Value, acknowledged: &BTreeSet<String>, round: usize) {
    let there: BTreeSet<&str> = folders()
        .into_iter()
        .flat_map(|folder| found["folders"][folder].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|name| !there.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "after blow {round}, {} of {} acknowledged writes are gone from {}: {missing:?}",
        missing.len(),
        acknowledged.len(),
        site.data().display(),
    );
}
