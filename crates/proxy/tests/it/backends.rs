//! Backends that die, refuse, come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use balance::Health;
use proxy::Check;

use crate::support::{Act, Balancer, Origin, Seen, answer, until};

/// Acts as told on the first request, answers the others.
async fn once(act: fn() -> Act) -> Origin {
    let done = AtomicBool::new(false);
    Origin::start(move |_| {
        if done.swap(true, Ordering::SeqCst) {
            Act::Answer("second")
        } else {
            act()
        }
    })
    .await
}

/// An address where nobody listens.
async fn nobody() -> std::net::SocketAddr {
    let mut origin = Origin::answering("").await;
    origin.kill().await;
    origin.address
}

fn part_of(length: usize, sent: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    bytes.extend(vec![b'x'; sent]);
    bytes
}

const POST: &str = "POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\n\r\nbody";

#[tokio::test]
async fn a_read_survives_a_backend_that_dies_before_its_answer_or_over_it() {
    let chunked = || {
        Act::Reset(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".into())
    };
    let deaths: [fn() -> Act; 5] = [
        || Act::Reset(Vec::new()),
        || Act::Reset(b"HTTP/1.1 200".into()),
        || Act::Reset(part_of(1000, 0)),
        || Act::Reset(part_of(1000, 999)),
        chunked,
    ];
    for death in deaths {
        let dying = once(death).await;
        let living = Origin::answering("alive").await;
        let balancer = Balancer::start(&[&dying, &living], |_| {});
        until(|| {
            balancer
                .handle
                .members()
                .iter()
                .all(|m| m.health == Health::Up)
        })
        .await;
        for _ in 0..2 {
            let response = balancer.get("/").await;
            assert_eq!(response.status, 200);
            assert!(
                ["alive", "second"].contains(&response.text()),
                "{response:?}"
            );
        }
        let request_ids = |origin: &Origin| -> Vec<String> {
            let id = |seen: &Seen| seen.header("x-request-id").unwrap().to_owned();
            origin.seen().iter().map(id).collect()
        };
        let first = request_ids(&dying)[0].clone();
        assert!(
            request_ids(&living).contains(&first),
            "the same request, elsewhere"
        );
        balancer.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_cut_not_repeated() {
    let large = 1 << 20;
    let dying = Origin::start(move |_| Act::Reset(part_of(1 << 20, 300_000))).await;
    let balancer = Balancer::start(&[&dying], |_| {});
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    let got = client.rest().await.map_or(0, |rest| rest.len());
    assert!(got < large, "a part only");
    assert_eq!(dying.seen().len(), 1);
    balancer.stop().await;
}

#[tokio::test]
async fn a_write_that_was_sent_is_not_sent_again() {
    let dying = Origin::start(|_| Act::Reset(Vec::new())).await;
    let other = Origin::start(|_| Act::Reset(Vec::new())).await;
    let balancer = Balancer::start(&[&dying, &other], |_| {});
    let response = balancer.ask(POST).await;
    assert_eq!(response.status, 502);
    assert!(response.text().contains("broke off before it had answered"));
    assert_eq!(dying.seen().len() + other.seen().len(), 1);
    balancer.stop().await;
}

#[tokio::test]
async fn a_write_that_found_no_connection_goes_elsewhere() {
    let living = Origin::answering("alive").await;
    let dead = nobody().await;
    let balancer = Balancer::start(&[&living], |options| {
        options.members.insert(0, dead.into());
        // The checks must not be the ones to find out.
        options.check_every = Duration::from_secs(3600);
        options.fall = 100;
    });
    for _ in 0..4 {
        assert_eq!(balancer.ask(POST).await.text(), "alive");
    }
    let members = balancer.handle.members();
    assert_eq!(
        members.iter().find(|m| m.address == dead).unwrap().health,
        Health::Down
    );
    assert!(living.seen().iter().all(|seen| seen.body == b"body"));
    balancer.stop().await;
}

#[tokio::test]
async fn a_read_gives_up_when_every_backend_has_failed_once() {
    let first = Origin::start(|_| Act::Reset(Vec::new())).await;
    let second = Origin::start(|_| Act::Reset(Vec::new())).await;
    let balancer = Balancer::start(&[&first, &second], |_| {});
    assert_eq!(balancer.get("/").await.status, 502);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    balancer.stop().await;
}

#[tokio::test]
async fn without_backends_the_answer_says_so() {
    let balancer = Balancer::start(&[], |_| {});
    let response = balancer.get("/").await;
    assert_eq!(response.status, 503);
    assert!(
        response
            .text()
            .contains("no server of this site is running")
    );
    let dead = nobody().await;
    balancer.handle.set_members(&[dead.into()]);
    let response = balancer.get("/").await;
    assert_eq!(response.status, 502);
    assert!(
        response
            .text()
            .contains("no server of this site accepts connections")
    );
    balancer.stop().await;
}

/// The backend closes after each answer without having said so.
#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_no_failure() {
    let origin = Origin::start(|_| Act::Close(answer("ok", false))).await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let mut client = balancer.client().await;
    for _ in 0..30 {
        client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "ok");
        client.send(POST.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
    }
    balancer.stop().await;
}

/// The backend takes the next request on the kept connection, and resets: a race that is lost.
#[tokio::test]
async fn a_read_on_a_kept_connection_that_breaks_goes_over_a_fresh_one() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        1 => Act::Reset(Vec::new()),
        _ => Act::Answer("ok"),
    })
    .await;
    let balancer = Balancer::start(&[&origin], |_| {});
    assert_eq!(balancer.get("/1").await.text(), "ok");
    assert_eq!(balancer.get("/2").await.text(), "ok");
    let paths: Vec<String> = origin.seen().iter().map(|s| s.path().to_owned()).collect();
    assert_eq!(paths, ["/1", "/2", "/2"]);
    balancer.stop().await;
}

#[tokio::test]
async fn workers_are_as_announced_and_health_follows() {
    let ready = Arc::new(AtomicBool::new(true));
    let says = ready.clone();
    let origin = Origin::start(move |seen| {
        if seen.path() != "/_zodiac/health" {
            return Act::Answer("page");
        }
        Act::Answer(if says.load(Ordering::SeqCst) {
            r#"{"ready":true,"workers":7,"busy":0,"waiting":0}"#
        } else {
            r#"{"ready":false,"workers":7,"busy":0,"waiting":0}"#
        })
    })
    .await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.check = Check::Zodiac;
        options.check_every = Duration::from_millis(10);
    });
    let member = || balancer.handle.members()[0];
    until(|| member().health == Health::Up && member().slots.get() == 7).await;
    ready.store(false, Ordering::SeqCst);
    until(|| member().health == Health::Down).await;
    assert_eq!(balancer.get("/").await.text(), "page", "better than nobody");
    ready.store(true, Ordering::SeqCst);
    until(|| member().health == Health::Up).await;
    balancer.stop().await;
}

#[tokio::test]
async fn members_come_and_go_while_requests_run() {
    let (old, new) = (
        Origin::answering("old").await,
        Origin::answering("new").await,
    );
    let balancer = Balancer::start(&[&old], |_| {});
    assert_eq!(balancer.get("/").await.text(), "old");
    balancer.handle.set_members(&[new.address.into()]);
    for _ in 0..5 {
        assert_eq!(balancer.get("/").await.text(), "new");
    }
    assert_eq!(balancer.handle.members().len(), 1);
    balancer.stop().await;
}

/// Kill one of three under load, then let it live again: no reader notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_one_of_three_is_not_seen() {
    let mut first = Origin::answering("first").await;
    let second = Origin::answering("second").await;
    let third = Origin::answering("third").await;
    let balancer = Balancer::start(&[&first, &second, &third], |options| {
        options.threads = std::num::NonZeroUsize::new(2).unwrap();
        options.check_every = Duration::from_millis(20);
    });
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (done, answered) = (done.clone(), answered.clone());
        let mut client = balancer.client().await;
        readers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
                let response = client.response().await;
                assert_eq!(response.status, 200, "{}", response.text());
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    until(|| first.seen().len() > 100).await;
    first.kill().await;
    let address = first.address;
    let health = || {
        balancer
            .handle
            .members()
            .iter()
            .find(|m| m.address == address)
            .unwrap()
            .health
    };
    until(|| health() == Health::Down).await;
    let before = answered.load(Ordering::SeqCst);
    until(|| answered.load(Ordering::SeqCst) > before + 200).await;
    done.store(true, Ordering::SeqCst);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(
        balancer
            .handle
            .members()
            .iter()
            .all(|member| member.in_flight == 0)
    );
    balancer.stop().await;
}
