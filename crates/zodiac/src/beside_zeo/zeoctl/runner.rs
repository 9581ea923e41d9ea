//! What is run, and how: the `<runner>` of a `zeo.conf`, and the command line above it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use zconfig::{Document, Machine, Section, SocketAddress, schemas};

use super::Zeoctl;
use crate::beside_zeo::address::ServerAddress;
use crate::roles::Misuse;

/// The order to a manager. Paths of the manager's own are absolute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Runner {
    /// The program and its arguments.
    pub(super) program: Vec<String>,
    pub(super) socket: PathBuf,
    pub(super) daemon: bool,
    pub(super) directory: Option<PathBuf>,
    /// Seconds, and a number of failures.
    pub(super) backoff_limit: u32,
    pub(super) forever: bool,
    pub(super) exit_codes: Vec<i64>,
    /// How a start is tried; without it, by a connection to `address`.
    pub(super) start_test: Option<Vec<String>>,
    pub(super) address: Option<ServerAddress>,
    /// Seconds.
    pub(super) start_timeout: u32,
    /// Seconds; 0 for ever.
    pub(super) stop_timeout: u32,
    pub(super) user: Option<String>,
    pub(super) umask: u32,
    pub(super) logfile: Option<PathBuf>,
    /// Relative to `directory`, in the background.
    pub(super) transcript: Option<PathBuf>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            program: Vec::new(),
            socket: PathBuf::from("zdsock"),
            daemon: true,
            directory: None,
            backoff_limit: 10,
            forever: false,
            exit_codes: vec![0, 2],
            start_test: None,
            address: None,
            start_timeout: 300,
            stop_timeout: 300,
            user: None,
            umask: 0o022,
            logfile: None,
            transcript: None,
        }
    }
}

impl Runner {
    /// What the command line says, and the file that it names.
    pub(super) fn new(arguments: &Zeoctl) -> Result<Self> {
        let mut runner = Self::default();
        if let Some(name) = &arguments.configure {
            let root = Document::read(name, &Machine)
                .and_then(|document| schemas::ZEO_SERVER.check(&document, &Machine))
                .map_err(Misuse::error)?;
            let Some(section) = root.section("runner") else {
                return Err(Misuse::error(format!(
                    "{name}: there is no <runner> section"
                )));
            };
            runner.read(section)?;
            runner.address = root
                .section("zeo")
                .and_then(|zeo| zeo.address("address"))
                .and_then(reachable);
        }
        runner.override_by(arguments);
        if runner.program.is_empty() {
            return Err(Misuse::error("no program specified; use -p or -C"));
        }
        // The manager may run elsewhere.
        for path in [Some(&mut runner.socket), runner.directory.as_mut()]
            .into_iter()
            .flatten()
        {
            *path = std::path::absolute(&*path).context("the directory we are in")?;
        }
        if runner.program[0].contains('/') {
            let program =
                std::path::absolute(&runner.program[0]).context("the directory we are in")?;
            runner.program[0] = program.to_string_lossy().into_owned();
        }
        Ok(runner)
    }

    fn read(&mut self, section: &Section) -> Result<()> {
        if section.is_set("zdrun") {
            let reason =
                "zdrun names a manager in Python; take the line out, Zodiac is its own manager";
            return Err(Misuse::error(section.error("zdrun", reason)));
        }
        // `python` is of no use here; `hang-around`, `prompt` and
        // `default-to-interactive` mean nothing to zdaemon 5 either.
        let path = |key| section.text(key).map(PathBuf::from);
        let number = |key, default| match section.integer(key) {
            None => Ok(default),
            Some(value) => u32::try_from(value)
                .map_err(|_| Misuse::error(section.error(key, format!("{value} is out of range")))),
        };
        let words = |key| match section.value(key) {
            Some(zconfig::Value::Texts(words)) => Some(words.clone()),
            _ => None,
        };
        self.program = words("program").unwrap_or_default();
        self.start_test = words("start-test-program").filter(|words| !words.is_empty());
        self.socket = path("socket-name").unwrap_or_else(|| self.socket.clone());
        self.daemon = section.boolean("daemon").unwrap_or(true);
        self.forever = section.boolean("forever").unwrap_or(false);
        self.directory = path("directory");
        self.backoff_limit = number("backoff-limit", self.backoff_limit)?;
        self.start_timeout = number("start-timeout", self.start_timeout)?;
        self.stop_timeout = number("stop-timeout", self.stop_timeout)?;
        self.umask = number("umask", self.umask)?;
        self.user = section.text("user").map(str::to_owned);
        self.logfile = path("logfile");
        self.transcript = path("transcript");
        if let Some(zconfig::Value::Integers(codes)) = section.value("exit-codes") {
            self.exit_codes.clone_from(codes);
        }
        Ok(())
    }

    fn override_by(&mut self, arguments: &Zeoctl) {
        if let Some(program) = &arguments.program {
            self.program = program.split_whitespace().map(str::to_owned).collect();
        }
        let path = |target: &mut Option<PathBuf>, value: &Option<PathBuf>| {
            if value.is_some() {
                target.clone_from(value);
            }
        };
        path(&mut self.directory, &arguments.directory);
        path(&mut self.logfile, &arguments.logfile);
        path(&mut self.transcript, &arguments.transcript);
        if let Some(socket) = &arguments.socket_name {
            self.socket.clone_from(socket);
        }
        if let Some(codes) = &arguments.exit_codes {
            self.exit_codes.clone_from(&codes.0);
        }
        if arguments.user.is_some() {
            self.user.clone_from(&arguments.user);
        }
        self.backoff_limit = arguments.backoff_limit.unwrap_or(self.backoff_limit);
        self.start_timeout = arguments.start_timeout.unwrap_or(self.start_timeout);
        self.umask = arguments.umask.unwrap_or(self.umask);
        self.daemon |= arguments.daemon;
        self.forever |= arguments.forever;
    }

    /// The file that the program's first word means: as it is with a `/` in it, or else in `PATH`.
    pub(super) fn program_file(&self) -> Result<PathBuf> {
        let name = &self.program[0];
        if name.contains('/') {
            let path = PathBuf::from(name);
            if !path.exists() {
                return Err(Misuse::error(format!("can't stat program {name:?}")));
            }
            if !is_executable(&path) {
                return Err(Misuse::error(format!(
                    "no permission to run program {name:?}"
                )));
            }
            return Ok(path);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|file| is_executable(file))
            .ok_or_else(|| {
                Misuse::error(format!(
                    "can't find program {name:?} on PATH {}",
                    path.display()
                ))
            })
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Where a server that listens there is found.
fn reachable(address: &SocketAddress) -> Option<ServerAddress> {
    match address {
        SocketAddress::Path(path) => Some(ServerAddress::Unix(path.clone())),
        SocketAddress::Inet(inet) => {
            let host = match inet.host.as_str() {
                "" | "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            let port = inet.port.filter(|port| *port > 0)?;
            Some(ServerAddress::Inet(host.to_owned(), port))
        }
    }
}
