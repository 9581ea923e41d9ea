//! Asks the members of a pool how they are, all at the same time.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use balance::{BackendId, Report};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use crate::rules::{Check, Rules};

/// A pool whose members are checked.
pub trait Subject: Send + Sync + 'static {
    /// How they are asked.
    fn rules(&self) -> &Rules;

    /// Whom to ask now.
    fn members(&self) -> Vec<(BackendId, SocketAddr)>;

    /// Takes what one of them said.
    fn check_done(self: &Arc<Self>, id: BackendId, result: Result<Report, CheckFailure>);

    /// Ready when there are others to ask than before.
    fn members_changed(&self) -> impl Future<Output = ()> + Send;
}

/// Checks for ever. A check that hangs holds up no other.
pub async fn run<S: Subject>(subject: Arc<S>) {
    let mut ticks = interval(subject.rules().every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checks: JoinSet<BackendId> = JoinSet::new();
    let mut running = BTreeSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = subject.members_changed() => {}
            Some(done) = checks.join_next() => {
                if let Ok(id) = done {
                    running.remove(&id);
                }
                continue;
            }
        }
        for (id, address) in subject.members() {
            if running.insert(id) {
                checks.spawn(check(subject.clone(), id, address));
            }
        }
    }
}

async fn check<S: Subject>(subject: Arc<S>, id: BackendId, address: SocketAddr) -> BackendId {
    let rules = subject.rules();
    let answer = timeout(rules.wait, ask(&rules.check, address)).await;
    let late = || (CheckFailure::Unwell, "no answer in time".to_owned());
    let result = answer.unwrap_or_else(|_| Err(late()));
    if let Err((_, error)) = &result {
        debug!(backend = %address, error, "a check failed");
    }
    subject.check_done(id, result.map_err(|(failure, _)| failure));
    id
}

/// How a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckFailure {
    /// There was no connection.
    Refused,
    /// The answer was bad, or none.
    Unwell,
}

/// What a publisher of ours says about itself.
#[derive(Debug, Deserialize)]
struct Said {
    ready: bool,
    workers: u32,
    #[serde(default)]
    busy: u32,
}

/// What the backend tells, if it is well.
async fn ask(check: &Check, address: SocketAddr) -> Result<Report, (CheckFailure, String)> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| (CheckFailure::Refused, error.to_string()))?;
    let path = match check {
        Check::Zodiac => HEALTH,
        Check::Path(path) => path,
        Check::Connect => return Ok(Report::default()),
    };
    let unwell = |error: String| (CheckFailure::Unwell, error);
    let (status, body) = get(stream, address, path)
        .await
        .map_err(|error| unwell(error.to_string()))?;
    match check {
        Check::Zodiac => judge(status, &body).map_err(unwell),
        _ if status.as_u16() < 400 => Ok(Report::default()),
        _ => Err(unwell(format!("{path} answered {status}"))),
    }
}

fn judge(status: StatusCode, body: &[u8]) -> Result<Report, String> {
    if status.is_server_error() {
        return Err(format!("{HEALTH} answered {status}"));
    }
    match serde_json::from_slice::<Said>(body) {
        Ok(said) if status == StatusCode::OK && said.ready => Ok(Report {
            workers: Some(said.workers),
            busy: Some(said.busy),
            ..Report::default()
        }),
        Ok(said) if !said.ready => Err("it says that it is not ready".to_owned()),
        // Another kind of server, which at least answers.
        _ => Ok(Report::default()),
    }
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

async fn get(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Problem> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REPORT_BYTES_MAX)
            .collect()
            .await?;
        Ok::<_, Problem>((status, body.to_bytes()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end first when the answer is complete in its buffer.
        _ = &mut connection => exchange.await,
    }
}

const HEALTH: &str = "/_zodiac/health";
const REPORT_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_publishers_are_believed_and_others_tolerated() {
        let ok = StatusCode::OK;
        let seven = Report {
            workers: Some(7),
            busy: Some(2),
            ..Report::default()
        };
        let said = br#"{"ready":true,"workers":7,"busy":2}"#;
        assert_eq!(judge(ok, said), Ok(seven));
        assert!(judge(ok, br#"{"ready":false,"workers":7}"#).is_err());
        assert_eq!(judge(ok, b"<html>hello"), Ok(Report::default()));
        assert_eq!(judge(StatusCode::NOT_FOUND, b""), Ok(Report::default()));
        assert!(judge(StatusCode::BAD_GATEWAY, b"").is_err());
    }
}
