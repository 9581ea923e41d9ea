//! Writers at the same objects at the same time: nothing is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use conformance::{Cluster, http, judge, pause};
use serde_json::{Value, json};
use storage::TransactionMeta;
use zeo_net::{ClientOptions, ZeoStorage};
use zodb::{Database, DatabaseOptions, Reference, ZodbError};

use crate::up::role;
use crate::{put_text, sound_site};

const WRITERS: usize = 8;
const WRITES_EACH: usize = 125;

/// A client that is told 503 asks again; this often at most.
const RETRIES_MAX: usize = 1000;

#[test]
fn eight_writers_put_a_thousand_files_into_one_folder() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 3).unwrap();
    let members = cluster.publishers();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let address = members[writer % members.len()].address;
            std::thread::spawn(move || {
                (0..WRITES_EACH)
                    .map(|number| put_until_created(address, writer, number))
                    .sum::<usize>()
            })
        })
        .collect();
    let refused: usize = writers
        .into_iter()
        .map(|writer| writer.join().expect("the writer succeeds"))
        .sum();
    eprintln!("{refused} of the answers were 503, and asked again");
    cluster.stop().unwrap();

    let found = site.check(&["drop"]).unwrap();
    let mut names: Vec<&str> = found["folders"]["drop"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    names.sort_unstable();
    let mut expected: Vec<String> = (0..WRITERS)
        .flat_map(|writer| (0..WRITES_EACH).map(move |number| name(writer, number)))
        .collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn eight_clients_count_to_a_thousand() {
    let site = sound_site();
    let zeo = role(
        site.directory(),
        &["zeo", "--data", site.data().to_str().unwrap()],
    );
    let server = zeo.listening().unwrap();
    let conflicts = count(server, WRITERS);
    eprintln!("{conflicts} conflicts");
    zeo.stop().unwrap();
    assert_eq!(site.check(&[]).unwrap()["counter"], WRITERS * WRITES_EACH);
}

#[test]
fn rust_and_python_clients_count_to_a_thousand_together() {
    let site = sound_site();
    let zeo = role(
        site.directory(),
        &["zeo", "--data", site.data().to_str().unwrap()],
    );
    let server = zeo.listening().unwrap();
    let half = WRITERS / 2;
    let python = std::thread::spawn(move || {
        let wanted =
            json!({ "server": server.to_string(), "processes": half, "times": WRITES_EACH });
        judge::run("counter.py", &wanted)
    });
    let conflicts = count(server, half);
    let theirs = python.join().unwrap().unwrap();
    eprintln!("{conflicts} conflicts here, {} there", theirs["conflicts"]);
    zeo.stop().unwrap();
    assert_eq!(site.check(&[]).unwrap()["counter"], WRITERS * WRITES_EACH);
}

/// Adds to the counter with as many clients, each on a connection of its own, and returns how many
/// conflicts they had.
fn count(server: SocketAddr, clients: usize) -> u32 {
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                let options = ClientOptions {
                    servers: vec![server.to_string()],
                    ..ClientOptions::default()
                };
                let storage = ZeoStorage::connect(options).expect("the server takes clients");
                let database = Database::new(storage, DatabaseOptions::default());
                (0..WRITES_EACH).map(|_| add_one(&database)).sum::<u32>()
            })
        })
        .collect();
    clients
        .into_iter()
        .map(|client| client.join().expect("the client counts"))
        .sum()
}

fn add_one(database: &Arc<Database>) -> u32 {
    let mut conflicts = 0;
    let wait = |retries: u32| {
        conflicts = retries;
        pause(Duration::from_micros(fastrand::u64(
            0..500 * u64::from(retries.min(20)),
        )));
    };
    database
        .transact(u32::MAX, wait, |connection| {
            let root = connection.root()?;
            let reference = root
                .state()
                .get("data")
                .and_then(|data| data.get("counter"));
            let oid = reference
                .and_then(Reference::read)
                .expect("the site has a counter")
                .oid();
            let counter = connection.load(oid)?;
            let data = counter.state().get("data").expect("a mapping has data");
            let value = data
                .get("value")
                .and_then(|value| value.as_int())
                .expect("a number");
            let mut pickles = counter.pickles().clone();
            let more = pickles.int(value + 1);
            pickles.dict_set(data.id(), "value", more);
            connection.store(oid, pickles)?;
            Ok::<_, ZodbError>(((), TransactionMeta::default()))
        })
        .expect("the addition is committed");
    conflicts
}

fn name(writer: usize, number: usize) -> String {
    format!("w{writer}-n{number:03}.txt")
}

/// Puts one new file, and returns how often that was refused for now.
fn put_until_created(address: SocketAddr, writer: usize, number: usize) -> usize {
    let put = put_text(&format!("/drop/{}", name(writer, number)), "content\n");
    for refused in 0..RETRIES_MAX {
        let answer = http::send(address, &put).expect("an answer");
        match answer.status {
            201 => return refused,
            503 => {}
            other => panic!("{}: {other}: {}", put.title(), answer.text()),
        }
    }
    panic!("{} was refused {RETRIES_MAX} times", put.title());
}
