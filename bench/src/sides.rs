//! The two sides, started and stopped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use conformance::{PATIENCE, Site, judge, poll, terminate};
use tempfile::TempDir;

/// A program of the original's, ended with this value.
#[derive(Debug)]
pub(crate) struct Original {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
    _site: Option<Site>,
}

impl Original {
    /// `runzeo` on a site of its own.
    pub(crate) fn zeo(site: Site) -> Result<Self> {
        let mut original = Self::serve(site.data(), false)?;
        original._site = Some(site);
        Ok(original)
    }

    /// `runzeo` on a Data.fs, with uvloop where that is wanted: it is used if it can be imported.
    pub(crate) fn serve(data: &Path, with_uvloop: bool) -> Result<Self> {
        let address = free_address()?;
        let directory = tempfile::tempdir()?;
        let configuration = directory.path().join("zeo.conf");
        fs::write(
            &configuration,
            format!(
                "<zeo>\n  address {address}\n</zeo>\n<filestorage 1>\n  path {}\n</filestorage>\n\
                 <eventlog>\n  level warn\n  <logfile>\n    path STDERR\n  </logfile>\n</eventlog>\n",
                data.display()
            ),
        )?;
        let program = judge::python()?.with_file_name("runzeo");
        let mut command = Command::new(program);
        if with_uvloop {
            command.env("PYTHONPATH", judge::uvloop()?);
        }
        let mut child = command
            .arg("-C")
            .arg(&configuration)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("runzeo does not start")?;
        poll("runzeo", PATIENCE, || {
            let over = child.try_wait().ok().flatten().is_some();
            (over || TcpStream::connect(address).is_ok()).then_some(())
        })?;
        Ok(Self {
            child,
            address,
            _directory: directory,
            _site: None,
        })
    }

    /// Zope on waitress with four threads, a client of the ZEO server at `zeo`.
    pub(crate) fn zope(zeo: SocketAddr) -> Result<Self> {
        let address = free_address()?;
        let directory = tempfile::tempdir()?;
        let mut child = judge::command("zope_waitress.py")?
            .arg(directory.path())
            .args([zeo.to_string(), address.port().to_string(), "4".to_owned()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("Zope does not start")?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("the stream is piped");
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("Zope did not become ready: {line:?}");
        }
        Ok(Self {
            child,
            address,
            _directory: directory,
            _site: None,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        if terminate(self.child.id()).is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// An address that is free now. The originals cannot be asked for any free one.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// One side of a comparison: whom to ask, and who works for it.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) address: SocketAddr,
    pub(crate) pids: Vec<u32>,
}

impl Side {
    /// The processor time that its processes have taken so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<f64> {
        self.pids.iter().map(|pid| cpu_us(*pid)).sum()
    }
}

/// User and system time of a process, fields 14 and 15 of `stat`, in ticks of a hundredth second.
fn cpu_us(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may have blanks in it.
    let (_, rest) = stat.rsplit_once(") ").context("not a stat file")?;
    let ticks: Vec<&str> = rest.split(' ').skip(11).take(2).collect();
    let ticks = ticks
        .into_iter()
        .map(str::parse::<f64>)
        .sum::<Result<f64, _>>()?;
    Ok(ticks * 10_000.0)
}

/// The name of `wrk`, which is installed where that is possible.
pub(crate) fn wrk() -> Result<&'static Path> {
    let found = || Command::new("wrk").arg("--version").output().is_ok();
    if !found() {
        eprintln!("bench: installing wrk");
        let installed = Command::new("apt-get")
            .args(["install", "--yes", "wrk"])
            .output();
        if !installed.is_ok_and(|output| output.status.success()) || !found() {
            bail!("the HTTP timings need wrk: install it (Debian: apt-get install wrk)");
        }
    }
    Ok(Path::new("wrk"))
}
