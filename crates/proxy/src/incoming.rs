//! The request body on its way to a backend.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::options::{BODY_HELD_BYTES_MAX, Options};
use crate::sanitize::Refusal;

/// Why a request body cannot be passed on: the client's fault, with the status that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    Malformed,
    TimedOut,
}

impl Fault {
    pub(crate) fn refusal(self) -> Refusal {
        let (status, reason) = match self {
            Self::TooLarge => (413, "the request body is larger than this site accepts"),
            Self::Malformed => (400, "the request body is malformed"),
            Self::TimedOut => (408, "the request body did not arrive in time"),
        };
        Refusal { status, reason }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.refusal().reason)
    }
}

impl std::error::Error for Fault {}

/// A body as far as it was read before a backend was chosen.
pub(crate) enum Prepared {
    /// All of it: can be sent any number of times.
    Whole(Bytes),
    /// The beginning; the rest is still on its way. Can be sent once.
    Begun(RequestBody),
    /// It was sent.
    Spent,
}

impl Prepared {
    /// The body for one attempt, if there still is one.
    pub(crate) fn take(&mut self) -> Option<RequestBody> {
        match std::mem::replace(self, Self::Spent) {
            Self::Whole(bytes) => {
                *self = Self::Whole(bytes.clone());
                Some(RequestBody::whole(bytes))
            }
            Self::Begun(body) => Some(body),
            Self::Spent => None,
        }
    }

    pub(crate) fn is_replayable(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

/// Reads the beginning of a body, the whole of it if it is small.
pub(crate) async fn prepare(
    incoming: Incoming,
    options: &Options,
    upload: &Arc<Upload>,
) -> Result<Prepared, Fault> {
    if incoming.size_hint().lower() > options.body_bytes_max {
        return Err(Fault::TooLarge);
    }
    let mut rest = Rest {
        incoming,
        left_max: options.body_bytes_max,
        patience: Patience::new(options),
        upload: upload.clone(),
    };
    let (mut held, mut count) = (VecDeque::new(), 0);
    while count < BODY_HELD_BYTES_MAX {
        let Some(data) = poll_fn(|cx| rest.poll(cx)).await else {
            return Ok(Prepared::Whole(join(held, count)));
        };
        let data = data?;
        count += data.len();
        held.push_back(data);
    }
    if rest.incoming.is_end_stream() {
        return Ok(Prepared::Whole(join(held, count)));
    }
    Ok(Prepared::Begun(RequestBody {
        held,
        rest: Some(rest),
    }))
}

fn join(mut held: VecDeque<Bytes>, count: usize) -> Bytes {
    if held.len() <= 1 {
        return held.pop_front().unwrap_or_default();
    }
    let mut joined = Vec::with_capacity(count);
    for piece in held {
        joined.extend_from_slice(&piece);
    }
    Bytes::from(joined)
}

/// The body of one attempt, as hyper's client pulls it.
pub(crate) struct RequestBody {
    held: VecDeque<Bytes>,
    rest: Option<Rest>,
}

struct Rest {
    incoming: Incoming,
    left_max: u64,
    patience: Patience,
    upload: Arc<Upload>,
}

/// What a body that is under way tells the service.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Why an attempt failed that failed through no fault of the backend.
    fault: OnceLock<Fault>,
    /// Since when it is the backend's turn, to take more or to answer; `None`: it is the client's.
    turn: Mutex<Option<Instant>>,
}

impl Upload {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            fault: OnceLock::new(),
            turn: Mutex::new(Some(Instant::now())),
        })
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    pub(crate) fn backend_since(&self) -> Option<Instant> {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, since: Option<Instant>) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// How long the client may still let us wait. Only waiting counts: while its body waits for a slot
/// or for the backend, no time passes here.
struct Patience {
    pause: Duration,
    left: Duration,
    since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(options: &Options) -> Self {
        Self {
            pause: options.body_wait,
            left: options.body_total_wait,
            since: None,
            timer: Box::pin(sleep(options.body_wait)),
        }
    }

    /// Nothing has come. Ready when that has been so for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            self.timer.as_mut().reset(now + self.pause.min(self.left));
        }
        self.timer.as_mut().poll(cx)
    }

    /// Something has come.
    fn rest(&mut self) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }
}

impl RequestBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let held = if bytes.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([bytes])
        };
        Self { held, rest: None }
    }

    /// Where it tells how it gets on, if some of it is still on its way.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        self.rest.as_ref().map(|rest| rest.upload.clone())
    }
}

impl Rest {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                ready!(self.patience.poll_over(cx));
                return Poll::Ready(Some(Err(Fault::TimedOut)));
            };
            self.patience.rest();
            let Some(frame) = frame else {
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else {
                return Poll::Ready(Some(Err(Fault::Malformed)));
            };
            // Trailers end here: nothing behind us asks for them.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let Some(left) = self.left_max.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(Fault::TooLarge)));
            };
            self.left_max = left;
            return Poll::Ready(Some(Ok(data)));
        }
    }

    /// As `poll`, for the backend: tells the service whose turn it is, and what went wrong.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let data = self.poll(cx);
        self.upload.turn(data.is_ready().then(Instant::now));
        if let Poll::Ready(Some(Err(fault))) = &data {
            let _ = self.upload.fault.set(*fault);
        }
        data
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(data) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let data = ready!(rest.poll_told(cx));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty()
            && self
                .rest
                .as_ref()
                .is_none_or(|rest| rest.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.iter().map(|data| data.len() as u64).sum();
        match &self.rest {
            None => SizeHint::with_exact(held),
            Some(rest) => match rest.incoming.size_hint().exact() {
                Some(more) => SizeHint::with_exact(held + more),
                None => SizeHint::default(),
            },
        }
    }
}
