//! A bulk import: large transactions of new objects, one after the other.

use anyhow::Result;
use conformance::Stopwatch;
use zeo::{Encoding, Value};

use super::commits::{TRANSACTION, begin_call, finish_call, store_call};
use super::made::{Size, record};
use super::peer::{Peer, call};
use super::rounds_of;
use super::servers::Server;
use crate::sheet::Sheet;
use crate::storage::Better;

const RECORD_BYTES: usize = 10 << 10;
const TRANSACTION_RECORDS: u64 = 500;

pub(super) fn measure(servers: &[Server; 3], size: Size, sheet: &mut Sheet) -> Result<()> {
    eprintln!("bench: import");
    let mut first_oid = 0x1_0000_0000;
    let found = rounds_of(servers, size.rounds, |server| {
        first_oid += 0x100_0000;
        run(server, first_oid, size.seconds)
    })?;
    let found = found.map(|rounds| rounds.into_iter().fold(0.0, f64::max));
    sheet.add("import of 10 KiB objects", "MB/s", Better::More, found);
    sheet.reach_times(3.0);
    Ok(())
}

/// Megabytes of records a second.
#[allow(clippy::cast_precision_loss, reason = "a count of objects")]
fn run(server: &Server, first_oid: u64, seconds: f64) -> Result<f64> {
    let mut peer = Peer::connect(server.address(), Encoding::Msgpack)?;
    let record = record(RECORD_BYTES);
    let watch = Stopwatch::start();
    let mut oid = first_oid;
    let mut out = Vec::new();
    while watch.elapsed().as_secs_f64() < seconds {
        begin_call(&mut out);
        for _ in 0..TRANSACTION_RECORDS {
            store_call(oid, 0, &record, &mut out);
            oid += 1;
            if out.len() > SEND_BYTES {
                peer.send(&out)?;
                out.clear();
            }
        }
        call(
            Encoding::Msgpack,
            "vote",
            vec![Value::Int(TRANSACTION)],
            &mut out,
        );
        peer.send(&out)?;
        out.clear();
        peer.wait_reply()?;
        finish_call(&mut out);
        peer.send(&out)?;
        out.clear();
        peer.wait_reply()?;
    }
    let bytes = (oid - first_oid) as f64 * RECORD_BYTES as f64;
    Ok(bytes / 1e6 / watch.elapsed().as_secs_f64())
}

const SEND_BYTES: usize = 256 << 10;
