//! `zodiac` processes: started, listened to, ended by their id.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::clock::{Deadline, PATIENCE, poll};
use crate::zodiac_binary;

/// How many of the last log lines are kept. Access lines are not among them: under load they would
/// push out everything else.
const LOG_LINES_MAX: usize = 5000;

/// How many of them a failure message shows.
const LOG_LINES_SHOWN_MAX: usize = 60;

/// What an access line of the balancer has in it.
const ACCESS_MARK: &str = " access: ";

/// How long a process may take to stop when asked.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// One `zodiac` process, in a process group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    heard: Arc<Heard>,
    readers: Vec<JoinHandle<()>>,
    title: String,
}

#[derive(Debug, Default)]
struct Heard {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    events: Vec<Value>,
    log: VecDeque<String>,
    /// How many lines the log ever had: those kept and those dropped from its front.
    heard: usize,
    ended: bool,
}

impl Process {
    /// Starts `zodiac <arguments> --json` in `directory`.
    ///
    /// # Errors
    /// When there is no binary, or it does not start.
    pub fn start<A: AsRef<str>>(directory: &Path, arguments: &[A]) -> Result<Self> {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(zodiac_binary()?);
        command
            .args(&arguments)
            .arg("--json")
            .current_dir(directory);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ZODIAC_") {
                command.env_remove(name); // a developer's own settings are no part of the test
            }
        }
        let title = format!("zodiac {}", arguments.join(" "));
        Self::spawn(command, title)
    }

    fn spawn(mut command: Command, title: String) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .with_context(|| format!("{title} does not start"))?;
        let heard = Arc::new(Heard::default());
        let readers = vec![
            listen(
                child.stdout.take(),
                Arc::clone(&heard),
                Said::hear_event,
                true,
            ),
            listen(
                child.stderr.take(),
                Arc::clone(&heard),
                Said::hear_log,
                false,
            ),
        ];
        Ok(Self {
            child,
            heard,
            readers,
            title,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Value> {
        self.heard
            .said
            .lock()
            .expect("listeners do not panic")
            .events
            .clone()
    }

    /// Waits for an event that `matches`, after the first `skip` ones.
    ///
    /// # Errors
    /// When the process ends or patience runs out before; the message shows its log.
    pub fn event(
        &self,
        what: &str,
        skip: usize,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.await_said(what, |said| {
            said.events
                .iter()
                .skip(skip)
                .find(|event| matches(event))
                .cloned()
        })
    }

    fn await_said<T>(&self, what: &str, find: impl Fn(&Said) -> Option<T>) -> Result<T> {
        let deadline = Deadline::after(PATIENCE);
        let mut said = self.heard.said.lock().expect("listeners do not panic");
        loop {
            if let Some(found) = find(&said) {
                return Ok(found);
            }
            if said.ended || deadline.is_over() {
                let why = if said.ended { "it ended" } else { "in vain" };
                bail!(
                    "{}: waited for {what}: {why}. Events: {:#?}\nLog:\n{}",
                    self.title,
                    said.events,
                    said.log_text()
                );
            }
            said = self
                .heard
                .changed
                .wait_timeout(said, deadline.remaining())
                .expect("listeners do not panic")
                .0;
        }
    }

    /// Waits until it listens and says where.
    ///
    /// # Errors
    /// As [`Process::event`].
    pub fn listening(&self) -> Result<SocketAddr> {
        let event = self.event("listening", 0, |event| event["event"] == "listening")?;
        address(&event)
    }

    /// How many lines it has logged.
    pub fn logged(&self) -> usize {
        self.heard
            .said
            .lock()
            .expect("listeners do not panic")
            .heard
    }

    /// Waits for a log line that has all of `words` in it, after the first `skip` ones.
    ///
    /// # Errors
    /// When the process ends or patience runs out before.
    pub fn notice(&self, skip: usize, words: &[&str]) -> Result<String> {
        let matches = |line: &&String| words.iter().all(|word| line.contains(word));
        self.await_said(&format!("a log line with {words:?}"), |said| {
            let dropped = said.heard - said.log.len();
            said.log
                .iter()
                .skip(skip.saturating_sub(dropped))
                .find(matches)
                .cloned()
        })
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        self.heard
            .said
            .lock()
            .expect("listeners do not panic")
            .log_text()
    }

    /// Asks it to stop and waits until it did.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub fn stop(mut self) -> Result<ExitStatus> {
        terminate(self.pid())?;
        self.wait()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.title);
        poll(&what, STOP_PATIENCE, || {
            self.child.try_wait().ok().flatten()
        })
        .with_context(|| format!("Log:\n{}", self.log()))
    }

    /// Ends it at once, with no chance to tidy up (`kill -9`), and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = terminate(self.pid());
            let stopped = poll("a stop", STOP_PATIENCE, || {
                self.child.try_wait().ok().flatten()
            })
            .is_ok();
            if !stopped {
                if let Some(group) = pid_of(self.pid()) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = self.child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.title, self.log());
        }
        // The readers end with their pipes; children that outlive a killed parent hold those open,
        // so nobody waits for them.
        self.readers.clear();
    }
}

impl Said {
    fn hear_event(&mut self, line: String) {
        let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
        self.events.push(event);
    }

    fn hear_log(&mut self, line: String) {
        if line.contains(ACCESS_MARK) {
            return;
        }
        self.heard += 1;
        if self.log.len() == LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    fn log_text(&self) -> String {
        let first = self.log.len().saturating_sub(LOG_LINES_SHOWN_MAX);
        self.log
            .iter()
            .skip(first)
            .map(|line| format!("  {line}\n"))
            .collect()
    }
}

fn listen(
    stream: Option<impl Read + Send + 'static>,
    heard: Arc<Heard>,
    hear: fn(&mut Said, String),
    ends: bool,
) -> JoinHandle<()> {
    let stream = stream.expect("the stream is piped");
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            hear(
                &mut heard.said.lock().expect("listeners do not panic"),
                text,
            );
            heard.changed.notify_all();
            line.clear();
        }
        heard.said.lock().expect("listeners do not panic").ended |= ends;
        heard.changed.notify_all();
    })
}

/// The address that an event names.
///
/// # Errors
/// When it names none.
pub(crate) fn address(event: &Value) -> Result<SocketAddr> {
    let text = event["address"]
        .as_str()
        .with_context(|| format!("no address in {event}"))?;
    text.parse()
        .with_context(|| format!("not an address: {text}"))
}

/// Ends a process at once (`kill -9`). Only for processes of a [`Process`] of ours.
///
/// # Errors
/// When there is no such process.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Asks a process to stop (`SIGTERM`). Only for processes of a [`Process`] of ours.
///
/// # Errors
/// When there is no such process.
pub fn terminate(pid: u32) -> Result<()> {
    signal(pid, Signal::TERM)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let target = pid_of(pid).with_context(|| format!("not a process id: {pid}"))?;
    kill_process(target, signal).with_context(|| format!("process {pid} takes no signal"))
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}
