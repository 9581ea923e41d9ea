//! The manager: the parent of a program in the background.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::runner::Runner;
use super::signals;
use super::transcript::Transcript;
use crate::beside_zeo::address::ServerAddress;
use crate::beside_zeo::python;
use crate::clock;

/// Reads an order from standard input, and carries it out until the program is to end.
pub(super) fn run() -> Result<ExitCode> {
    let runner: Runner = serde_json::from_reader(io::stdin()).context("the order to a manager")?;
    let program = runner.program_file()?;
    // The leader of a process group cannot begin a session; one who calls us by hand is.
    let _session = rustix::process::setsid().ok().filter(|_| runner.daemon);
    let socket = runner.socket.clone();
    let listener = listen(&socket)?;
    let outcome = go_to_background(&runner).and_then(|transcript| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(Manager::new(runner, program, transcript).run(listener))
    });
    let _may_be_gone = fs::remove_file(&socket);
    outcome
}

/// Takes the socket's place in the file system: there is one manager for it at a time.
fn listen(path: &Path) -> Result<StdListener> {
    let own = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    let _left_by_another = fs::remove_file(&own);
    let listener =
        StdListener::bind(&own).with_context(|| format!("cannot make {}", own.display()))?;
    let taken = fs::set_permissions(&own, fs::Permissions::from_mode(0o700))
        .and_then(|()| take(&own, path));
    let _has_its_name = fs::remove_file(&own);
    if !taken.with_context(|| format!("cannot make {}", path.display()))? {
        bail!("another manager is already there at {}", path.display());
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Gives the socket its name, unless somebody answers there.
fn take(own: &Path, path: &Path) -> io::Result<bool> {
    loop {
        match fs::hard_link(own, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if StdStream::connect(path).is_ok() {
                    return Ok(false);
                }
                fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
        }
    }
}

const NOWHERE: &str = "/dev/null";

/// Leaves the terminal and the directory of the caller. Before that, what goes wrong is said there.
fn go_to_background(runner: &Runner) -> Result<Option<Transcript>> {
    if !runner.daemon {
        return Ok(None);
    }
    if let Some(directory) = &runner.directory {
        std::env::set_current_dir(directory)
            .with_context(|| format!("cannot go to {}", directory.display()))?;
    }
    let path = runner
        .transcript
        .as_deref()
        .filter(|path| *path != Path::new(NOWHERE));
    let transcript = path.map(|path| {
        Transcript::open(path).with_context(|| format!("cannot open {}", path.display()))
    });
    let transcript = transcript.transpose()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(runner.umask));
    let nowhere = fs::File::options().read(true).write(true).open(NOWHERE)?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(transcript)
}

/// The program's parent.
struct Manager {
    runner: Runner,
    program: PathBuf,
    transcript: Option<Transcript>,
    child: Option<Child>,
    /// Finds out whether the program has started.
    test: Option<JoinHandle<()>>,
    should_be_up: bool,
    /// Whether the program was told to end: that it does is no failure.
    is_stopping: bool,
    /// Until then, nothing is started; a program that is to end is killed then.
    wake_at: Option<Instant>,
    backoff: u32,
    started_at: Option<Instant>,
    started_since_1970: Duration,
}

/// What somebody at the socket wants, and where the answer goes.
type Order = (String, oneshot::Sender<String>);

/// How many orders wait at most.
const ORDERS_MAX: usize = 16;
/// The longest order, and how long it may take to come.
const ORDER_BYTES_MAX: usize = 10_000;
const ORDER_PATIENCE: Duration = Duration::from_secs(10);
/// The status of a program that cannot be run.
const CANNOT_RUN: i32 = 127;

impl Manager {
    fn new(runner: Runner, program: PathBuf, transcript: Option<Transcript>) -> Self {
        Self {
            runner,
            program,
            transcript,
            child: None,
            test: None,
            should_be_up: true,
            is_stopping: false,
            wake_at: None,
            backoff: 0,
            started_at: None,
            started_since_1970: Duration::ZERO,
        }
    }

    async fn run(mut self, listener: StdListener) -> Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, mut orders) = mpsc::channel(ORDERS_MAX);
        tokio::spawn(take_orders(UnixListener::from_std(listener)?, sender));
        self.note("daemon manager started");
        let mut is_killed = false;
        while self.should_be_up || self.child.is_some() {
            if self.should_be_up && self.child.is_none() && self.wake_at.is_none() {
                self.spawn();
            }
            tokio::select! {
                status = ended(&mut self.child) => {
                    if let Some(code) = self.has_ended(status) {
                        return Ok(ExitCode::from(code));
                    }
                }
                Some((words, answer)) = orders.recv() => {
                    let said = self.obey(&words);
                    let _gone_already = answer.send(said);
                }
                () = until(self.wake_at) => self.wake(),
                _ = terminate.recv() => is_killed = true,
                _ = hang_up.recv() => is_killed = true,
                _ = interrupt.recv() => is_killed = true,
            }
            if is_killed && self.should_be_up {
                self.note("daemon manager killed: the program is stopped");
                self.stop();
            }
        }
        self.note("daemon manager ends");
        Ok(ExitCode::from(u8::from(is_killed)))
    }

    fn spawn(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.runner.program[1..]);
        self.started_at = Some(clock::now());
        self.started_since_1970 = clock::since_1970();
        let spawned = self.streams(&mut command).and_then(|()| command.spawn());
        match spawned {
            Ok(child) => {
                self.note(&format!(
                    "spawned process pid={}",
                    child.id().unwrap_or_default()
                ));
                self.child = Some(child);
                self.test = self.begin_test();
            }
            Err(error) => {
                self.note(&format!("cannot run {}: {error}", self.program.display()));
                self.wake_at = Some(clock::now() + self.backoff_limit());
                if let Some(code) = self.has_ended(ExitStatus::from_raw(CANNOT_RUN << 8)) {
                    self.should_be_up = false;
                    self.note(&format!("status {code}"));
                }
            }
        }
    }

    fn streams(&self, command: &mut Command) -> io::Result<()> {
        if !self.runner.daemon {
            return Ok(());
        }
        match &self.transcript {
            Some(transcript) => {
                let (out, errors) = transcript.streams()?;
                command.stdout(out).stderr(errors);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        command.stdin(Stdio::null());
        Ok(())
    }

    fn begin_test(&self) -> Option<JoinHandle<()>> {
        if let Some(words) = self.runner.start_test.clone() {
            return Some(tokio::spawn(run_test(words)));
        }
        let address = self.runner.address.clone()?;
        Some(tokio::spawn(connect_test(address)))
    }

    /// Notes the end of the program; an exit status, where it is the end of the manager as well.
    fn has_ended(&mut self, status: ExitStatus) -> Option<u8> {
        self.child = None;
        if let Some(test) = self.test.take() {
            test.abort();
        }
        let code = status.code();
        let what = match (code, status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("terminated by {}", signals::name(signal)),
            (None, None) => "unknown termination cause".to_owned(),
        };
        if self.is_stopping {
            self.is_stopping = false;
            self.wake_at = None;
            self.note(&what);
            return None;
        }
        if let Some(code) = code.filter(|code| self.runner.exit_codes.contains(&i64::from(*code))) {
            self.note(&format!("{what}; exiting now"));
            return Some(u8::try_from(code).unwrap_or(1));
        }
        self.note(&what);
        self.govern()
    }

    /// Waits longer from failure to failure, and gives up in the end.
    fn govern(&mut self) -> Option<u8> {
        let lived = self.started_at.map(|started| clock::now() - started);
        if lived.is_some_and(|lived| lived >= self.backoff_limit()) {
            self.backoff = 0;
            self.wake_at = None;
            return None;
        }
        self.backoff += 1;
        if self.backoff >= self.runner.backoff_limit {
            if !self.runner.forever {
                self.note("restarting too frequently; quit");
                return Some(1);
            }
            self.backoff = self.runner.backoff_limit;
        }
        self.note(&format!("sleep {} to avoid rapid restarts", self.backoff));
        self.wake_at = Some(clock::now() + Duration::from_secs(self.backoff.into()));
        None
    }

    fn wake(&mut self) {
        self.wake_at = None;
        if self.is_stopping && self.child.is_some() {
            self.note("it does not stop: killed");
            let _gone_already = self.signal(Signal::KILL);
            self.wake_at = Some(clock::now() + self.backoff_limit());
        }
    }

    fn obey(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => "Empty command".to_owned(),
            ["start", ..] => {
                self.be_up(true);
                match self.child {
                    Some(_) => "Application already started".to_owned(),
                    None => "Application started".to_owned(), // by the next turn of the loop
                }
            }
            ["stop", ..] => match self.stop() {
                true => "Sent SIGTERM".to_owned(),
                false => "Application already stopped".to_owned(),
            },
            ["restart", ..] => match self.terminate(true) {
                true => "Sent SIGTERM; will restart later".to_owned(),
                false => "Application started".to_owned(),
            },
            ["kill"] => self.kill("15"),
            ["kill", number, ..] => self.kill(number),
            ["status", ..] => self.status(),
            ["reopen_transcript", ..] => self.reopen_transcript(),
            [other, ..] => format!("Unknown command {}", python::quoted(other)),
        }
    }

    fn be_up(&mut self, should_be_up: bool) {
        self.should_be_up = should_be_up;
        self.backoff = 0;
        self.wake_at = None;
        self.is_stopping = false;
    }

    fn stop(&mut self) -> bool {
        self.terminate(false)
    }

    /// Tells the program to end, if it runs.
    fn terminate(&mut self, should_be_up: bool) -> bool {
        self.be_up(should_be_up);
        let is_running = self.child.is_some();
        if is_running {
            self.is_stopping = true;
            if self.runner.stop_timeout > 0 {
                let patience = Duration::from_secs(self.runner.stop_timeout.into());
                self.wake_at = Some(clock::now() + patience);
            }
            let _gone_already = self.signal(Signal::TERM);
        }
        is_running
    }

    fn kill(&self, number: &str) -> String {
        let Some((_, signal)) = signals::find(number) else {
            return format!("Bad signal {}", python::quoted(number));
        };
        let number = signal.as_raw();
        match self.signal(signal) {
            Ok(true) => format!("Signal {number} sent"),
            Ok(false) => "Application not running".to_owned(),
            Err(error) => format!("Kill {number} failed: {error}"),
        }
    }

    /// Sends a signal to the program, if it runs.
    fn signal(&self, signal: Signal) -> rustix::io::Result<bool> {
        // The id belongs to the program until its end was waited for, which is done here alone.
        match Pid::from_raw(self.pid()) {
            Some(pid) => kill_process(pid, signal).map(|()| true),
            None => Ok(false),
        }
    }

    /// The program's process id, or 0.
    fn pid(&self) -> i32 {
        let pid = self.child.as_ref().and_then(Child::id);
        pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0)
    }

    fn reopen_transcript(&self) -> String {
        let reopened = self.transcript.as_ref().map_or(Ok(()), Transcript::reopen);
        reopened.map_or_else(
            |error| format!("Cannot reopen the transcript: {error}"),
            |()| String::new(),
        )
    }

    /// The lines of zdaemon.
    fn status(&self) -> String {
        let now = clock::now();
        let delay = self.wake_at.map_or(0.0, |wake_at| {
            (clock::since_1970() + wake_at.saturating_duration_since(now)).as_secs_f64()
        });
        let is_testing = self.test.as_ref().is_some_and(|test| !test.is_finished());
        let quoted: Vec<String> = self
            .runner
            .program
            .iter()
            .map(|word| python::quoted(word))
            .collect();
        let program = self.program.to_string_lossy();
        [
            format!(
                "status={}",
                if self.child.is_some() {
                    "running"
                } else {
                    "stopped"
                }
            ),
            format!("now={}", python::float(clock::since_1970().as_secs_f64())),
            format!("should_be_up={}", u8::from(self.should_be_up)),
            format!("delay={}", python::float(delay)),
            format!("backoff={}", self.backoff),
            format!(
                "lasttime={}",
                python::float(self.started_since_1970.as_secs_f64())
            ),
            format!("application={}", self.pid()),
            format!("testing={}", u8::from(is_testing)),
            format!("manager={}", std::process::id()),
            format!("backofflimit={}", self.runner.backoff_limit),
            format!("filename={}", python::quoted(&program)),
            format!("args=[{}]", quoted.join(", ")),
        ]
        .join("\n")
    }

    fn note(&self, line: &str) {
        if let Some(transcript) = &self.transcript {
            transcript.note(line);
        }
    }

    fn backoff_limit(&self) -> Duration {
        Duration::from_secs(self.runner.backoff_limit.into())
    }
}

/// The end of a program, if there is one.
async fn ended(child: &mut Option<Child>) -> ExitStatus {
    match child {
        // Only somebody else who waits for our children could make this fail.
        Some(child) => child.wait().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

async fn take_orders(listener: UnixListener, orders: mpsc::Sender<Order>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(tokio::time::timeout(
                    ORDER_PATIENCE,
                    take_order(stream, orders.clone()),
                ));
            }
            Err(_) => tokio::time::sleep(TEST_INTERVAL).await,
        }
    }
}

/// One line, and its answer.
async fn take_order(mut stream: UnixStream, orders: mpsc::Sender<Order>) -> Result<()> {
    let mut line = Vec::new();
    let answer = loop {
        let mut chunk = [0; 1000];
        let length = stream.read(&mut chunk).await?;
        line.extend_from_slice(&chunk[..length]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let words = String::from_utf8_lossy(&line[..end]).into_owned();
            let (sender, answer) = oneshot::channel();
            orders.send((words, sender)).await?;
            break answer.await?;
        }
        if length == 0 {
            break "Command not terminated by newline".to_owned();
        }
        if line.len() > ORDER_BYTES_MAX {
            break "Command exceeds 10 KB".to_owned();
        }
    };
    stream.write_all(format!("{answer}\n").as_bytes()).await?;
    Ok(())
}

/// How long to wait between two tests of a start.
const TEST_INTERVAL: Duration = Duration::from_millis(200);
const PROGRAM_TEST_INTERVAL: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends when the server takes connections.
async fn connect_test(address: ServerAddress) {
    loop {
        let address = address.clone();
        let tried = tokio::task::spawn_blocking(move || address.connect(CONNECT_TIMEOUT).is_ok());
        if matches!(tried.await, Ok(true)) {
            return;
        }
        tokio::time::sleep(TEST_INTERVAL).await;
    }
}

/// Ends when the program says that the other one has started.
async fn run_test(words: Vec<String>) {
    loop {
        let mut command = Command::new(&words[0]);
        let status = command.args(&words[1..]).stdin(Stdio::null()).status();
        if status.await.is_ok_and(|status| status.success()) {
            return;
        }
        tokio::time::sleep(PROGRAM_TEST_INTERVAL).await;
    }
}
