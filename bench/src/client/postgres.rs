//! A PostgreSQL of one's own: in a private directory, at a port of loopback, until it is dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use conformance::{PATIENCE, poll};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// A running PostgreSQL.
pub(super) struct Postgres {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Postgres {
    pub(super) fn start() -> Result<Self> {
        let programs = programs()?;
        let account = account()?;
        // Where everybody may pass: it does not run as the administrator.
        let directory = tempfile::tempdir()?;
        if let Some((user, group)) = account {
            chown(directory.path(), Some(user), Some(group))?;
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            if let Some((user, group)) = account {
                command.uid(user).gid(group);
            }
            command
                .current_dir(directory.path())
                .arg("-D")
                .arg(directory.path().join("data"))
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            command
        };
        let words = [
            "--username=postgres",
            "--auth=trust",
            "--no-locale",
            "--encoding=UTF8",
        ];
        let made = command("initdb").args(words).output()?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = command("postgres")
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .context("PostgreSQL does not start")?;
        let listens = poll("PostgreSQL", PATIENCE, || {
            let over = child.try_wait().ok().flatten().is_some();
            (over || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!over)
        })?;
        if !listens {
            bail!("PostgreSQL ended at once");
        }
        Ok(Self {
            child,
            port,
            _directory: directory,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Fast: clients that are left are cut off.
        if pid.is_some_and(|pid| kill_process(pid, Signal::INT).is_ok()) {
            let _ended = self.child.wait();
        }
    }
}

/// Where its programs are; they are installed where that is possible.
fn programs() -> Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    eprintln!("bench: installing PostgreSQL");
    let said = Command::new("apt-get")
        .args(["install", "--yes", "postgresql"])
        .output();
    let is_installed = said.is_ok_and(|output| output.status.success());
    installed().filter(|_| is_installed).context(
        "the timings beside RelStorage need PostgreSQL: install it (Debian: apt-get install postgresql)",
    )
}

/// Debian keeps the programs of each version apart; the newest is taken.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    let mut found: Vec<_> = programs
        .filter(|programs| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// Whom it runs as: it refuses the administrator.
fn account() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string(Path::new("/etc/passwd"))?;
    let named = |name: &str| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    let found = named("postgres").or_else(|| named("nobody"));
    Ok(Some(found.context("there is nobody to run PostgreSQL as")?))
}
