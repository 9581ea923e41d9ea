//! Commits of one object each by several clients, each with its own object.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use conformance::Stopwatch;
use zeo::{Encoding, Value};

use super::loads::{Found, summary};
use super::made::{Size, record};
use super::peer::{Frame, Peer, call, one_way, readable};
use super::servers::Server;
use super::{best, rounds_of};
use crate::sheet::Sheet;
use crate::storage::{Better, worker};

const CLIENTS: [u32; 3] = [1, 8, 32];
/// How many commit side by side where late invalidations are counted.
const WRITERS: u32 = 16;
/// How many times better ours has to be.
const TIMES: [f64; 3] = [2.0, 6.0, 15.0];
const RECORD_BYTES: usize = 1_000;
const P99_MS_MAX: f64 = 20.0;

#[derive(Clone, Default)]
struct Run {
    found: Found,
    /// Invalidations that came after the answer to a later commit of the same client.
    late: u64,
}

pub(super) fn measure(
    servers: &[Server; 3],
    directory: &Path,
    size: Size,
    sheet: &mut Sheet,
) -> Result<()> {
    for (clients, times) in CLIENTS.into_iter().zip(TIMES) {
        eprintln!("bench: commits, {clients} client(s)");
        let syncs = worker::syncs_per_second(directory, size.seconds / 2.0)?;
        let runs = rounds_of(servers, size.rounds, |server| {
            run(server, clients, size.seconds)
        })?;
        let found = runs.map(|runs| best(runs.into_iter().map(|run| run.found)));
        let subject = format!("commits of 1 KB, {clients} client(s)");
        let per_second = found.each_ref().map(|found| found.per_second);
        sheet.add(&subject, "per s", Better::More, per_second);
        sheet.note(format!("the disk alone syncs {syncs:.0} times a second"));
        sheet.reach_times(times);
        if clients == 1 {
            let compatible = Server::start_compatible(directory)?;
            let runs = (0..size.rounds).map(|_| run(&compatible, clients, size.seconds));
            let runs = runs.collect::<Result<Vec<_>>>()?;
            let found = best(runs.into_iter().map(|run| run.found));
            sheet.note(format!(
                "with one sync, as the original (durability = \"compat\"): {:.0} per s, {:.1} times",
                found.per_second,
                found.per_second / per_second[1]
            ));
            compatible.stop()?;
        }
        let p50 = found.each_ref().map(|found| found.p50_us / 1_000.0);
        sheet.add(&format!("{subject}, p50"), "ms", Better::Less, p50);
        let p99 = found.each_ref().map(|found| found.p99_us / 1_000.0);
        sheet.add(&format!("{subject}, p99"), "ms", Better::Less, p99);
        if clients == 32 {
            sheet.reach(p99[0] < P99_MS_MAX, "under 20 ms");
        }
        let cpu = found.each_ref().map(|found| found.cpu_us);
        let subject = format!("server's processor time for one, {clients} client(s)");
        sheet.add(&subject, "us", Better::Less, cpu);
    }
    late(servers, size, sheet)
}

/// How often somebody hears that an object has changed after it was told of a later commit of its own:
/// until then it took what it had for current.
fn late(servers: &[Server; 3], size: Size, sheet: &mut Sheet) -> Result<()> {
    eprintln!("bench: late invalidations, {WRITERS} clients");
    let runs = rounds_of(servers, size.rounds, |server| {
        run(server, WRITERS, size.seconds)
    })?;
    let late = runs.map(|runs| runs.iter().map(|run| run.late as f64).sum());
    let subject = format!("invalidations after the answer to a later commit, {WRITERS} clients");
    sheet.add(&subject, "in all", Better::Less, late);
    let seconds = size.seconds * size.rounds as f64;
    sheet.note(format!("in {seconds:.0} s each"));
    sheet.reach(late[0] == 0.0, "none");
    Ok(())
}

fn run(server: &Server, clients: u32, seconds: f64) -> Result<Run> {
    let mut committers = (1..=clients)
        .map(|number| Committer::connect(server, number))
        .collect::<Result<Vec<_>>>()?;
    let before = server.cpu_us()?;
    let watch = Stopwatch::start();
    let end = Duration::from_secs_f64(seconds);
    let mut waits = Vec::new();
    for committer in &mut committers {
        committer.begin(watch)?;
    }
    let mut is_over = false;
    let mut under_way = committers.len();
    while under_way > 0 {
        for index in readable(committers.iter().map(|committer| &committer.peer))? {
            let committer = &mut committers[index];
            if let Some(wait) = committer.advance(watch)? {
                if !is_over {
                    waits.push(u64::try_from(wait.as_nanos())?);
                }
                is_over = watch.elapsed() >= end;
                if is_over {
                    under_way -= 1;
                } else {
                    committer.begin(watch)?;
                }
            }
        }
    }
    let cpu_us = (server.cpu_us()? - before) / waits.len().max(1) as f64;
    let found = summary(waits, watch.elapsed().as_secs_f64());
    Ok(Run {
        found: Found { cpu_us, ..found },
        late: committers.iter().map(|committer| committer.late).sum(),
    })
}

/// One client, with one commit after the other.
struct Committer {
    peer: Peer,
    oid: u64,
    /// Its last commit: the base of the next.
    last: u64,
    record: Vec<u8>,
    begun: Duration,
    is_voted: bool,
    is_done: bool,
    late: u64,
}

impl Committer {
    fn connect(server: &Server, number: u32) -> Result<Self> {
        let mut peer = Peer::connect(server.address(), Encoding::Msgpack)?;
        let oid = FIRST_OID + u64::from(number);
        let last = peer.current_tid(oid)?;
        Ok(Self {
            peer,
            oid,
            last,
            record: record(RECORD_BYTES),
            begun: Duration::ZERO,
            is_voted: false,
            is_done: true,
            late: 0,
        })
    }

    /// The changes and the vote, as a client writes them: in one go.
    fn begin(&mut self, watch: Stopwatch) -> Result<()> {
        let mut out = Vec::new();
        begin_call(&mut out);
        store_call(self.oid, self.last, &self.record, &mut out);
        call(
            Encoding::Msgpack,
            "vote",
            vec![Value::Int(TRANSACTION)],
            &mut out,
        );
        self.begun = watch.elapsed();
        (self.is_voted, self.is_done) = (false, false);
        self.peer.send(&out)
    }

    /// Reads what came. How long the commit took, if that was its end.
    fn advance(&mut self, watch: Stopwatch) -> Result<Option<Duration>> {
        self.peer.fill()?;
        let mut ended = None;
        let mut may_finish = false;
        while let Some(frame) = self.peer.next_frame()? {
            match frame {
                Frame::Invalidation(tid) => self.late += u64::from(tid < self.last),
                Frame::Push => {}
                Frame::Reply(_) if self.is_done => ensure!(false, "an answer to nothing"),
                Frame::Reply(payload) if self.is_voted => {
                    self.last = finished_tid(payload);
                    self.is_done = true;
                    ended = Some(watch.elapsed() - self.begun);
                }
                Frame::Reply(_) => {
                    self.is_voted = true;
                    may_finish = true;
                }
            }
        }
        if may_finish {
            let mut out = Vec::new();
            finish_call(&mut out);
            self.peer.send(&out)?;
        }
        Ok(ended)
    }
}

/// The transaction id that the answer to `tpc_finish` ends with.
pub(super) fn finished_tid(payload: &[u8]) -> u64 {
    payload
        .last_chunk::<8>()
        .map_or(0, |tid| u64::from_be_bytes(*tid))
}

pub(super) fn begin_call(out: &mut Vec<u8>) {
    let args = vec![
        Value::Int(TRANSACTION),
        Value::bytes(b"/ admin"),
        Value::bytes(b"/page/manage_edit"),
        Value::Map(Vec::new()),
        Value::None,
        Value::text(" "),
    ];
    one_way(Encoding::Msgpack, "tpc_begin", args, out);
}

pub(super) fn store_call(oid: u64, base: u64, record: &[u8], out: &mut Vec<u8>) {
    let args = vec![
        Value::id(oid.to_be_bytes()),
        Value::id(base.to_be_bytes()),
        Value::bytes(record),
        Value::Int(TRANSACTION),
    ];
    one_way(Encoding::Msgpack, "storea", args, out);
}

pub(super) fn finish_call(out: &mut Vec<u8>) {
    let args = vec![Value::Int(TRANSACTION)];
    call(Encoding::Msgpack, "tpc_finish", args, out);
}

/// The client's name for its transaction: it has one at a time.
pub(super) const TRANSACTION: i64 = 140_000_000_000_000;
/// Behind the objects that a new storage has.
const FIRST_OID: u64 = 0x1_0000;
