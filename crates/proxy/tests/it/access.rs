//! One line for each request.

use std::io;
use std::sync::{LazyLock, Mutex};

use tracing_subscriber::filter::EnvFilter;

use crate::support::{Act, Balancer, Origin, until};

/// The access lines of all tests of this process. The balancer has threads of its own, so only a
/// global subscriber sees them.
static LINES: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line_of(path: &str) -> Option<String> {
    let lines = String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
    lines
        .lines()
        .find(|line| line.contains(path) && line.ends_with('}'))
        .map(str::to_owned)
}

#[tokio::test]
async fn a_request_leaves_one_line() {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new("access=info"))
        .with_writer(|| Lines)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let dying = Origin::start(|_| Act::Reset(Vec::new())).await;
    let living = Origin::answering("eleven byte").await;
    let balancer = Balancer::start(&[&dying, &living], |_| {});
    // With both up and idle, the first one is asked first.
    until(|| {
        balancer
            .handle
            .members()
            .iter()
            .all(|m| m.health == balance::Health::Up)
    })
    .await;
    let mut client = balancer.client().await;
    client
        .send(b"GET /access-line?secret HTTP/1.1\r\nHost: site\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    until(|| line_of("/access-line").is_some()).await;
    let line: serde_json::Value = serde_json::from_str(&line_of("/access-line").unwrap()).unwrap();
    assert_eq!(line["target"], "access");
    assert_eq!(
        line["request_id"],
        living.seen()[0].header("x-request-id").unwrap()
    );
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/access-line");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], 11);
    assert!(line["duration_ms"].is_u64());
    assert_eq!(line["backend"], living.address.to_string());
    assert_eq!(line["retries"], 1);

    // A client that leaves before its answer is there has a line, too.
    let hanging = Origin::start(|_| Act::Hang).await;
    balancer.handle.set_members(&[hanging.address.into()]);
    let mut client = balancer.client().await;
    client
        .send(b"GET /left-early HTTP/1.1\r\nHost: site\r\n\r\n")
        .await;
    until(|| hanging.in_flight() == 1).await;
    drop(client);
    until(|| line_of("/left-early").is_some()).await;
    let line: serde_json::Value = serde_json::from_str(&line_of("/left-early").unwrap()).unwrap();
    assert_eq!(line["status"], 499);
    balancer.stop().await;
}
