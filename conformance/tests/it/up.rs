//! `zodiac up` and the roles alone: started, supervised, stopped.

use std::path::Path;

use conformance::{Cluster, PATIENCE, Process, Stopwatch, http, kill, poll};
use serde_json::Value;

use crate::sound_site;

#[test]
fn a_first_start_makes_a_portal_and_a_stop_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("var").join("Data.fs");
    let watch = Stopwatch::start();
    let cluster = Cluster::start(&data, 3).unwrap();
    eprintln!("ready {:?} after the start of the process", watch.elapsed());

    let events = cluster.process().events();
    let created = events
        .iter()
        .find(|event| event["event"] == "created")
        .expect("a new Data.fs");
    assert!(
        created["password"]
            .as_str()
            .is_some_and(|password| password.len() >= 8)
    );
    assert_eq!(cluster.publishers().len(), 3);
    let page = http::get(cluster.balancer(), "/").unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );

    let members = cluster.members();
    assert!(members.iter().all(|member| is_alive(member.pid)));
    let status = cluster.stop().unwrap();
    assert!(status.success(), "{status}");
    let left: Vec<_> = members
        .iter()
        .filter(|member| is_alive(member.pid))
        .collect();
    assert!(left.is_empty(), "still running: {left:?}");
}

#[test]
fn a_killed_publisher_is_reported_and_started_again_where_it_was() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 2).unwrap();
    let before = cluster.publisher(2);
    let seen = cluster.process().events().len();
    kill(before.pid).unwrap();

    let is_second = |event: &Value| event["role"] == "publish" && event["number"] == 2;
    let exited = cluster
        .process()
        .event("the exit", seen, |event| {
            event["event"] == "exited" && is_second(event)
        })
        .unwrap();
    assert_eq!(exited["pid"], before.pid);
    cluster
        .process()
        .event("the return", seen, |event| {
            event["event"] == "listening" && is_second(event)
        })
        .unwrap();
    let after = cluster.publisher(2);
    assert_eq!(after.address, before.address);
    assert_ne!(after.pid, before.pid);
    assert_eq!(
        http::get(after.address, "/note.txt").unwrap().text(),
        "first note\n"
    );
}

#[test]
fn every_other_part_is_started_again_too() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    for (role, pid) in [
        ("zeo", cluster.zeo().pid),
        ("balance", cluster.balance().pid),
    ] {
        let seen = cluster.process().events().len();
        kill(pid).unwrap();
        cluster
            .process()
            .event(role, seen, |event| {
                event["event"] == "listening" && event["role"] == role
            })
            .unwrap();
    }
    poll("an answer through all tiers", PATIENCE, || {
        let answer = http::get(cluster.balancer(), "/files/small.txt").ok()?;
        (answer.status == 200).then_some(())
    })
    .unwrap();
}

#[test]
fn the_roles_alone_make_a_cluster() {
    let site = sound_site();
    let zeo = role(
        site.directory(),
        &["zeo", "--data", site.data().to_str().unwrap()],
    );
    let zeo_address = zeo.listening().unwrap().to_string();
    let publishers = [0, 1].map(|_| {
        role(
            site.directory(),
            &["publish", "--zeo", zeo_address.as_str()],
        )
    });
    let members = publishers
        .each_ref()
        .map(|publisher| publisher.listening().unwrap().to_string());
    let balance = role(
        site.directory(),
        &[
            "balance",
            "--member",
            members[0].as_str(),
            "--member",
            members[1].as_str(),
        ],
    );
    let balancer = balance.listening().unwrap();
    let page = poll("an answer", PATIENCE, || {
        http::get(balancer, "/readme")
            .ok()
            .filter(|page| page.status == 200)
    })
    .unwrap();
    assert!(page.text().contains("id: readme"), "{}", page.text());
    for process in [balance].into_iter().chain(publishers).chain([zeo]) {
        let status = process.stop().unwrap();
        assert!(status.success(), "{status}");
    }
    site.check(&[]).unwrap();
}

/// One role on a free port.
pub(crate) fn role(directory: &Path, arguments: &[&str]) -> Process {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--listen", "127.0.0.1:0"]);
    Process::start(directory, &arguments).expect("the role starts")
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
