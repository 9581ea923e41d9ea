//! A `zodiac balance` for tests.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Running, scratch};

/// A running balancer with a configuration of its own.
pub(super) struct Balancer {
    _running: Running,
    /// Where it listens.
    pub(super) address: SocketAddr,
    directory: PathBuf,
}

impl Balancer {
    /// Starts one that listens once, as `role`.
    pub(super) fn start(test: &str, text: &str, role: &str) -> Self {
        let directory = scratch(test);
        let file = directory.join("zodiac.toml");
        std::fs::write(&file, text).expect("the directory is there");
        let mut child = Command::new(env!("CARGO_BIN_EXE_zodiac"))
            .args(["balance", "--supervised", "--json", "--config"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let running = Running { child };
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the server tells where it listens");
        let event: serde_json::Value = serde_json::from_str(&line).expect("lines are JSON");
        assert_eq!(event["role"], role, "{line}");
        let address = event["address"].as_str().expect("an address is text");
        Self {
            _running: running,
            address: address.parse().expect("an address"),
            directory,
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
