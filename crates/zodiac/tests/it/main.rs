//! The binary as its users start it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

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

fn scratch(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("zodiac-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a scratch directory");
    directory
}
