//! Bytes in one direction, from one socket to another.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use crate::stock::{BUFFER_BYTES, Stock};

/// Carries what comes from `from` until it ends, then ends `to`. Holds a buffer only while there is something in it.
pub(crate) async fn flow(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    stock: &Stock,
    activity: &Activity,
) -> io::Result<()> {
    let mut full_in_a_row = 0;
    loop {
        from.readable().await?;
        let mut buffer = stock.buffer();
        let Some(length) = read_now(&mut from, &mut buffer).await? else {
            stock.put_buffer(buffer);
            continue;
        };
        to.write_all(&buffer[..length]).await?;
        stock.put_buffer(buffer);
        activity.note();
        if length == 0 {
            return to.shutdown().await;
        }
        full_in_a_row = match length {
            BUFFER_BYTES => full_in_a_row + 1,
            _ => 0,
        };
        if full_in_a_row >= BULK_AFTER {
            if bulk(&from, &to, stock, activity).await? {
                return to.shutdown().await;
            }
            full_in_a_row = 0;
        }
    }
}

/// What is there to be read; `None` if nothing is. Unlike a read that waits, it lets go of the buffer then; and
/// unlike `try_read` it knows that a short read means that nothing is left.
async fn read_now(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    poll_fn(|cx| {
        let mut buffer = ReadBuf::new(buffer);
        Poll::Ready(match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => Ok(Some(buffer.filled().len())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(None),
        })
    })
    .await
}

/// Lets the kernel move bytes, through a pipe, as long as they come in bulk. Whether the stream has ended.
#[cfg(target_os = "linux")]
async fn bulk(
    from: &ReadHalf<'_>,
    to: &WriteHalf<'_>,
    stock: &Stock,
    activity: &Activity,
) -> io::Result<bool> {
    use rustix::pipe::{SpliceFlags, splice};
    use tokio::io::Interest;

    let Ok(pipe) = stock.pipe() else {
        // Too many open files: copying needs none.
        return Ok(false);
    };
    let (from, to) = (from.as_ref(), to.as_ref());
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let mut small_in_a_row = 0;
    while small_in_a_row < QUIET_AFTER {
        let fill = || Ok(splice(from, None, &pipe.write, None, PIPE_BYTES, flags)?);
        let length = from.async_io(Interest::READABLE, fill).await?;
        let mut left = length;
        while left > 0 {
            let empty = || Ok(splice(&pipe.read, None, to, None, left, flags)?);
            match to.async_io(Interest::WRITABLE, empty).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                moved => left -= moved,
            }
            activity.note();
        }
        if length == 0 {
            stock.put_pipe(pipe);
            return Ok(true);
        }
        small_in_a_row = match length < BUFFER_BYTES {
            true => small_in_a_row + 1,
            false => 0,
        };
    }
    stock.put_pipe(pipe);
    Ok(false)
}

/// Elsewhere all is copied.
#[cfg(not(target_os = "linux"))]
async fn bulk(
    _from: &ReadHalf<'_>,
    _to: &WriteHalf<'_>,
    _stock: &Stock,
    _activity: &Activity,
) -> io::Result<bool> {
    Ok(false)
}

/// When a connection moved last, in whichever direction.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let since = self.start.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// Ready when nothing has moved for so long; never without a limit.
    pub(crate) async fn rest(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.start + last + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// Full buffers in a row that make a stream a long one.
const BULK_AFTER: u32 = 4;
/// Small portions in a row after which it is none any more, and its pipe is somebody else's.
#[cfg(target_os = "linux")]
const QUIET_AFTER: u32 = 8;
/// What a pipe holds as it is made.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 64 << 10;
