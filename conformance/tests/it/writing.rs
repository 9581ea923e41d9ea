//! Writes that cross all tiers, and who may make them.

use std::net::SocketAddr;

use conformance::http::Request;
use conformance::{Cluster, Database, PATIENCE, Zope, http, poll};

use crate::relay::Relay;
use crate::up::role;
use crate::{by_admin, put_text, sound_site};

#[test]
fn a_put_shows_at_once_through_every_publisher_and_in_genuine_zope() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 3).unwrap();
    let mut zope = Zope::serve(Database::Zeo(cluster.zeo().address)).unwrap();
    // Stored as SSHA, SHA256 and PBKDF2-SHA256.
    let managers = [
        ("admin", "admin-password"),
        ("keeper", "keeper-password"),
        ("chief", "chief-password"),
    ];
    warm(&cluster, "/note.txt");
    for (round, (name, password)) in managers.into_iter().cycle().take(6).enumerate() {
        let text = format!("note {round} by {name}\n");
        let put = Request::new("PUT", "/note.txt")
            .header("content-type", "text/plain")
            .basic(name, password)
            .body(text.as_str());
        let writer = cluster.publisher(round % 3 + 1).address;
        let answer = http::send(writer, &put).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());

        assert_eq!(
            http::get(writer, "/note.txt").unwrap().text(),
            text,
            "through the writer"
        );
        for member in cluster.publishers() {
            expect_text(member.address, "/note.txt", &text);
        }
        poll("the note in genuine Zope", PATIENCE, || {
            let seen = zope
                .send("localhost", &Request::new("GET", "/note.txt"))
                .ok()?;
            (seen.text() == text).then_some(())
        })
        .unwrap();
    }
    cluster.stop().unwrap();
    let found = site.check(&[]).unwrap();
    let newest = found["transactions"]
        .as_array()
        .and_then(|all| all.last())
        .expect("transactions");
    assert!(
        newest[1]
            .as_str()
            .is_some_and(|user| user.contains("chief")),
        "{newest}"
    );
    assert!(
        newest[2]
            .as_str()
            .is_some_and(|text| text.contains("/note.txt")),
        "{newest}"
    );
}

/// The word of the change is held up on its way to the other publisher, until that one asks the
/// storage server something: one that answers from what it knows would show the old text.
#[test]
fn the_very_next_request_through_another_publisher_shows_a_write() {
    let site = sound_site();
    let directory = site.directory();
    let zeo = role(directory, &["zeo", "--data", site.data().to_str().unwrap()]);
    let server = zeo.listening().unwrap();
    let relay = Relay::to(server).unwrap();
    let publisher =
        |address: SocketAddr| role(directory, &["publish", "--zeo", &address.to_string()]);
    let (near, far) = (publisher(server), publisher(relay.address()));
    let (writer, reader) = (near.listening().unwrap(), far.listening().unwrap());
    assert_eq!(http::get(reader, "/note.txt").unwrap().status, 200);
    for round in 0..20 {
        let text = format!("round {round}\n");
        relay.hold();
        let answer = http::send(writer, &put_text("/note.txt", &text)).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        expect_text(reader, "/note.txt", &text);
    }
}

#[test]
fn an_edited_document_shows_through_every_publisher() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 3).unwrap();
    warm(&cluster, "/page");
    let form =
        "data=%3Cp%3Ethe+second+text+of+%26dtml-title%3B%3C%2Fp%3E%0A&title=A+new+%3Ctitle%3E";
    let edit = by_admin(Request::new("POST", "/page/manage_edit"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let answer = http::send(cluster.balancer(), &edit).unwrap();
    assert!(
        (200..400).contains(&answer.status),
        "{}: {}",
        answer.status,
        answer.text()
    );
    for member in cluster.publishers() {
        let expected = "<p>the second text of A new &lt;title&gt;</p>\n";
        expect_text(member.address, "/page", expected);
    }
}

#[test]
fn what_genuine_zope_changes_shows_through_every_publisher() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 3).unwrap();
    warm(&cluster, "/note.txt");
    warm(&cluster, "/page");
    let mut zope = Zope::serve(Database::Zeo(cluster.zeo().address)).unwrap();
    let answer = zope
        .send("localhost", &put_text("/note.txt", "written by Zope\n"))
        .unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    let edit = by_admin(Request::new("POST", "/page/manage_edit"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("data=edited+by+Zope&title=t");
    assert_eq!(zope.send("localhost", &edit).unwrap().status, 200);
    for member in cluster.publishers() {
        expect_text(member.address, "/note.txt", "written by Zope\n");
        expect_text(member.address, "/page", "edited by Zope");
    }
    drop(zope);
    cluster.stop().unwrap();
    site.check(&[]).unwrap();
}

#[test]
fn a_created_file_is_there_for_all_and_a_large_one_is_whole() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 2).unwrap();
    let large: Vec<u8> = (0_u32..300_000).flat_map(u32::to_be_bytes).collect();
    let put = by_admin(Request::new("PUT", "/drop/large.bin"))
        .header("content-type", "application/octet-stream")
        .body(large.as_slice());
    let answer = http::send(cluster.balancer(), &put).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    for member in cluster.publishers() {
        poll("the large file", PATIENCE, || {
            let seen = http::get(member.address, "/drop/large.bin").ok()?;
            (seen.status == 200 && seen.body == large).then_some(())
        })
        .unwrap();
    }
    let mut zope = Zope::serve(Database::Zeo(cluster.zeo().address)).unwrap();
    let seen = zope
        .send("localhost", &Request::new("GET", "/drop/large.bin"))
        .unwrap();
    assert_eq!(seen.status, 200);
    assert!(seen.body == large, "genuine Zope reads other bytes");
    drop(zope);
    cluster.stop().unwrap();
    let found = site.check(&["drop"]).unwrap();
    assert_eq!(found["folders"]["drop"], serde_json::json!(["large.bin"]));
}

#[test]
fn only_managers_write() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    let put = |target: &str| Request::new("PUT", target).body("intruder\n");
    let edit = Request::new("POST", "/page/manage_edit")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("data=intruder&title=t");
    for target in ["/note.txt", "/drop/new.txt"] {
        for request in [
            put(target),
            put(target).basic("reader", "reader-password"),
            put(target).basic("admin", "wrong"),
            put(target).basic("stranger", "admin-password"),
        ] {
            let answer = http::send(cluster.balancer(), &request).unwrap();
            assert_eq!(answer.status, 401, "{}: {}", request.title(), answer.text());
            assert!(answer.header("www-authenticate").is_some());
        }
    }
    for request in [edit.clone(), edit.basic("reader", "reader-password")] {
        assert_eq!(
            http::send(cluster.balancer(), &request).unwrap().status,
            401
        );
    }
    let transactions = |site: &conformance::Site| {
        site.check(&["drop"]).unwrap()["transactions"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(
        http::get(cluster.balancer(), "/note.txt").unwrap().text(),
        "first note\n"
    );
    cluster.stop().unwrap();
    assert_eq!(
        transactions(&site),
        transactions(&sound_site()),
        "nothing was written"
    );
}

/// Has every publisher read the object, so that only an invalidation can make it read it again.
fn warm(cluster: &Cluster, target: &str) {
    for member in cluster.publishers() {
        let answer = http::get(member.address, target).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The very next request through that publisher shows it.
fn expect_text(address: SocketAddr, target: &str, expected: &str) {
    assert_eq!(
        http::get(address, target).expect("an answer").text(),
        expected,
        "{target} at {address}"
    );
}
