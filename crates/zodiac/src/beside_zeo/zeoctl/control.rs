//! The actions that a person asks for.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, kill_process};

use super::runner::Runner;
use super::user::User;
use super::{signals, tail};
use crate::beside_zeo::python;
use crate::clock;
use crate::roles::Misuse;

/// Gives orders to the manager of a program.
pub(super) struct Control {
    runner: Runner,
    user: Option<User>,
    state: State,
}

/// What the manager says of itself.
#[derive(Debug, Default)]
struct State {
    /// All that it says, where it is there.
    said: Option<String>,
    /// The program's process id; 0 while it does not run.
    pid: i32,
    should_be_up: bool,
    /// Whether it is not known yet that the program has started.
    is_testing: bool,
}

/// The exit status of `status` where there is no manager.
const NO_MANAGER: u8 = 3;
/// How often the manager is asked while something is waited for, and how often that is shown.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LOOKS_PER_DOT: u32 = 10;
/// How long the manager has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How waiting ended.
#[derive(PartialEq, Eq)]
enum Waited {
    Done,
    ManagerGone,
    TooLong,
}

impl Control {
    pub(super) fn new(runner: Runner) -> Result<Self> {
        let user = match &runner.user {
            Some(name) => User::find(name)?,
            None => None,
        };
        let mut control = Self {
            runner,
            user,
            state: State::default(),
        };
        control.look();
        Ok(control)
    }

    pub(super) fn act(mut self, action: &str, words: &[String]) -> Result<ExitCode> {
        let word = words.first().map(String::as_str);
        match action {
            "start" => self.start(words),
            "stop" => self.stop(),
            "restart" => self.restart(words),
            "status" => self.status(word),
            "fg" | "foreground" => self.foreground(words),
            "kill" => self.kill(word.unwrap_or("SIGTERM")),
            "wait" => {
                let waited = self.wait_for(None, |state| state.pid == 0)?;
                if waited == Waited::Done {
                    say("\ndaemon process stopped")?;
                }
                self.status(None)?;
                Ok(ExitCode::SUCCESS)
            }
            "logtail" => self.logtail(word),
            "logreopen" => {
                self.reopen_transcript()?;
                self.kill("SIGUSR2")
            }
            "reopen_transcript" => self.reopen_transcript(),
            "show" => Err(Misuse::error(
                "show is not there: the options are those of the file and the command line",
            )),
            other => Err(Misuse::error(format!(
                "unknown action {other:?}; --help lists them"
            ))),
        }
    }

    fn start(&mut self, words: &[String]) -> Result<ExitCode> {
        self.look();
        let mut manager = None;
        if self.state.said.is_none() {
            let mut runner = self.runner.clone();
            runner.program.extend(words.iter().cloned());
            runner.program_file()?;
            self.make_directories()?;
            let mut child = self.spawn_manager(&runner)?;
            if !runner.daemon {
                let status = child.wait().context("waiting for the manager")?;
                return Ok(exit_code(status.code()));
            }
            manager = Some(child);
        } else if self.state.pid == 0 {
            self.order("start");
        } else {
            say(&format!(
                "daemon process already running; pid={}",
                self.state.pid
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        let waited = self.wait_for(manager, State::is_started)?;
        self.tell_start(&waited, "started")
    }

    fn restart(&mut self, words: &[String]) -> Result<ExitCode> {
        self.look();
        let before = self.state.pid;
        if before == 0 {
            return self.start(words);
        }
        self.order("restart");
        let waited = self.wait_for(None, |state| state.pid != before && state.is_started())?;
        self.tell_start(&waited, "restarted")
    }

    fn tell_start(&self, waited: &Waited, what: &str) -> Result<ExitCode> {
        match waited {
            Waited::Done => {
                say(&format!("\ndaemon process {what}, pid={}", self.state.pid))?;
                return Ok(ExitCode::SUCCESS);
            }
            Waited::TooLong => say("\nProgram took too long to start")?,
            Waited::ManagerGone => match &self.runner.transcript {
                Some(path) => eprintln!("what the program printed is in {}", path.display()),
                None => {
                    eprintln!("what the program printed is not kept; see transcript in <runner>")
                }
            },
        }
        Ok(ExitCode::FAILURE)
    }

    fn stop(&mut self) -> Result<ExitCode> {
        self.look();
        if self.state.said.is_none() {
            say("daemon manager not running")?;
        } else if self.state.pid == 0 && !self.state.should_be_up {
            say("daemon process not running")?;
        } else {
            self.order("stop");
            if self.wait_for(None, |state| state.pid == 0)? != Waited::Done {
                return Ok(ExitCode::FAILURE);
            }
            say("\ndaemon process stopped")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn status(&mut self, word: Option<&str>) -> Result<ExitCode> {
        if word.is_some_and(|word| word != "-l") {
            say("status argument must be absent or -l")?;
            return Ok(ExitCode::FAILURE);
        }
        self.look();
        let Some(said) = &self.state.said else {
            say("daemon manager not running")?;
            return Ok(ExitCode::from(NO_MANAGER));
        };
        if self.state.pid == 0 {
            say("daemon manager running; daemon process not running")?;
        } else {
            say(&format!("program running; pid={}", self.state.pid))?;
        }
        if word.is_some() {
            say(said)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Becomes the program, so that signals and the exit status are its own.
    fn foreground(&mut self, words: &[String]) -> Result<ExitCode> {
        self.look();
        if self.state.pid != 0 {
            say("To run the program in the foreground, please stop it first.")?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut runner = self.runner.clone();
        runner.program.extend(words.iter().cloned());
        let file = runner.program_file()?;
        say(&runner.program.join(" "))?;
        let mut command = Command::new(&file);
        command.args(&runner.program[1..]);
        if let Some(user) = self.user {
            user.apply(&mut command);
        }
        Err(command.exec()).with_context(|| format!("cannot run {}", file.display()))
    }

    fn kill(&mut self, name: &str) -> Result<ExitCode> {
        let Some((name, signal)) = signals::find(name) else {
            say(&format!("invalid signal {}", python::quoted(name)))?;
            return Ok(ExitCode::FAILURE);
        };
        self.look();
        let Some(pid) = Pid::from_raw(self.state.pid) else {
            say("daemon process not running")?;
            return Ok(ExitCode::SUCCESS);
        };
        say(&format!("kill({}, {})", self.state.pid, signal.as_raw()))?;
        match kill_process(pid, signal) {
            Ok(()) => say(&format!("signal {name} sent to process {}", self.state.pid))?,
            Err(error) => {
                say(&format!("Error: {error}"))?;
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn reopen_transcript(&mut self) -> Result<ExitCode> {
        if self.state.said.is_none() {
            say("daemon manager not running")?;
        } else {
            self.order("reopen_transcript");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn logtail(&self, word: Option<&str>) -> Result<ExitCode> {
        let Some(path) = word.map(Path::new).or(self.runner.logfile.as_deref()) else {
            say("No default log file specified; use logtail <logfile>")?;
            return Ok(ExitCode::FAILURE);
        };
        match tail::follow(path, &mut io::stdout().lock()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).with_context(|| path.display().to_string())
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    /// Asks the manager how things are.
    fn look(&mut self) {
        self.state = self
            .order("status")
            .map_or_else(State::default, State::read);
    }

    /// Sends an order, and says what the manager answers; nothing where there is none.
    fn order(&self, words: &str) -> Option<String> {
        let ask = || -> io::Result<String> {
            let mut stream = UnixStream::connect(&self.runner.socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(format!("{words}\n").as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().ok()
    }

    /// Asks again and again, with a dot for each second.
    fn wait_for(
        &mut self,
        mut manager: Option<Child>,
        done: impl Fn(&State) -> bool,
    ) -> io::Result<Waited> {
        let began = clock::now();
        let mut was_there = false;
        let mut looks = 0;
        loop {
            self.look();
            was_there |= self.state.said.is_some();
            if done(&self.state) && (was_there || manager.is_none()) {
                return Ok(Waited::Done);
            }
            let is_over = match &mut manager {
                Some(manager) => manager.try_wait()?.is_some() && self.state.said.is_none(),
                None => false,
            };
            if is_over || was_there && self.state.said.is_none() {
                say("\ndaemon manager not running")?;
                return Ok(Waited::ManagerGone);
            }
            if manager.is_some() && self.is_too_long(began) {
                return Ok(Waited::TooLong);
            }
            if looks % LOOKS_PER_DOT == 0 {
                let mut out = io::stdout();
                write!(out, ". ")?;
                out.flush()?;
            }
            looks += 1;
            clock::pause(LOOK_INTERVAL);
        }
    }

    fn is_too_long(&self, began: Instant) -> bool {
        clock::now() - began > Duration::from_secs(self.runner.start_timeout.into())
    }

    fn spawn_manager(&self, runner: &Runner) -> Result<Child> {
        let mut command =
            Command::new(std::env::current_exe().context("the path of this program")?);
        command.args(["zeoctl", "--manage"]).stdin(Stdio::piped());
        if let Some(user) = self.user {
            user.apply(&mut command);
        }
        let mut child = command.spawn().context("cannot start the manager")?;
        let mut stdin = child.stdin.take().expect("the stream is piped");
        stdin
            .write_all(&serde_json::to_vec(runner)?)
            .context("the manager does not listen")?;
        Ok(child)
    }

    /// The directories of program and socket, which belong to the user of the program.
    fn make_directories(&self) -> Result<()> {
        let socket = self.runner.socket.parent().map(PathBuf::from);
        for directory in self.runner.directory.iter().chain(socket.iter()) {
            if directory.is_dir() {
                continue;
            }
            let made = std::fs::create_dir(directory)
                .and_then(|()| self.user.map_or(Ok(()), |user| user.own(directory)));
            made.with_context(|| format!("cannot make {}", directory.display()))?;
        }
        Ok(())
    }
}

/// The longest answer of a manager.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl State {
    /// Reads lines of names and values.
    fn read(said: String) -> Self {
        let number = |name: &str| {
            let mut lines = said.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.trim().parse::<i32>().ok())
        };
        let Some(pid) = number("application") else {
            return Self::default();
        };
        Self {
            pid,
            should_be_up: number("should_be_up") != Some(0),
            is_testing: number("testing").unwrap_or(0) != 0,
            said: Some(said),
        }
    }

    fn is_started(&self) -> bool {
        self.pid != 0 && !self.is_testing
    }
}

fn exit_code(code: Option<i32>) -> ExitCode {
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
