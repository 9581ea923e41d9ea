//! Child processes that are kept alive: started, watched, started again after a pause when they
//! die, and stopped in order.
//!
//! A child tells its address on standard output and stops when its standard input ends, so it
//! never outlives its supervisor, however that one dies.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::events::{Event, Reporter, title};

/// What to run and how.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The subcommand.
    pub(crate) role: &'static str,
    /// Which publisher, from 1.
    pub(crate) number: Option<usize>,
    /// Where it listens; port 0 is replaced by the port that the first start got.
    pub(crate) listen: SocketAddr,
    /// Its further arguments.
    pub(crate) arguments: Vec<OsString>,
}

impl Job {
    fn listening(&self, pid: u32) -> Event {
        Event::Listening {
            role: self.role.to_owned(),
            number: self.number,
            pid,
            address: self.listen.to_string(),
        }
    }
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Before the first restart, and before the one after many deaths in a row.
    pub(crate) restart: (Duration, Duration),
    /// For a child to end its work.
    pub(crate) stop: Duration,
}

/// A running child and the task that keeps it so.
pub(crate) struct Supervised {
    /// What to tell of its first start.
    pub(crate) listening: Event,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts `job` and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or ends before it listens; its own message is on standard error.
    pub(crate) async fn start(job: Job, patience: Patience, reporter: Reporter) -> Result<Self> {
        let mut job = job;
        let mut running = Running::spawn(&job)?;
        let address = match running.listening().await {
            Ok(address) => address,
            Err(status) => {
                let title = title(job.role, job.number);
                return Err(anyhow!(
                    "the {title} did not start ({status}); its message is above"
                ));
            }
        };
        job.listen = address;
        let listening = job.listening(running.pid);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep_alive(job, running, patience, reporter, stopped));
        Ok(Self {
            listening,
            address,
            stop,
            task,
        })
    }

    /// Lets the child end its work, and ends it by force where that takes too long.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn keep_alive(
    job: Job,
    mut running: Running,
    patience: Patience,
    reporter: Reporter,
    mut stopped: oneshot::Receiver<()>,
) {
    let (pause_min, pause_max) = patience.restart;
    let mut pause = pause_min;
    loop {
        let status = tokio::select! {
            _ = &mut stopped => return running.stop(patience.stop).await,
            status = running.exited() => status,
        };
        let Job { role, number, .. } = job.clone();
        tracing::warn!(role, number, pid = running.pid, %status, ?pause, "a child ended");
        reporter.report(&Event::Exited {
            role: role.to_owned(),
            number,
            pid: running.pid,
            status,
        });
        if running.started.elapsed() > pause_max {
            pause = pause_min;
        }
        running = loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(pause_max);
            match Running::spawn(&job) {
                Ok(running) => break running,
                Err(error) => tracing::error!(role, number, "cannot start it again: {error:#}"),
            }
        };
        tokio::select! {
            _ = &mut stopped => return running.stop(patience.stop).await,
            // A child that ends before it listens is dealt with at the top of the loop.
            address = running.listening() => if address.is_ok() {
                reporter.report(&job.listening(running.pid));
            }
        }
    }
}

/// One process.
struct Running {
    child: Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    started: Instant,
}

impl Running {
    fn spawn(job: &Job) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the program's own file")?;
        let name = match job.number {
            Some(number) => format!("{}-{number}", job.role),
            None => job.role.to_owned(),
        };
        let mut child = Command::new(program)
            .arg(job.role)
            .args(["--supervised", "--json", "--log-name", &name])
            .args(["--listen", &job.listen.to_string()])
            .args(&job.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `zodiac {}`", job.role))?;
        let stdin = child.stdin.take();
        let stdout = child
            .stdout
            .take()
            .context("the child has no standard output")?;
        Ok(Self {
            pid: child.id().unwrap_or_default(),
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
            started: Instant::now(),
        })
    }

    /// Waits for the child's word that it listens; the way it ended where it never says so.
    async fn listening(&mut self) -> Result<SocketAddr, String> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            if let Ok(Event::Listening { address, .. }) = serde_json::from_str(&line)
                && let Ok(address) = address.parse()
            {
                return Ok(address);
            }
        }
        Err(self.exited().await)
    }

    async fn exited(&mut self) -> String {
        // Whatever else the child says is passed over, or its pipe would fill up.
        let drain = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let (status, ()) = tokio::join!(self.child.wait(), drain);
        status.map_or_else(|error| error.to_string(), describe)
    }

    async fn stop(mut self, patience: Duration) {
        drop(self.stdin.take());
        if timeout(patience, self.exited()).await.is_err() {
            tracing::warn!(
                pid = self.pid,
                ?patience,
                "a child did not stop in time and is killed"
            );
            let _ = self.child.kill().await;
        }
    }
}

/// "exit status: 1", "signal: 9 (SIGKILL)".
fn describe(status: ExitStatus) -> String {
    status.to_string()
}
