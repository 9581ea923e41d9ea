//! Losing a part of the cluster while requests run.

use std::time::Duration;

use anyhow::{Result, bail};
use conformance::{Cluster, PATIENCE, Process, Stopwatch, http, kill, pause, poll};
use serde_json::Value;

use crate::load::Load;
use crate::up::role;
use crate::{put_text, sound_site};

/// How long the storage server is away.
const OUTAGE: Duration = Duration::from_secs(3);

const TARGETS: [&str; 4] = [
    "/readme",
    "/plain/sub/",
    "/files/ten-kilobytes.bin",
    "/note.txt",
];

#[test]
fn a_killed_publisher_is_not_seen_by_users() {
    publishers_die_one_after_another(if crate::is_full() { 12 } else { 3 }, 100, Back::InUse)
        .unwrap();
}

/// The next one dies as soon as the one before it listens again, before any check has seen that:
/// two of three live at all times, though the balancer may hold all of them for down.
#[test]
fn publishers_killed_in_quick_succession_are_not_seen_by_users() {
    publishers_die_one_after_another(if crate::is_full() { 24 } else { 6 }, 20, Back::Listening)
        .unwrap();
}

/// When a publisher counts as back.
enum Back {
    /// By its own word.
    Listening,
    /// By the balancer's, which sends requests there again.
    InUse,
}

/// Kills so many publishers, each after so many answers since the one before came back.
fn publishers_die_one_after_another(kills: usize, answers: usize, back: Back) -> Result<()> {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 3)?;
    let process = cluster.process();
    let balancer = cluster.balancer();
    let load = Load::start(4, move |thread, round| {
        get(balancer, TARGETS[(thread + round) % 4])
    });
    for round in 0..kills {
        load.await_more(answers);
        let number = round % 3 + 1;
        let member = cluster.publisher(number);
        let (seen, logged) = (process.events().len(), process.logged());
        kill(member.pid)?;
        match back {
            Back::Listening => {
                process.event("the return", seen, |event: &Value| {
                    event["event"] == "listening" && event["number"] == number
                })?;
            }
            Back::InUse => {
                let address = format!("backend={}", member.address);
                process.notice(logged, &["balance", &address, "health=up"])?;
            }
        }
    }
    load.await_more(100);
    let (done, failures) = load.stop();
    if failures.is_empty() {
        return Ok(());
    }
    let some = &failures[..failures.len().min(5)];
    bail!("{} of {done} failed: {some:#?}", failures.len())
}

#[test]
fn a_publisher_that_lives_again_gets_requests_again() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 2).unwrap();
    let seen = cluster.process().events().len();
    kill(cluster.publisher(1).pid).unwrap();
    cluster
        .process()
        .event("the return", seen, |event: &Value| {
            event["event"] == "listening" && event["number"] == 1
        })
        .unwrap();
    // With the other one gone as well, only the first can answer.
    poll(
        "an answer through the first publisher alone",
        PATIENCE,
        || {
            kill(cluster.publisher(2).pid).ok()?;
            let answer = http::get(cluster.balancer(), "/note.txt").ok()?;
            (answer.status == 200).then_some(())
        },
    )
    .unwrap();
}

#[test]
fn three_seconds_without_the_storage_server_delay_requests_and_fail_none() {
    let site = sound_site();
    let directory = site.directory();
    let data = site.data().to_str().unwrap();
    let zeo = role(directory, &["zeo", "--data", data]);
    let address = zeo.listening().unwrap().to_string();
    let publishers = [0, 1, 2].map(|_| role(directory, &["publish", "--zeo", address.as_str()]));
    let members = publishers
        .each_ref()
        .map(|one| one.listening().unwrap().to_string());
    let mut arguments = vec!["balance"];
    for member in &members {
        arguments.extend(["--member", member.as_str()]);
    }
    let balance = role(directory, &arguments);
    let balancer = balance.listening().unwrap();
    poll("a first answer", PATIENCE, || {
        get(balancer, "/note.txt").ok()
    })
    .unwrap();

    // Much of what is asked for was never loaded before: it takes the storage server to answer.
    let load = Load::start(3, move |thread, round| {
        let size = [10_240, 65_535, 65_536][(thread + round) % 3];
        let start = round * 7 % size;
        let request = http::Request::new("GET", "/files/several-megabytes.bin").header(
            "range",
            &format!("bytes={}-{}", start * 60, start * 60 + 100),
        );
        succeeded(&request, http::send(balancer, &request)?, 206)?;
        get(balancer, TARGETS[(thread + round) % 4])
    });
    load.await_more(30);
    zeo.kill().unwrap();
    let watch = Stopwatch::start();
    let write = std::thread::spawn(move || http::send(balancer, &put_text("/note.txt", "after\n")));
    pause(OUTAGE);
    assert!(
        !write.is_finished(),
        "the write waits for the storage server"
    );
    let listen = ["zeo", "--data", data, "--listen", address.as_str()];
    let zeo = Process::start(directory, &listen).unwrap();
    zeo.listening().unwrap();
    let answer = write.join().unwrap().unwrap();
    assert_eq!(
        answer.status,
        204,
        "a write that came during the outage: {}",
        answer.text()
    );
    assert!(watch.elapsed() >= OUTAGE);
    load.await_more(60);
    let (done, failures) = load.stop();
    assert!(
        failures.is_empty(),
        "{} of {done} failed: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    for member in &members {
        let text = http::get(member.parse().unwrap(), "/note.txt")
            .unwrap()
            .text();
        assert_eq!(text, "after\n");
    }
    drop(balance);
    drop(publishers);
    zeo.stop().unwrap();
    site.check(&[]).unwrap();
}

fn get(address: std::net::SocketAddr, target: &str) -> Result<()> {
    let request = http::Request::new("GET", target);
    succeeded(&request, http::send(address, &request)?, 200)
}

fn succeeded(request: &http::Request, answer: http::Response, status: u16) -> Result<()> {
    if answer.status != status {
        bail!("{}: {}: {}", request.title(), answer.status, gist(&answer));
    }
    Ok(())
}

/// What an error page says, without its looks.
fn gist(answer: &http::Response) -> String {
    let text = answer.text();
    let body = text
        .split_once("<main>")
        .map_or(text.as_str(), |(_, body)| body);
    body.chars().take(300).collect()
}
