//! One attempt: one request to one backend, up to the point where its answer may be shown.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use balance::{Outcome, Progress};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::http::response::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use crate::incoming::{RequestBody, Upload};
use crate::options::Options;
use crate::shared::Lease;
use crate::upstream::{Sender, Upstream};

/// An answer of which enough has come to begin with it.
pub(crate) struct Reply {
    pub(crate) head: Parts,
    pub(crate) held: VecDeque<Bytes>,
    /// The rest, with everything that must live as long as it. `None`: the answer is whole, and
    /// the backend free again.
    pub(crate) rest: Option<Rest>,
}

pub(crate) struct Rest {
    pub(crate) incoming: Incoming,
    pub(crate) connection: Connection,
}

/// A connection in use, with the slot that it occupies.
pub(crate) struct Connection {
    sender: Sender,
    lease: Lease,
    upstream: Arc<Upstream>,
}

impl Connection {
    /// The answer has been read to its end.
    pub(crate) fn complete(self) {
        self.upstream.check_in(self.lease.address(), self.sender);
        self.lease.settle(Outcome::Completed);
    }

    /// It broke.
    pub(crate) fn broken(self) {
        self.lease.settle(Outcome::Broken);
    }
}

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) progress: Progress,
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection.
    Connect,
    /// The connection broke before the answer was whole.
    Broken,
    /// It took too long.
    TimedOut,
    /// The answer is not one that may be passed on.
    Unusable,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FailureKind::Connect => "no connection",
            FailureKind::Broken => "the connection broke",
            FailureKind::TimedOut => "no answer in time",
            FailureKind::Unusable => "the answer is unusable",
        };
        write!(f, "{what}: {}", self.detail)
    }
}

fn failure(kind: FailureKind, progress: Progress, detail: impl fmt::Display) -> Failure {
    Failure {
        kind,
        progress,
        detail: detail.to_string(),
    }
}

/// Makes one attempt. `is_safe`: the request may be sent twice.
///
/// Only safe requests use a kept connection: the backend may be closing it just now, and whether
/// it has acted on a request in such a moment cannot be known. A safe one then goes over a fresh
/// connection to the same backend, which has not failed by that.
pub(crate) async fn attempt(
    upstream: &Arc<Upstream>,
    options: &Options,
    lease: Lease,
    is_safe: bool,
    mut request: impl FnMut() -> Request<RequestBody>,
) -> Result<Reply, Failure> {
    let address = lease.address();
    let mut lease = lease;
    if is_safe && let Some(sender) = upstream.check_out(address) {
        let sent = Exchange::new(sender, request(), lease, options)
            .response()
            .await;
        match sent {
            Ok((response, sender, lease)) => {
                let connection = Connection {
                    sender,
                    lease,
                    upstream: upstream.clone(),
                };
                return hold(options, response, connection).await;
            }
            Err((failure, unbroken)) if failure.kind == FailureKind::Broken => lease = unbroken,
            Err((failure, lease)) => return Err(settle(failure, lease)),
        }
    }
    let sender = match upstream.connect(address).await {
        Ok(sender) => sender,
        Err(error) => {
            let failure = failure(FailureKind::Connect, Progress::NotSent, error);
            return Err(settle(failure, lease));
        }
    };
    match Exchange::new(sender, request(), lease, options)
        .response()
        .await
    {
        Ok((response, sender, lease)) => {
            let connection = Connection {
                sender,
                lease,
                upstream: upstream.clone(),
            };
            hold(options, response, connection).await
        }
        Err((failure, lease)) => Err(settle(failure, lease)),
    }
}

/// Gives the slot back with what the failure says about the backend.
fn settle(failure: Failure, lease: Lease) -> Failure {
    lease.settle(match failure.kind {
        FailureKind::Connect => Outcome::ConnectFailed,
        FailureKind::Broken | FailureKind::Unusable => Outcome::Broken,
        FailureKind::TimedOut => Outcome::Unknown,
    });
    failure
}

type Sending = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

/// A request under way. When its client hangs up, the backend still computes; its slot stays taken
/// until it has answered, so that it never has more requests than workers.
struct Exchange {
    parts: Option<(Sending, Sender, Lease)>,
    upload: Option<Arc<Upload>>,
    wait: Duration,
}

impl Exchange {
    fn new(
        mut sender: Sender,
        request: Request<RequestBody>,
        lease: Lease,
        options: &Options,
    ) -> Self {
        let upload = request.body().upload();
        let sending: Sending = Box::pin(sender.send(request));
        Self {
            parts: Some((sending, sender, lease)),
            upload,
            wait: options.response_wait,
        }
    }

    async fn response(mut self) -> Result<(Response<Incoming>, Sender, Lease), (Failure, Lease)> {
        let parts = self.parts.as_mut().expect("taken only below, and on drop");
        let answered = answer(&mut parts.0, self.upload.as_deref(), self.wait).await;
        let (_, sender, lease) = self.parts.take().expect("taken only here, and on drop");
        match answered {
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let detail = "it switched protocols without being asked";
                Err((
                    failure(FailureKind::Unusable, Progress::Sent, detail),
                    lease,
                ))
            }
            Some(Ok(response)) => Ok((response, sender, lease)),
            Some(Err(error)) if error.is_parse() => {
                Err((failure(FailureKind::Unusable, Progress::Sent, error), lease))
            }
            // hyper does not tell whether a part was sent: say the worse.
            Some(Err(error)) => Err((failure(FailureKind::Broken, Progress::Sent, error), lease)),
            None => {
                let detail = format_args!("{:?} passed", self.wait);
                Err((
                    failure(FailureKind::TimedOut, Progress::Sent, detail),
                    lease,
                ))
            }
        }
    }
}

/// What the backend says, if it says it in time. Only its own time counts: what the client takes to
/// send its body is limited where that is read.
async fn answer(
    sending: &mut Sending,
    upload: Option<&Upload>,
    wait: Duration,
) -> Option<Result<Response<Incoming>, hyper::Error>> {
    let mut since = Some(Instant::now());
    loop {
        let until = since.unwrap_or_else(Instant::now) + wait;
        if let Ok(answered) = timeout_at(until, &mut *sending).await {
            return Some(answered);
        }
        since = upload?.backend_since();
        if since.is_some_and(|since| since + wait <= Instant::now()) {
            return None;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some((sending, sender, lease)) = self.parts.take() {
            let wait = self.wait;
            // Without a runtime the whole balancer is ending, and the slot with it.
            let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                return;
            };
            runtime.spawn(async move {
                let _ = timeout(wait, sending).await;
                drop((sender, lease));
            });
        }
    }
}

/// Holds the beginning of an answer back: a backend that dies over it can still be replaced.
async fn hold(
    options: &Options,
    response: Response<Incoming>,
    connection: Connection,
) -> Result<Reply, Failure> {
    let (head, mut incoming) = response.into_parts();
    let (mut held, mut count) = (VecDeque::new(), 0);
    let until = Instant::now() + options.hold_wait;
    let is_whole = loop {
        if incoming.is_end_stream() {
            break true;
        }
        if count >= options.hold_bytes_max {
            break false;
        }
        match timeout_at(until, incoming.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    count += data.len();
                    held.push_back(data);
                }
            }
            Ok(Some(Err(error))) => {
                connection.broken();
                return Err(failure(FailureKind::Broken, Progress::Sent, error));
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let rest = if is_whole {
        connection.complete();
        None
    } else {
        Some(Rest {
            incoming,
            connection,
        })
    };
    Ok(Reply { head, held, rest })
}
