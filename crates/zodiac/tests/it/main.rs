//! The binary as its users start it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

mod balancer;
mod blobs;
mod displaced;
mod dns;
mod missing_end;
mod relay;
mod watching;
mod wrong_index;

/// A running `zodiac` that stops when it is dropped: its standard input ends.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A `zeo.conf` is checked by its name, without a server.
#[test]
fn a_zeo_conf_is_checked_before_it_is_followed() {
    let directory = scratch("check");
    let conf = directory.join("zeo.conf");
    let check = |text: &str| {
        std::fs::write(&conf, text).expect("the directory is there");
        let mut command = Command::new(env!("CARGO_BIN_EXE_zodiac"));
        command.args(["config", "--check"]).arg(&conf);
        let output = command.output().expect("the binary starts");
        let told = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&told).into_owned(),
        )
    };
    let zeo = "<zeo>\n address 8100\n</zeo>\n";
    let (status, told) = check(&format!("{zeo}<mappingstorage/>\n"));
    assert!(status == Some(0) && told.contains("no errors"), "{told}");
    let (status, told) = check(&format!("{zeo}<zeoclient>\n server 1\n</zeoclient>\n"));
    assert!(
        status == Some(2) && told.contains("zeo.conf:4: <zeoclient>"),
        "{told}"
    );
    std::fs::remove_dir_all(directory).expect("the directory goes");
}

/// Parts that log nothing run all the same.
#[test]
fn a_silent_cluster_serves() {
    let directory = scratch("silent");
    let data = directory.join("Data.fs");
    let mut child = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args(["up", "--supervised", "--json", "--log-level", "error"])
        .args(["--listen", "127.0.0.1:0", "--zeo-listen", "127.0.0.1:0"])
        .args(["--publisher-listen", "127.0.0.1:0", "--publishers", "1"])
        .arg("--data")
        .arg(&data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let running = Running { child };

    let mut address = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.expect("lines are text");
        let event: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
        assert_ne!(event["event"], "exited", "{line}");
        if event["event"] == "ready" {
            address = event["address"].as_str().map(str::to_owned);
            break;
        }
    }
    let address = address.expect("the cluster becomes ready");
    let mut stream = TcpStream::connect(address).expect("the balancer accepts");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: zodiac\r\nConnection: close\r\n\r\n")
        .expect("the balancer reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the answer is text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(running);
    std::fs::remove_dir_all(directory).expect("the directory goes");
}

/// A variable that is no text is named, and nothing panics.
#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let refused = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args(["balance", "--listen", "127.0.0.1:0"])
        .env("ZODIAC_PUBLISH_REALM", std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .expect("the binary starts");
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("ZODIAC_PUBLISH_REALM"), "{message}");
}

/// Exit statuses and output of `zodiac fs`, as its help describes them.
#[test]
fn tools_say_what_is_wrong_by_their_exit_status() {
    let directory = scratch("fs");
    let fs = |arguments: &[&str], file: &std::path::Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
            .arg("fs")
            .arg(arguments[0])
            .arg(file)
            .args(&arguments[1..])
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../filestorage/tests/golden/plain.fs");
    for tool in ["info", "dump", "tail", "refs", "verify", "stats"] {
        let (status, out, errors) = fs(&[tool, "--json"], &golden);
        assert_eq!((status, errors.as_str()), (Some(0), ""), "{tool}: {out}");
        for line in out.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("lines are JSON");
            assert!(line["kind"].is_string(), "{tool}: {line}");
        }
        assert!(!out.is_empty(), "{tool}");
    }
    let (status, out, _) = fs(&["oids", "0x63", "--json"], &golden);
    assert_eq!(status, Some(1));
    assert_eq!(out, "{\"kind\":\"absent\",\"oid\":\"0x63\"}\n");

    let broken = directory.join("broken.fs");
    let mut bytes = std::fs::read(&golden).expect("the golden file");
    bytes[338 + 42 + 2] = 0xff;
    std::fs::write(&broken, bytes).expect("a broken copy");
    let (status, out, _) = fs(&["verify"], &broken);
    assert_eq!(status, Some(1));
    let first = "damaged at offset 338, transaction 0x03f0000200000000, object 0x01: ";
    assert!(out.starts_with(first), "{out}");

    let copy = directory.join("copy.fs");
    std::fs::copy(&golden, &copy).expect("a copy");
    let (status, out, _) = fs(&["index", "--check"], &copy);
    assert_eq!(status, Some(1));
    assert!(out.contains("missing"), "{out}");
    assert_eq!(fs(&["index"], &copy).0, Some(0));
    assert_eq!(fs(&["index", "--check"], &copy).0, Some(0));
    let (status, out, _) = fs(&["undo", "--json", "-n", "1"], &copy);
    assert_eq!((status, out.lines().count()), (Some(0), 1));
    let line: serde_json::Value = serde_json::from_str(&out).expect("a line is JSON");
    let tid = line["tid"].as_str().expect("an id");
    let (preview, said, _) = fs(&["undo", tid, "--dry-run", "--json"], &copy);
    let (status, out, errors) = fs(&["undo", tid, "--json"], &copy);
    assert_eq!(status, preview, "{said}{out}{errors}");
    assert_eq!(fs(&["undo", "--dry-run"], &copy).0, Some(2));
    assert_eq!(fs(&["verify"], &copy).0, Some(0));

    let (status, out, errors) = fs(&["info"], &directory.join("absent.fs"));
    assert_eq!((status, out.as_str()), (Some(2), ""));
    assert!(errors.contains("absent.fs: cannot open"), "{errors}");
    let (status, _, errors) = fs(&["dump", "--from", "yesterday"], &golden);
    assert_eq!(status, Some(2));
    assert!(errors.contains("2026-01-31"), "{errors}");
    std::fs::remove_dir_all(directory).expect("the directory goes");
}

#[test]
fn a_data_fs_is_packed_by_a_command() {
    let directory = scratch("pack");
    let golden =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../filestorage/tests/golden");
    let file = directory.join("Data.fs");
    std::fs::copy(golden.join("unpacked.fs"), &file).expect("a copy");
    let pack = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
            .args(["fs", "pack"])
            .arg(&file)
            .args(arguments)
            .output()
            .expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let options = || filestorage::Options::default();
    let open = filestorage::FileStorage::open(&file, options()).expect("it opens");
    let (status, _, errors) = pack(&[]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("lock"), "{errors}");
    open.close().expect("it closes");

    let (status, out, errors) =
        pack(&["--to", "0x03f0000800000000", "--throttle", "100", "--json"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""), "{out}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["kind"], "packed");
    assert_eq!(told["packed"], true);
    let read = |name: &str| std::fs::read(name).expect("the file");
    let packed = read(golden.join("packed-middle.fs").to_str().expect("text"));
    assert_eq!(read(file.to_str().expect("text")), packed);
    assert_eq!(told["bytes_after"], packed.len());
    let old = told["old_file"].as_str().expect("a name");
    assert_eq!(
        read(old),
        read(golden.join("unpacked.fs").to_str().expect("text"))
    );

    let (status, out, _) = pack(&["--days", "10000"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with("nothing to take away up to 19"), "{out}");
    let (status, out, _) = pack(&["--no-keep-old", "--no-gc"]);
    assert_eq!(status, Some(0));
    assert!(
        out.starts_with("packed up to 2") && !out.contains(".old"),
        "{out}"
    );
    assert!(!std::path::Path::new(old).exists());
    assert_eq!(pack(&["--days", "-1"]).0, Some(2));
    std::fs::remove_dir_all(directory).expect("the directory goes");
}

fn scratch(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("zodiac-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a scratch directory");
    directory
}
