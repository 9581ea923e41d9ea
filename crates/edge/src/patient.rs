//! The stream of an accepted connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A TCP stream that gives up on a peer that takes nothing for too long, and that closes without
/// destroying its own last words: the two manners that hyper leaves to us.
#[derive(Debug)]
pub struct Patient {
    stream: TcpStream,
    write_wait: Duration,
    timer: Pin<Box<Sleep>>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Flowing,
    /// A write is pending and the timer runs.
    Stalled,
    /// Our side is closed; the peer's last bytes are read and thrown away.
    Lingering,
}

impl Patient {
    /// `write_wait` is how long the peer may take nothing.
    pub fn new(stream: TcpStream, write_wait: Duration) -> Self {
        Self {
            stream,
            write_wait,
            timer: Box::pin(sleep(write_wait)),
            phase: Phase::Flowing,
        }
    }

    /// The stream, for who has manners of his own.
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Passes on the result of a write, watching how long it stays pending.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.phase = Phase::Flowing;
            return write;
        }
        if self.phase != Phase::Stalled {
            self.phase = Phase::Stalled;
            self.timer.as_mut().reset(Instant::now() + self.write_wait);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no bytes",
        )))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side, then reads on for a moment: a socket closed with unread bytes sends a
    /// reset, and a reset can overtake the answer that says why (RFC 9112, 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.phase != Phase::Lingering {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.phase = Phase::Lingering;
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        let mut scratch = [MaybeUninit::uninit(); SCRATCH_BYTES];
        loop {
            if self.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::uninit(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// How long a closed connection is still read, so that its last answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const SCRATCH_BYTES: usize = 8 << 10;
