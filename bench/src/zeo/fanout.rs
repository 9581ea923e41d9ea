//! How soon a hundred clients hear of a commit.

use std::time::Duration;

use anyhow::Result;
use conformance::Stopwatch;
use zeo::{Encoding, Value};

use super::commits::{TRANSACTION, begin_call, finish_call, finished_tid, store_call};
use super::loads::{Found, summary};
use super::made::{Size, record};
use super::peer::{Frame, Peer, call, readable};
use super::servers::Server;
use super::{best, rounds_of};
use crate::sheet::Sheet;
use crate::storage::Better;

const LISTENERS: usize = 100;
const OID: u64 = 0x2_0000;

struct Run {
    /// From the order to finish until the last listener has it.
    whole: Found,
    /// From the first listener that has it to the last.
    spread: Found,
}

pub(super) fn measure(servers: &[Server; 3], size: Size, sheet: &mut Sheet) -> Result<()> {
    eprintln!("bench: fanout");
    let runs = rounds_of(servers, size.rounds, |server| run(server, size.seconds))?;
    let p50 = |of: fn(&Run) -> &Found| {
        let best_of = |runs: &Vec<Run>| {
            let p50 = runs.iter().map(|run| of(run).p50_us / 1_000.0);
            p50.fold(f64::INFINITY, f64::min)
        };
        runs.each_ref().map(best_of)
    };
    let subject = format!("fan-out to {LISTENERS} clients: first to last, p50");
    sheet.add(&subject, "ms", Better::Less, p50(|run| &run.spread));
    let subject = format!("fan-out to {LISTENERS} clients: finish to last, p50");
    sheet.add(&subject, "ms", Better::Less, p50(|run| &run.whole));
    sheet.reach_times(2.0);
    let cpu = runs.map(|runs| best(runs.into_iter().map(|run| run.whole)).cpu_us);
    sheet.add(
        "server's processor time for such a commit",
        "us",
        Better::Less,
        cpu,
    );
    Ok(())
}

fn run(server: &Server, seconds: f64) -> Result<Run> {
    let connect = |_| Peer::connect(server.address(), Encoding::Msgpack);
    let mut listeners = (0..LISTENERS).map(connect).collect::<Result<Vec<_>>>()?;
    let mut committer = connect(0)?;
    let mut last = committer.current_tid(OID)?;
    let record = record(1_000);
    let before = server.cpu_us()?;
    let whole_watch = Stopwatch::start();
    let (mut whole, mut spread) = (Vec::new(), Vec::new());
    while whole_watch.elapsed().as_secs_f64() < seconds {
        let mut out = Vec::new();
        begin_call(&mut out);
        store_call(OID, last, &record, &mut out);
        call(
            Encoding::Msgpack,
            "vote",
            vec![Value::Int(TRANSACTION)],
            &mut out,
        );
        committer.send(&out)?;
        committer.wait_reply()?;
        out.clear();
        finish_call(&mut out);
        let watch = Stopwatch::start();
        committer.send(&out)?;
        let [first, all] = heard_by_all(&mut listeners, watch)?;
        whole.push(u64::try_from(all.as_nanos())?);
        spread.push(u64::try_from((all - first).as_nanos())?);
        last = finished_tid(&committer.wait_reply()?);
    }
    let cpu_us = (server.cpu_us()? - before) / whole.len().max(1) as f64;
    let seconds = whole_watch.elapsed().as_secs_f64();
    Ok(Run {
        whole: Found {
            cpu_us,
            ..summary(whole, seconds)
        },
        spread: summary(spread, seconds),
    })
}

/// When the first listener has heard of the one commit, and when all have.
fn heard_by_all(listeners: &mut [Peer], watch: Stopwatch) -> Result<[Duration; 2]> {
    let mut heard = 0;
    let mut first = None;
    while heard < listeners.len() {
        for index in readable(listeners.iter())? {
            let listener = &mut listeners[index];
            listener.fill()?;
            while let Some(frame) = listener.next_frame()? {
                if matches!(frame, Frame::Invalidation(_)) {
                    heard += 1;
                    first.get_or_insert_with(|| watch.elapsed());
                }
            }
        }
    }
    let all = watch.elapsed();
    Ok([first.unwrap_or(all), all])
}
