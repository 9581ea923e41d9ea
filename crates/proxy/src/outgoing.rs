//! The answer on its way to the client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tracing::warn;

use crate::access::Record;
use crate::exchange;

/// The body as hyper's server pulls it: as fast as the client takes it.
pub(crate) struct ResponseBody {
    held: VecDeque<Bytes>,
    rest: Option<Rest>,
    /// Written when the body is gone, sent or not.
    record: Record,
}

struct Rest {
    /// Gone when it has ended, well or not.
    inner: Option<exchange::Rest>,
    idle_wait: Duration,
    timer: Pin<Box<Sleep>>,
}

/// The backend broke off in the middle of an answer that the client has begun to see. The client's
/// connection is closed, so that it sees that, too.
#[derive(Debug, thiserror::Error)]
#[error("the backend broke off in the middle of its answer")]
pub(crate) struct Cut;

impl ResponseBody {
    pub(crate) fn new(
        held: VecDeque<Bytes>,
        rest: Option<exchange::Rest>,
        idle_wait: Duration,
        record: Record,
    ) -> Self {
        let rest = rest.map(|rest| Rest {
            inner: Some(rest),
            idle_wait,
            timer: Box::pin(sleep(idle_wait)),
        });
        Self { held, rest, record }
    }

    pub(crate) fn whole(text: String, record: Record) -> Self {
        Self {
            held: VecDeque::from([Bytes::from(text)]),
            rest: None,
            record,
        }
    }
}

impl Rest {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(None);
            };
            let frame = match Pin::new(&mut inner.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    self.inner = None;
                    return Poll::Ready(Some(Err(Cut)));
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    self.timer.as_mut().reset(Instant::now() + self.idle_wait);
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    warn!(%error, "an answer was cut short");
                    if let Some(inner) = self.inner.take() {
                        inner.connection.broken();
                    }
                    return Poll::Ready(Some(Err(Cut)));
                }
                None => {
                    if let Some(inner) = self.inner.take() {
                        inner.connection.complete();
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let data = match self.held.pop_front() {
            Some(data) => Some(Ok(data)),
            None => match &mut self.rest {
                Some(rest) => ready!(rest.poll(cx)),
                None => None,
            },
        };
        if let Some(Ok(data)) = &data {
            self.record.count(data.len());
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            None => SizeHint::with_exact(self.held.iter().map(|data| data.len() as u64).sum()),
            Some(_) => SizeHint::default(),
        }
    }
}
