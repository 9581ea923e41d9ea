//! The request body on its way to a backend.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

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
    mut incoming: Incoming,
    options: &Options,
    fault: &Arc<OnceLock<Fault>>,
) -> Result<Prepared, Fault> {
    let announced = incoming.size_hint().lower();
    if announced > options.body_bytes_max {
        return Err(Fault::TooLarge);
    }
    let (mut held, mut count) = (VecDeque::new(), 0);
    while count < BODY_HELD_BYTES_MAX {
        let frame = timeout(options.body_wait, incoming.frame()).await;
        let Some(frame) = frame.map_err(|_| Fault::TimedOut)? else {
            return Ok(Prepared::Whole(join(held, count)));
        };
        // Trailers end here: nothing behind us asks for them.
        let Ok(data) = frame.map_err(|_| Fault::Malformed)?.into_data() else {
            continue;
        };
        count += data.len();
        held.push_back(data);
        if count as u64 > options.body_bytes_max {
            return Err(Fault::TooLarge);
        }
    }
    if incoming.is_end_stream() {
        return Ok(Prepared::Whole(join(held, count)));
    }
    let rest = Rest {
        incoming,
        left_max: options.body_bytes_max - count as u64,
        wait: options.body_wait,
        timer: Box::pin(sleep(options.body_wait)),
        fault: fault.clone(),
    };
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
    wait: Duration,
    timer: Pin<Box<Sleep>>,
    /// Tells the service why an attempt failed that failed through no fault of the backend.
    fault: Arc<OnceLock<Fault>>,
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
}

impl Rest {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                ready!(self.timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(Fault::TimedOut)));
            };
            let Some(frame) = frame else {
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else {
                return Poll::Ready(Some(Err(Fault::Malformed)));
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.timer.as_mut().reset(Instant::now() + self.wait);
            let Some(left) = self.left_max.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(Fault::TooLarge)));
            };
            self.left_max = left;
            return Poll::Ready(Some(Ok(data)));
        }
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
        let data = ready!(rest.poll(cx));
        if let Some(Err(fault)) = &data {
            let _ = rest.fault.set(*fault);
        }
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
