//! The programs beside a ZEO server, against the originals: at our server and at a genuine one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use conformance::{PATIENCE, judge, poll, zodiac_binary};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sound_site;

/// A program of the original, or the link by its name to ours: what users' scripts call.
fn program(name: &str, ours: bool, links: &Path) -> Command {
    let path = if ours {
        let link = links.join(name);
        if !link.exists() {
            symlink(zodiac_binary().unwrap(), &link).unwrap();
        }
        link
    } else {
        judge::python().unwrap().with_file_name(name)
    };
    let mut command = Command::new(path);
    command
        .current_dir(links)
        .env("TZ", "Asia/Kolkata")
        .stdin(Stdio::null());
    command
}

/// Exit status, standard output and standard error.
type Said = (Option<i32>, String, String);

fn said(mut command: Command, arguments: &[&str]) -> Said {
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A server of two storages: 0 is empty, 1 is what the folder has as `1.fs`.
struct Server {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Server {
    fn start(ours: bool, data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(data, folder.path().join("1.fs")).unwrap();
        if ours {
            Self::ours(folder)
        } else {
            Self::genuine(folder)
        }
    }

    fn ours(folder: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let text = format!(
            "<zeo>\n address {address}\n</zeo>\n<filestorage 0>\n path 0.fs\n</filestorage>\n\
             <filestorage 1>\n path 1.fs\n</filestorage>\n"
        );
        fs::write(folder.path().join("zeo.conf"), text).unwrap();
        let mut command = program("runzeo", true, folder.path());
        let child = command.args(["-C", "zeo.conf"]).spawn().unwrap();
        poll("a server", PATIENCE, || TcpStream::connect(&address).ok()).unwrap();
        Self {
            child,
            address,
            folder,
        }
    }

    fn genuine(folder: TempDir) -> Self {
        let mut child = judge::command("zeo_serve.py")
            .unwrap()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = json!({ "directory": folder.path(), "count": 2, "msgpack": false });
        writeln!(child.stdin.as_mut().unwrap(), "{wanted}").unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["server"].as_str().unwrap().to_owned();
        Self {
            child,
            address,
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

#[test]
fn zeo_nagios_says_what_the_original_says() {
    let site = sound_site();
    let links = tempfile::tempdir().unwrap();
    let nagios = |ours, arguments: &[&str]| {
        let (status, out, _) = said(program("zeo-nagios", ours, links.path()), arguments);
        (status, out)
    };
    for server_is_ours in [true, false] {
        let server = Server::start(server_is_ours, site.data());
        let address = server.address.as_str();
        let plain = nagios(true, &[address]);
        assert_eq!(plain, (Some(1), "Empty storage '0'\n".to_owned()));
        assert_eq!(plain, nagios(false, &[address]));
        let levels = nagios(true, &["-m", address]);
        assert_eq!(levels, nagios(false, &["--output-metrics", address]));

        // Each goes on with the figures that the other one left.
        let status = server.file("status");
        let status = status.to_str().unwrap();
        for first_is_ours in [true, false] {
            let _none_from_before = fs::remove_file(status);
            let first = nagios(first_is_ours, &["-m", "-s", status, address]);
            assert_eq!(first, levels);
            let second = nagios(!first_is_ours, &["-ms", status, "-u", "days", address]);
            let third = nagios(first_is_ours, &["-ms", status, "-u", "days", address]);
            assert_eq!(second, third, "all rates are 0.0");
            assert!(second.1.contains("\n 0:aborts=0.0\n"), "{second:?}");
        }
        let rates: Vec<f64> = [true, false]
            .into_iter()
            .map(|ours| {
                let mut figures: Value =
                    serde_json::from_slice(&fs::read(status).unwrap()).unwrap();
                figures["0"]["loads"] = json!(-600_000);
                fs::write(status, figures.to_string()).unwrap();
                let file = fs::File::options().write(true).open(status).unwrap();
                let minute_ago = clock_of(&file) - Duration::from_secs(60);
                file.set_modified(minute_ago).unwrap();
                let (_, out) = nagios(ours, &["-ms", status, "-u", "seconds", address]);
                let rate = out
                    .lines()
                    .find_map(|line| line.trim().strip_prefix("0:loads="));
                rate.unwrap_or_else(|| panic!("{out}")).parse().unwrap()
            })
            .collect();
        for rate in rates {
            assert!((5_000.0..=10_000.0).contains(&rate), "{rate}");
        }
        drop(server);
    }
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for address in [dead.as_str(), "/nonexistent/socket"] {
        let ours = nagios(true, &[address]);
        assert_eq!(ours.0, Some(2));
        assert_eq!(ours, nagios(false, &[address]));
    }
}

fn clock_of(file: &fs::File) -> SystemTime {
    file.metadata().unwrap().modified().unwrap()
}

/// Both scripts at both servers: four files, all equal.
#[test]
fn zeopack_packs_what_the_original_packs() {
    let site = sound_site();
    let links = tempfile::tempdir().unwrap();
    let before = fs::read(site.data()).unwrap();
    let mut packed = Vec::new();
    for server_is_ours in [true, false] {
        for ours in [true, false] {
            let server = Server::start(server_is_ours, site.data());
            let zeopack =
                |arguments: &[&str]| said(program("zeopack", ours, links.path()), arguments);
            // There is nothing as old as that: the file stays.
            let (status, ..) = zeopack(&["-d", "20000", &server.address]);
            assert_eq!(status, Some(0));
            assert_eq!(fs::read(server.file("1.fs")).unwrap(), before);
            let named = format!("{}:1", server.address);
            let (status, out, errors) = zeopack(&[&named]);
            assert_eq!((status, out.as_str(), errors.as_str()), (Some(0), "", ""));
            let after = fs::read(server.file("1.fs")).unwrap();
            assert!(after.len() < before.len());
            assert_eq!(fs::read(server.file("1.fs.old")).unwrap(), before);
            packed.push(after);
        }
    }
    assert!(packed.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn zeopack_refuses_what_the_original_refuses() {
    let links = tempfile::tempdir().unwrap();
    for arguments in [
        &["-d", "1"][..],
        &["localhost"],
        &["localhost:8100:1:2"],
        &["localhost:http"],
        &["-h", "localhost"],
        &["-t", "1:2:3:4", "localhost:8100"],
        &["-u", "a:b:c"],
    ] {
        let ours = said(program("zeopack", true, links.path()), arguments);
        assert_eq!(ours.0, Some(1), "{arguments:?}");
        assert_eq!(
            ours,
            said(program("zeopack", false, links.path()), arguments)
        );
    }
    for name in ["zeopack", "zeo-nagios"] {
        let wrong = ["--no-such-option"];
        let ours = said(program(name, true, links.path()), &wrong).0;
        assert_eq!(ours, Some(2), "{name}");
        assert_eq!(
            ours,
            said(program(name, false, links.path()), &wrong).0,
            "{name}"
        );
    }
    let (status, out, _) = said(program("zeopack", true, links.path()), &[]);
    assert_eq!(status, Some(0));
    assert!(out.contains("Usage:"), "{out}");
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = ["--wait", "0", &dead.to_string()];
    let (status, _, errors) = said(program("zeopack", true, links.path()), &gone);
    assert_eq!(status, Some(1));
    let expected = format!(
        "Couldn't connect to: (('127.0.0.1', {}), '1')\nError:\n\
         Cannot connect to any of the configured ZEO servers.\n",
        dead.port()
    );
    assert!(errors.ends_with(&expected), "{errors}");
}

/// A storage that is not there is found out at once, and one at a socket is packed.
#[test]
fn zeopack_reaches_a_socket_and_waits_for_no_storage_that_is_not_there() {
    let site = sound_site();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(site.data(), folder.path().join("1.fs")).unwrap();
    let socket = folder.path().join("zeo.sock");
    let socket = socket.to_str().unwrap();
    let text = format!(
        "<zeo>\n address {socket}\n</zeo>\n<filestorage main>\n path 1.fs\n</filestorage>\n"
    );
    fs::write(folder.path().join("zeo.conf"), text).unwrap();
    let mut command = program("runzeo", true, folder.path());
    let child = command.args(["-C", "zeo.conf"]).spawn().unwrap();
    let server = Server {
        child,
        address: socket.to_owned(),
        folder,
    };
    poll("a server", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(socket).ok()
    })
    .unwrap();
    let zeopack = || program("zeopack", true, server.folder.path());
    let (status, _, errors) = said(zeopack(), &["-u", socket]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("refused register"), "{errors}");
    let packed = said(zeopack(), &["-U", &server.address, "-S", "main"]);
    assert_eq!(packed, (Some(0), String::new(), String::new()));
    assert!(server.file("1.fs.old").exists());
    let (status, out, _) = said(
        program("zeo-nagios", true, server.folder.path()),
        &["-m", socket],
    );
    assert_eq!(
        (status, out.as_str()),
        (
            Some(0),
            "OK|main:active_txns=0\n| main:connections=0\n main:waiting=0\n"
        )
    );
}
