//! A pack, while somebody goes on committing.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use conformance::{Stopwatch, memory, pause};
use filestorage::{FileStorage, Options, PackOptions};
use serde_json::{Value, json};
use storage::{Oid, Storage, Tid};
use vfs::{AlignedBuffer, Disk, OpenMode, RealDisk};

use super::{commits, count, text};

pub(super) fn pack(task: &Value) -> Result<Value> {
    let storage = FileStorage::open(text(task, "path")?, Options::default())?;
    let bytes_before = storage.stats().bytes;
    let before = memory::resident_bytes()?;
    memory::forget_peak()?;
    let is_over = AtomicBool::new(false);
    let (seconds, waits) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut waits = Vec::new();
            let current = storage.load_before(Oid::ROOT, Tid::MAX)?;
            let current = current.context("a root")?;
            let mut base = current.tid;
            while !is_over.load(Ordering::Relaxed) {
                let watch = Stopwatch::start();
                base = commits::commit(&storage, Oid::ROOT, base, &current.record)?;
                waits.push(watch.elapsed());
                pause(BETWEEN_COMMITS);
            }
            anyhow::Ok(waits)
        });
        let watch = Stopwatch::start();
        let report = storage.pack(&PackOptions::default());
        let seconds = watch.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        let waits = writer.join().expect("no thread panics")?;
        anyhow::ensure!(report?.packed, "there was something to pack");
        anyhow::Ok((seconds, waits))
    })?;
    let peak = memory::peak_bytes()?;
    let bytes_after = storage.stats().bytes;
    storage.close()?;
    Ok(json!({
        "seconds": seconds,
        "commits": waits.len(),
        "longest_ms": waits.iter().max().map_or(0.0, |wait| wait.as_secs_f64() * 1_000.0),
        "extra_bytes": peak.saturating_sub(before),
        "bytes_before": bytes_before,
        "bytes_after": bytes_after,
    }))
}

/// Writes so many bytes to a new file and syncs it, past the cache where that can be done: what the
/// disk alone needs for a file of that size.
pub(super) fn write(task: &Value) -> Result<Value> {
    let path = Path::new(text(task, "path")?);
    let bytes = count(task, "bytes")?;
    let file = RealDisk.open(path, OpenMode::Truncate)?;
    let mut writer = match task["cached"] == true {
        true => None,
        false => RealDisk.open_uncached(path)?,
    };
    let mut buffer = AlignedBuffer::new(PIECE_BYTES);
    buffer.fill(&[b'x'; PIECE_BYTES]);
    let watch = Stopwatch::start();
    for at in (0..bytes).step_by(PIECE_BYTES) {
        let past_cache = writer.as_ref().map(|writer| writer.write_at(&buffer, at));
        match past_cache {
            Some(Ok(())) => {}
            Some(Err(error)) if error.kind() != ErrorKind::InvalidInput => return Err(error.into()),
            _ => {
                writer = None;
                file.write_at(&buffer, at)?;
            }
        }
    }
    file.sync_data()?;
    Ok(json!({ "seconds": watch.elapsed().as_secs_f64() }))
}

const PIECE_BYTES: usize = 1 << 20;
const BETWEEN_COMMITS: Duration = Duration::from_millis(5);
