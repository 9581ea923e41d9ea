//! `zodiac up` as the tests use it: on free ports, with its events read.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, address};

/// A running `zodiac up`.
#[derive(Debug)]
pub struct Cluster {
    process: Process,
    balancer: SocketAddr,
    // The working directory; after the process, so that it goes last.
    _directory: TempDir,
}

/// One process of a cluster, as its newest `listening` event told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Cluster {
    /// Starts a storage server on `data`, `publishers` publishers and a balancer, and waits until
    /// all are ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(data: &Path, publishers: usize) -> Result<Self> {
        Self::start_with(data, publishers, &[])
    }

    /// The same with more arguments for `zodiac up`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_with(data: &Path, publishers: usize, more: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = data.to_str().context("the path is text")?;
        let publishers = publishers.to_string();
        let any = "127.0.0.1:0";
        let mut arguments = vec!["up", "--data", data, "--publishers", &publishers];
        arguments.extend([
            "--listen",
            any,
            "--zeo-listen",
            any,
            "--publisher-listen",
            any,
        ]);
        arguments.extend(more);
        let process = Process::start(directory.path(), &arguments)?;
        let ready = process.event("ready", 0, |event| event["event"] == "ready")?;
        let balancer = address(&ready)?;
        Ok(Self {
            process,
            balancer,
            _directory: directory,
        })
    }

    /// Where users connect.
    pub fn balancer(&self) -> SocketAddr {
        self.balancer
    }

    /// The process of `zodiac up` itself.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The storage server.
    pub fn zeo(&self) -> Member {
        self.newest(|event| event["role"] == "zeo")
            .expect("a ready cluster has a storage server")
    }

    /// The balancer.
    pub fn balance(&self) -> Member {
        self.newest(|event| event["role"] == "balance")
            .expect("a ready cluster has a balancer")
    }

    /// Publisher `number`, counted from 1.
    pub fn publisher(&self, number: usize) -> Member {
        self.newest(|event| event["role"] == "publish" && event["number"] == number)
            .unwrap_or_else(|| panic!("there is no publisher {number}"))
    }

    /// All publishers in order.
    pub fn publishers(&self) -> Vec<Member> {
        let count = self
            .process
            .events()
            .iter()
            .filter(|event| event["event"] == "listening" && event["role"] == "publish")
            .filter_map(|event| event["number"].as_u64())
            .max()
            .unwrap_or(0);
        let count = usize::try_from(count).expect("few publishers");
        (1..=count).map(|number| self.publisher(number)).collect()
    }

    /// Every process of the cluster but `zodiac up` itself, as last heard.
    pub fn members(&self) -> Vec<Member> {
        let mut members = vec![self.zeo(), self.balance()];
        members.extend(self.publishers());
        members
    }

    /// Stops all of it.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub fn stop(self) -> Result<ExitStatus> {
        self.process.stop()
    }

    fn newest(&self, matches: impl Fn(&Value) -> bool) -> Option<Member> {
        let events = self.process.events();
        let event = events
            .iter()
            .rev()
            .find(|event| event["event"] == "listening" && matches(event))?;
        let pid = u32::try_from(event["pid"].as_u64()?).ok()?;
        Some(Member {
            pid,
            address: address(event).ok()?,
        })
    }
}
