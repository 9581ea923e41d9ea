//! Runs the judge's programs in a virtual environment of pinned ZODB, ZEO and Zope.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths;

/// The Python that the pinned versions are made for, and what else it may be called.
const PYTHONS: [&str; 2] = ["python3.11", "python3"];

/// The interpreter of the virtual environment, which is made on first need: in this run or an
/// earlier one, and again when `requirements.txt` changes.
///
/// # Errors
/// When there is no Python with `pip`, or an installation fails.
pub fn python() -> Result<PathBuf> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = PYTHON.get_or_init(|| make_environment().map_err(|error| format!("{error:#}")));
    made.clone().map_err(|message| anyhow::anyhow!(message))
}

/// The directory that Python finds uvloop in when it is named in `PYTHONPATH`. The environment of
/// [`python`] is without it, so that the originals can be had either way.
///
/// # Errors
/// When it cannot be installed.
pub fn uvloop() -> Result<PathBuf> {
    install_apart("uvloop", &[UVLOOP])
}

/// What `ZEO[uvloop]` installs besides.
const UVLOOP: &str = "uvloop==0.22.1";

/// The directory that Python finds the parser of Prometheus' metrics in when it is named in
/// `PYTHONPATH`.
///
/// # Errors
/// When it cannot be installed.
pub fn prometheus_client() -> Result<PathBuf> {
    install_apart("prometheus_client", &[PROMETHEUS_CLIENT])
}

const PROMETHEUS_CLIENT: &str = "prometheus_client==0.26.0";

/// The directory that Python finds RelStorage for PostgreSQL in when it is named in `PYTHONPATH`.
///
/// # Errors
/// When it cannot be installed.
pub fn relstorage() -> Result<PathBuf> {
    install_apart("relstorage", &RELSTORAGE)
}

const RELSTORAGE: [&str; 4] = [
    "RelStorage==4.3.0",
    "packaging==26.3",
    "perfmetrics==4.3.0",
    "psycopg2-binary==2.9.13",
];

/// Installs packages into a directory of their own, once.
fn install_apart(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let directory = paths::workshop().join(name);
    let environment = python()?;
    let packages_text = packages.join(" ");
    make_once(&directory, &packages_text, |directory| {
        eprintln!("conformance: installing {packages_text}");
        let mut pip = pip_install(&environment)?;
        pip.args(["--no-deps", "--target"]);
        ran(pip.arg(directory).args(packages))
    })?;
    Ok(directory)
}

/// A program of `judge/`, ready to be given arguments and streams.
///
/// # Errors
/// When there is no environment to run it in.
pub fn command(script: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command
        .arg("-B")
        .arg(paths::judge(script))
        .env("PYTHONHASHSEED", "0")
        .env("TZ", "UTC");
    Ok(command)
}

/// Runs a program that reads one JSON value and prints one.
///
/// # Errors
/// When it fails; the message has what it said.
pub fn run(script: &str, input: &Value) -> Result<Value> {
    let mut child = command(script)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{script} does not start"))?;
    let mut stdin = child.stdin.take().expect("the stream is piped");
    stdin.write_all(input.to_string().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{script} failed ({}):\n{said}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{script} said:\n{said}"))
}

/// Makes `directory` once for all processes: `make` fills it, and it counts as made when it holds a
/// stamp that equals `stamp`.
pub(crate) fn make_once(
    directory: &Path,
    stamp: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let parent = directory
        .parent()
        .context("a directory inside the workshop")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(directory.with_extension("lock"))?;
    lock.lock()
        .context("waiting for another process that makes the same")?;
    let stamp_file = directory.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir(directory)?;
    make(directory)?;
    fs::write(stamp_file, stamp)?;
    Ok(())
}

/// A short name for the content of `files`.
pub(crate) fn fingerprint(files: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file)
            .with_context(|| file.display().to_string())?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// The file that pins every package.
pub(crate) fn requirements() -> PathBuf {
    paths::root().join("conformance").join("requirements.txt")
}

fn make_environment() -> Result<PathBuf> {
    let directory = paths::workshop().join("venv");
    let stamp = fingerprint(&[requirements()])?;
    make_once(&directory, &stamp, install)?;
    Ok(interpreter(&directory))
}

fn interpreter(environment: &Path) -> PathBuf {
    environment.join("bin").join("python")
}

fn install(directory: &Path) -> Result<()> {
    eprintln!(
        "conformance: installing the judge (ZODB, ZEO, Zope) into {}",
        directory.display()
    );
    let python = find_python()?;
    let requirements = requirements();
    let whole = Command::new(python)
        .args(["-m", "venv"])
        .arg(directory)
        .output()?;
    if !whole.status.success() {
        // Some systems keep `ensurepip` apart: an environment without pip, filled from outside.
        let bare = ["-m", "venv", "--clear", "--without-pip"];
        ran(Command::new(python).args(bare).arg(directory))?;
    }
    let mut pip = pip_install(&interpreter(directory))?;
    ran(pip.args(["--no-deps", "--requirement"]).arg(requirements))
}

/// The command that installs for that interpreter, to be told what.
fn pip_install(interpreter: &Path) -> Result<Command> {
    let has_own = Command::new(interpreter)
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut pip;
    if has_own {
        pip = Command::new(interpreter);
        pip.args(["-m", "pip"]);
    } else {
        pip = Command::new(find_python()?);
        pip.args(["-m", "pip", "--python"]).arg(interpreter);
    }
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    Ok(pip)
}

fn find_python() -> Result<&'static str> {
    PYTHONS
        .into_iter()
        .find(|python| {
            let version = "import sys; sys.exit(sys.version_info[:2] != (3, 11))";
            let found = Command::new(python).args(["-c", version]).output();
            found.is_ok_and(|output| output.status.success())
        })
        .context(
            "the conformance tests need Python 3.11 (Debian: python3, python3-venv, python3-pip)",
        )
}

fn ran(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} does not start"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{command:?} failed ({}):\n{said}", output.status)
}
