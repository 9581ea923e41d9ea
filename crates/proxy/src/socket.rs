//! A client's connection with a [`Gate`] in it, and with patience that ends while it reads.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use edge::Patient;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::gate::{Gate, Step};
use crate::options::Options;
use crate::sanitize::Refusal;

/// What the socket and the service of one connection know of each other.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Why the connection cannot go on. Set once, by the gate.
    pub(crate) refusal: OnceLock<Refusal>,
    /// Whether a request is being answered.
    pub(crate) busy: AtomicBool,
}

/// hyper is handed this instead of a head that was refused: the service then finds the refusal in
/// the [`Link`] and answers it in its turn, after the answers to the requests before it. A client
/// that sends it gets the 404 of all internal paths.
pub(crate) const REFUSED_PATH: &str = "/_zodiac/refused";
const REFUSED_HEAD: &[u8] =
    b"GET /_zodiac/refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

pub(crate) struct Socket {
    stream: Patient,
    link: Arc<Link>,
    gate: Gate,
    /// Came, not judged yet.
    held: BytesMut,
    /// Judged, not taken yet.
    passed: BytesMut,
    reading: Reading,
    read_timer: Pin<Box<Sleep>>,
    idle_wait: Duration,
    head_wait: Duration,
}

/// What the read timer is set for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Untimed,
    Idle,
    Head,
    /// Refused: nothing is read any more.
    Over,
}

impl Socket {
    pub(crate) fn new(stream: Patient, link: Arc<Link>, options: &Options) -> Self {
        Self {
            stream,
            link,
            gate: Gate::new(options.head_bytes_max, options.headers_max),
            held: BytesMut::new(),
            passed: BytesMut::new(),
            reading: Reading::Untimed,
            read_timer: Box::pin(sleep(options.idle_wait)),
            idle_wait: options.idle_wait,
            head_wait: options.head_wait,
        }
    }

    /// Judges what is held. `Ok(true)` if something changed.
    fn judge(&mut self) -> io::Result<bool> {
        match self.gate.step(&self.held) {
            Step::More => return Ok(false),
            Step::Pass(count) => {
                self.passed = self.held.split_to(count);
                self.reading = Reading::Untimed;
            }
            Step::Drop(count) => self.held.advance(count),
            Step::RefuseHead(refusal) => self.refuse(refusal),
            Step::RefuseBody(refusal) => {
                let _ = self.link.refusal.set(refusal);
                self.reading = Reading::Over;
                return Err(io::Error::new(io::ErrorKind::InvalidData, refusal.reason));
            }
        }
        Ok(true)
    }

    fn refuse(&mut self, refusal: Refusal) {
        let _ = self.link.refusal.set(refusal);
        self.reading = Reading::Over;
        self.held.clear();
        self.passed = BytesMut::from(REFUSED_HEAD);
    }

    /// Whether the peer's time is over. Bodies are timed by whoever waits for them.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Reading> {
        let (reading, wait) = match (self.gate.is_at_head(), self.held.is_empty()) {
            (true, true) => (Reading::Idle, self.idle_wait),
            (true, false) => (Reading::Head, self.head_wait),
            (false, _) => return Poll::Pending,
        };
        loop {
            if self.reading != reading {
                self.reading = reading;
                self.read_timer.as_mut().reset(Instant::now() + wait);
            }
            ready!(self.read_timer.as_mut().poll(cx));
            if !self.link.busy.load(Ordering::Relaxed) {
                return Poll::Ready(reading);
            }
            // It waits for us, not we for it: the time has not begun.
            self.reading = Reading::Untimed;
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.passed.is_empty() {
                let count = self.passed.len().min(buffer.remaining());
                buffer.put_slice(&self.passed[..count]);
                self.passed.advance(count);
                return Poll::Ready(Ok(()));
            }
            if self.reading == Reading::Over {
                // The answer ends the connection; nothing that comes can change it.
                return Poll::Pending;
            }
            if self.judge()? {
                continue;
            }
            let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.held.extend_from_slice(read.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match ready!(self.poll_patience(cx)) {
                    Reading::Head => {
                        let reason = "the request head did not arrive in time";
                        self.refuse(Refusal {
                            status: 408,
                            reason,
                        });
                    }
                    // Like a peer that has closed: nothing was asked, nothing is answered.
                    _ => return Poll::Ready(Ok(())),
                },
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const READ_BYTES: usize = 8 << 10;
