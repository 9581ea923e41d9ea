//! Loads of random objects, many under way and one by one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use conformance::Stopwatch;
use zeo::{Encoding, Value};

use super::made::{RECORD_BYTES, Size, record};
use super::peer::{Frame, Peer, call, place_of};
use super::servers::Server;
use super::{constant, rounds};
use crate::sheet::Sheet;
use crate::storage::Better;

/// How many loads are under way on how many connections.
#[derive(Clone, Copy)]
struct Load {
    connections: usize,
    depth: usize,
    encoding: Encoding,
    objects: u64,
    seconds: f64,
}

/// What one run found.
#[derive(Clone, Default)]
pub(super) struct Found {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The server's processor time for one, in microseconds.
    pub(super) cpu_us: f64,
}

pub(super) fn measure(servers: &[Server; 3], size: Size, sheet: &mut Sheet) -> Result<()> {
    eprintln!("bench: loads");
    let deep = Load {
        connections: 4,
        depth: 32,
        encoding: Encoding::Msgpack,
        objects: size.objects,
        seconds: size.seconds,
    };
    let lone = Load {
        connections: 1,
        depth: 1,
        ..deep
    };
    let constant = constant::start(&record(RECORD_BYTES))?;
    let ceiling = run(constant, deep)?;
    let found = rounds(servers, size.rounds, |server| run_on(server, deep))?;
    rates(sheet, "loads, 4 connections x 32 under way", &found);
    sheet.reach_times(10.0);
    let ceiling = ceiling.per_second;
    sheet.note(format!("a server that answers a constant: {ceiling:.0}"));
    cpu(sheet, "server's processor time for such a load", &found);
    let pickled = Load {
        encoding: Encoding::Pickle,
        ..deep
    };
    let found = rounds(servers, size.rounds, |server| run_on(server, pickled))?;
    rates(sheet, "the same with pickles", &found);
    let found = rounds(servers, size.rounds, |server| run_on(server, lone))?;
    waits(
        sheet,
        "load, one at a time",
        &found,
        run(constant, lone)?.p50_us,
    );
    cpu(sheet, "server's processor time for such a load", &found);
    on_one_core(servers, constant, lone, size, sheet)
}

/// The driver and the servers on one processor: nothing is woken across.
fn on_one_core(
    servers: &[Server; 3],
    constant: SocketAddr,
    lone: Load,
    size: Size,
    sheet: &mut Sheet,
) -> Result<()> {
    let mut pids: Vec<u32> = servers.iter().map(Server::pid).collect();
    pids.push(std::process::id());
    if !pids.iter().all(|pid| pin(*pid, "0")) {
        return Ok(()); // There is no `taskset`, or no second processor.
    }
    let found = rounds(servers, size.rounds, |server| run_on(server, lone));
    let ceiling = run(constant, lone);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let all = format!("0-{}", CORES_MAX.max(cores) - 1);
    pids.iter().for_each(|pid| {
        pin(*pid, &all);
    });
    let found = found?;
    waits(
        sheet,
        "load, one at a time, all on one core",
        &found,
        ceiling?.p50_us,
    );
    let p50 = found[0].p50_us;
    sheet.reach(p50 <= 13.0, &format!("13 us p50 ({p50:.1})"));
    Ok(())
}

fn pin(pid: u32, cores: &str) -> bool {
    let pid = pid.to_string();
    let arguments = ["--all-tasks", "--pid", "--cpu-list", cores, &pid];
    let done = Command::new("taskset").args(arguments).output();
    done.is_ok_and(|output| output.status.success())
}

/// Processors beyond those that exist are ignored.
const CORES_MAX: usize = 1_024;

fn rates(sheet: &mut Sheet, subject: &str, found: &[Found; 3]) {
    let figures = found.each_ref().map(|found| found.per_second);
    sheet.add(subject, "per s", Better::More, figures);
}

fn waits(sheet: &mut Sheet, subject: &str, found: &[Found; 3], ceiling: f64) {
    let p99 = found.each_ref().map(|found| found.p99_us);
    sheet.add(&format!("{subject}, p99"), "us", Better::Less, p99);
    let p50 = found.each_ref().map(|found| found.p50_us);
    sheet.add(&format!("{subject}, p50"), "us", Better::Less, p50);
    sheet.note(format!("a server that answers a constant: {ceiling:.1}"));
}

fn cpu(sheet: &mut Sheet, subject: &str, found: &[Found; 3]) {
    let figures = found.each_ref().map(|found| found.cpu_us);
    sheet.add(subject, "us", Better::Less, figures);
}

fn run_on(server: &Server, load: Load) -> Result<Found> {
    let before = server.cpu_us()?;
    let found = run(server.address(), load)?;
    let cpu_us = server.cpu_us()? - before;
    Ok(Found {
        cpu_us: cpu_us / (found.per_second * load.seconds).max(1.0),
        ..found
    })
}

/// One thread serves all connections: it reads one after the other, and asks for as many as came.
fn run(address: SocketAddr, load: Load) -> Result<Found> {
    let mut frame = Vec::new();
    let before = Value::id(i64::MAX.to_be_bytes());
    let args = vec![Value::id(PLACE), before];
    call(load.encoding, "loadBefore", args, &mut frame);
    let place = place_of(&frame, PLACE)?;
    let mut askers = Vec::new();
    for _ in 0..load.connections {
        askers.push(Asker {
            peer: Peer::connect(address, load.encoding)?,
            frame: frame.clone(),
            place,
            objects: load.objects,
            under_way: VecDeque::new(),
            out: Vec::new(),
        });
    }
    let watch = Stopwatch::start();
    let mut waits = Vec::new();
    for asker in &mut askers {
        asker.ask(load.depth, watch.elapsed())?;
    }
    while watch.elapsed().as_secs_f64() < load.seconds {
        for asker in &mut askers {
            let came = asker.answers(watch, &mut waits)?;
            asker.ask(came, watch.elapsed())?;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    Ok(summary(waits, seconds))
}

/// The rate and the waits of what took so many nanoseconds each.
#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub(super) fn summary(mut waits: Vec<u64>, seconds: f64) -> Found {
    waits.sort_unstable();
    let last = waits.len().saturating_sub(1);
    let at = |share: usize| waits.get(last * share / 100).copied().unwrap_or(0) as f64 / 1_000.0;
    Found {
        per_second: waits.len() as f64 / seconds,
        p50_us: at(50),
        p99_us: at(99),
        cpu_us: 0.0,
    }
}

/// A connection and what is under way on it.
struct Asker {
    peer: Peer,
    frame: Vec<u8>,
    place: usize,
    objects: u64,
    /// How many were asked when.
    under_way: VecDeque<(usize, Duration)>,
    out: Vec<u8>,
}

impl Asker {
    fn ask(&mut self, count: usize, now: Duration) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.out.clear();
        for _ in 0..count {
            let oid = fastrand::u64(..self.objects).to_be_bytes();
            self.frame[self.place..self.place + 8].copy_from_slice(&oid);
            self.out.extend_from_slice(&self.frame);
        }
        self.under_way.push_back((count, now));
        self.peer.send(&self.out)
    }

    /// How many came.
    fn answers(&mut self, watch: Stopwatch, waits: &mut Vec<u64>) -> Result<usize> {
        self.peer.fill()?;
        let now = watch.elapsed();
        let mut came = 0;
        while let Some(frame) = self.peer.next_frame()? {
            let Frame::Reply(payload) = frame else {
                continue;
            };
            ensure!(payload.len() > RECORD_BYTES, "an answer without the record");
            came += 1;
            if let Some((left, asked)) = self.under_way.front_mut() {
                waits.push(u64::try_from((now - *asked).as_nanos())?);
                *left -= 1;
                if *left == 0 {
                    self.under_way.pop_front();
                }
            }
        }
        Ok(came)
    }
}

/// Where the id goes into the frame.
const PLACE: [u8; 8] = *b"whichoid";
