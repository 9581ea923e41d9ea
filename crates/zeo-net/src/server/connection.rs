//! One connection: bytes in, jobs, bytes out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use zeo::{BlobStream, Connection, Hub, Job, Outbox, ProtocolError, Rights};

use crate::tls::Guest;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// Replies are sent before more calls are served once this much has gathered.
const FLUSH_BYTES: usize = 256 << 10;
/// Jobs of one connection that run on other threads at once; while there are so many its calls wait
/// unread. The threads are shared with the commits of all others.
const JOBS_MAX: usize = 4;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Room that a buffer keeps when it is empty again.
const KEEP_BYTES: usize = 1 << 20;

/// Why a connection ends, other than by its client leaving.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(super) async fn serve<S>(
    hub: Arc<Hub>,
    stream: S,
    peer: String,
    guest: Option<Guest>,
    stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wake = Arc::new(Notify::new());
    let waker = wake.clone();
    let rights = guest.as_ref().map_or(Rights::ALL, Guest::rights);
    let connection = hub.connect_with(peer.clone(), rights, move || waker.notify_one());
    let _admitted = guest.map(|guest| guest.admit(connection.outbox()));
    let mut task = Task {
        outbox: connection.outbox().clone(),
        connection,
        stream,
        wake,
        running: Arc::new(AtomicUsize::new(0)),
        out: Vec::new(),
    };
    tracing::debug!(%peer, "connected");
    let end = task.run(stopping).await;
    let label = task.connection.label();
    match end {
        // As the original says it: scripts look for clients by their labels.
        Ok(()) => tracing::info!(target: "ZEO.StorageServer", "({label}) disconnected"),
        Err(End::Io(error)) => tracing::info!(label, %error, "connection lost"),
        Err(End::Protocol(error)) => tracing::warn!(label, %error, "connection closed"),
    }
    if let Some(job) = task.connection.disconnect() {
        // What its transaction claims must be free again, whoever waits for it.
        task.spawn(job);
    }
    task.ended().await;
    // The goodbye of TLS. The client may be gone, or not reading; then there is none.
    let _said = tokio::time::timeout(GOODBYE, task.stream.shutdown()).await;
}

struct Task<S> {
    connection: Connection,
    outbox: Arc<Outbox>,
    stream: S,
    wake: Arc<Notify>,
    /// Jobs on other threads.
    running: Arc<AtomicUsize>,
    out: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Task<S> {
    async fn run(&mut self, mut stopping: watch::Receiver<bool>) -> Result<(), End> {
        let mut buffer = vec![0; READ_BYTES];
        let mut is_stopping = false;
        loop {
            let are_calls_left = self.work().await?;
            self.flush().await?;
            if self.connection.is_closing() {
                return Ok(());
            }
            // Who has its turn to commit is served on: its order to finish may be on the wire.
            if is_stopping && !self.connection.is_committing() {
                return self.drain().await;
            }
            if are_calls_left && !self.is_busy() {
                continue; // A job has ended meanwhile.
            }
            tokio::select! {
                read = self.stream.read(&mut buffer), if !are_calls_left => {
                    let length = read.or_else(leaving)?;
                    if length == 0 {
                        return Ok(());
                    }
                    self.connection.receive(&buffer[..length]);
                }
                () = self.wake.notified() => {}
                () = stopped(&mut stopping), if !is_stopping => is_stopping = true,
            }
        }
    }

    /// Does what the calls that came ask for, while it may. Whether there may be some left.
    async fn work(&mut self) -> Result<bool, End> {
        while !self.is_busy() {
            let Some(job) = self.connection.next_job()? else {
                return Ok(false);
            };
            if job.is_lasting() {
                // Neither this client's calls nor the threads of the others wait for it, nor does the
                // end of the connection.
                std::thread::Builder::new()
                    .name("pack".to_owned())
                    .spawn(move || job.run())?;
            } else if job.is_ordered() {
                // A panic in there costs the connection nothing; the vote finds out.
                let _the_vote_tells = spawn_blocking(move || job.run()).await;
            } else if job.is_shared() {
                spawn_blocking(move || job.run());
            } else if job.is_blocking() {
                self.spawn(job);
            } else {
                self.run_here(job).await?;
            }
        }
        Ok(true)
    }

    async fn run_here(&mut self, job: Job) -> Result<(), End> {
        let mut next = Some(job);
        while let Some(job) = next {
            next = job.perform().deliver();
            if self.outbox.pending() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Acquire) >= JOBS_MAX
    }

    /// Runs a job on a thread that may wait.
    fn spawn(&self, job: Job) {
        let (running, wake) = (self.running.clone(), self.wake.clone());
        running.fetch_add(1, Ordering::AcqRel);
        spawn_blocking(move || {
            let _guard = Running { running, wake };
            job.run();
        });
    }

    /// Sends all that waits. Calls are not read meanwhile, so a client that does not read is not
    /// served either; what others push to it gathers up to the limit of the outbox.
    async fn flush(&mut self) -> Result<(), End> {
        let mut was_noticed = false;
        loop {
            while self.outbox.take(&mut self.out)? {
                self.send(&mut was_noticed).await?;
            }
            let Some(stream) = self.outbox.take_stream() else {
                break;
            };
            self.send_blob(stream, &mut was_noticed).await?;
        }
        if was_noticed {
            // It may have been about something else than bytes: a job has ended, a vote has its turn.
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn send(&mut self, was_noticed: &mut bool) -> Result<(), End> {
        let (outbox, wake) = (&self.outbox, &self.wake);
        let (stream, out) = (&mut self.stream, &self.out);
        let write = async {
            stream.write_all(out).await?;
            // Encrypted bytes may wait in the stream itself.
            stream.flush().await
        };
        tokio::select! {
            biased; // Mostly there is room for all of it.
            written = write => written?,
            failure = failed(outbox, wake, was_noticed) => return Err(failure.into()),
        }
        self.connection.sent(self.out.len());
        self.out.clear();
        self.out.shrink_to(KEEP_BYTES);
        Ok(())
    }

    /// Sends a blob, piece by piece, as fast as the client takes it. All else waits meanwhile, but
    /// for a vote that gets its turn: others wait for that one.
    async fn send_blob(&mut self, mut blob: BlobStream, noticed: &mut bool) -> Result<(), End> {
        let mut is_more = true;
        while is_more {
            let mut out = std::mem::take(&mut self.out);
            let produce = move || (blob.produce(&mut out), blob, out);
            let produced = spawn_blocking(produce).await.map_err(io::Error::other)?;
            let more;
            (more, blob, self.out) = produced;
            is_more = more?;
            self.send(noticed).await?;
            if let Some(vote) = self.connection.granted_vote() {
                self.spawn(vote);
            }
        }
        self.outbox.end_stream();
        Ok(())
    }

    /// Waits for the jobs that run and sends their replies.
    async fn drain(&mut self) -> Result<(), End> {
        self.ended().await;
        self.flush().await
    }

    async fn ended(&self) {
        while self.running.load(Ordering::Acquire) > 0 {
            self.wake.notified().await;
        }
    }
}

/// A client may leave without TLS's goodbye, as Python's do. Nothing can be cut off by that: frames
/// have their length.
fn leaving(error: io::Error) -> io::Result<usize> {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Ok(0)
    } else {
        Err(error)
    }
}

/// Waits until the server is told to stop (or is gone, which is the same).
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _either_way = stopping.wait_for(|stop| *stop).await.is_ok();
}

/// Waits until the hub gives the connection up. The notices that it takes meanwhile are noted.
async fn failed(outbox: &Outbox, wake: &Notify, was_noticed: &mut bool) -> ProtocolError {
    loop {
        if let Some(failure) = outbox.failure() {
            return failure;
        }
        wake.notified().await;
        *was_noticed = true;
    }
}

struct Running {
    running: Arc<AtomicUsize>,
    wake: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.wake.notify_one();
    }
}
