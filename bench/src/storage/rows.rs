//! What is measured, one function for each group of rows.

use std::path::Path;
use std::{fs, io};

use anyhow::Result;
use serde_json::{Value, json};

use super::sheet::{Better, Sheet};
use super::{Place, Side, alternate, figure, medians, path_value};
use crate::ROUNDS;

/// What `--only` may name.
pub(super) const NAMES: [&str; 7] = [
    "open", "loads", "commits", "verify", "refs", "backup", "pack",
];

type Row = fn(&Place<'_>, &mut Sheet) -> Result<()>;

/// In the order of [`NAMES`].
pub(super) const ROWS: [Row; 7] = [open, loads, commits, verify, refs, backup, pack];

const MEBIBYTE: f64 = 1_048_576.0;

fn open(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    let path = path_value(&place.made.path)?;
    let objects = place.made.objects;
    let task = |index: bool| {
        let path = path.clone();
        move |_| {
            if !index {
                read_once(&place.made.path)?;
            }
            Ok(json!({ "task": "open", "path": path, "index": index, "objects": objects }))
        }
    };
    let without = alternate(1, task(false))?;
    let seconds = medians(&without, "seconds")?;
    sheet.add("open without index", "s", Better::Less, seconds);
    let with = alternate(ROUNDS, task(true))?;
    let seconds = medians(&with, "seconds")?;
    sheet.add("open after a clean close", "s", Better::Less, seconds);
    sheet.reach(seconds[0] < 1.0, "under 1 s");
    let seconds = medians(&with, "close_seconds")?;
    sheet.add("clean close, nothing changed", "s", Better::Less, seconds);
    #[allow(clippy::cast_precision_loss, reason = "a count of objects")]
    let bytes = medians(&with, "anonymous_bytes")?.map(|bytes| bytes / objects as f64);
    sheet.add("memory an object", "bytes", Better::Less, bytes);
    sheet.reach(bytes[0] <= 8.0, "at most 8 bytes");
    Ok(())
}

fn loads(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    let path = path_value(&place.made.path)?;
    for threads in [1, 2, 4] {
        let found = alternate(ROUNDS, |_| {
            Ok(json!({
                "task": "loads",
                "path": path,
                "objects": place.made.objects,
                "threads": threads,
                "seconds": place.seconds,
            }))
        })?;
        let subject = format!("warm loads, {threads} thread(s)");
        let per_second = medians(&found, "per_second")?;
        sheet.add(&subject, "per s", Better::More, per_second);
    }
    Ok(())
}

fn commits(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    let directory = path_value(place.scratch)?;
    let mut single = 0.0;
    for writers in [1, 8, 64] {
        let mut syncs = Vec::new();
        let found = alternate(ROUNDS, |side| {
            for name in ["commits-ours.fs", "commits-theirs.fs"] {
                remove_with_sidecars(place, name)?;
            }
            let of = |task| json!({ "task": task, "directory": directory, "writers": writers, "seconds": place.seconds });
            if side == Side::Ours {
                let found = Side::Ours.perform(&of("syncs"))?;
                syncs.push(figure(&found, "per_second")?);
            }
            Ok(of("commits"))
        })?;
        let subject = format!("commits of 1 KB, {writers} writer(s)");
        let per_second = medians(&found, "per_second")?;
        sheet.add(&subject, "per s", Better::More, per_second);
        syncs.sort_by(f64::total_cmp);
        let syncs = syncs[syncs.len() / 2];
        sheet.note(format!("the disk syncs {syncs:.0} times a second"));
        match writers {
            1 => single = per_second[0],
            64 => {
                let times = per_second[0] / single;
                sheet.reach(
                    times >= 8.0,
                    &format!("8 times one writer ({times:.1} times)"),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_with_sidecars(place: &Place<'_>, name: &str) -> Result<()> {
    for entry in fs::read_dir(place.scratch)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn verify(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    tool(place, sheet, "verify", "verify (fstest)")
}

fn refs(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    let times = tool_ratio(place, sheet, "refs", "refs (fsrefs)")?;
    sheet.reach(times >= 20.0, "20 times");
    Ok(())
}

fn tool(place: &Place<'_>, sheet: &mut Sheet, task: &str, subject: &str) -> Result<()> {
    tool_ratio(place, sheet, task, subject).map(|_| ())
}

/// A tool that reads the whole file; how many times quicker ours is.
fn tool_ratio(place: &Place<'_>, sheet: &mut Sheet, task: &str, subject: &str) -> Result<f64> {
    let path = path_value(&place.made.path)?;
    let found = alternate(1, |side| {
        let directory = place.scratch.join(format!("{task}-{}", side.name()));
        fs::create_dir_all(&directory)?;
        read_once(&place.made.path)?;
        Ok(json!({ "task": task, "path": path, "directory": path_value(&directory)? }))
    })?;
    let seconds = medians(&found, "seconds")?;
    #[allow(clippy::cast_precision_loss, reason = "the size of a file")]
    let rates = seconds.map(|seconds| place.made.bytes as f64 / MEBIBYTE / seconds);
    let peaks = medians(&found, "peak_bytes")?.map(|bytes| bytes / MEBIBYTE);
    let subject_memory = format!("{subject}, peak memory");
    sheet.add(&subject_memory, "MiB", Better::Less, peaks);
    computed(sheet, subject, &found)?;
    sheet.add(subject, "MiB/s", Better::More, rates);
    Ok(rates[0] / rates[1])
}

/// Puts the file into the page cache, so that neither side waits for the disk in the place of the
/// other.
fn read_once(path: &Path) -> Result<()> {
    io::copy(&mut fs::File::open(path)?, &mut io::sink())?;
    Ok(())
}

/// What processors did for it: others who use the machine disturb that less than the time on the
/// clock.
fn computed(sheet: &mut Sheet, subject: &str, found: &[Vec<Value>; 2]) -> Result<()> {
    let seconds = medians(found, "processor_seconds")?;
    let subject = format!("{subject}, processor time");
    sheet.add(&subject, "s", Better::Less, seconds);
    Ok(())
}

fn backup(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    tool(place, sheet, "backup", "full backup (repozo)")
}

/// Each side packs a copy of the file, as a pack changes it.
fn pack(place: &Place<'_>, sheet: &mut Sheet) -> Result<()> {
    let path = place.scratch.join("pack.fs");
    let found = alternate(1, |_| {
        remove_with_sidecars(place, "pack.fs")?;
        fs::copy(&place.made.path, &path)?;
        Ok(json!({ "task": "pack", "path": path_value(&path)? }))
    })?;
    remove_with_sidecars(place, "pack.fs")?;
    computed(sheet, "pack", &found)?;
    let seconds = medians(&found, "seconds")?;
    sheet.add("pack with garbage collection", "s", Better::Less, seconds);
    let bytes_after = &found[0][0]["bytes_after"];
    let [past, through] = [false, true].map(|cached| disk_alone(place, bytes_after, cached));
    sheet.note(format!(
        "the disk alone writes what is left in {:.1} s past the cache, in {:.1} s through it",
        past?, through?
    ));
    sheet.reach(seconds[1] >= 10.0 * seconds[0], "10 times");
    let peaks = medians(&found, "peak_bytes")?.map(|bytes| bytes / MEBIBYTE);
    sheet.add("pack, peak memory", "MiB", Better::Less, peaks);
    sheet.reach(4.0 * peaks[0] <= peaks[1], "a quarter");
    let extra = medians(&found, "extra_bytes")?.map(|bytes| bytes / MEBIBYTE);
    sheet.note(format!(
        "{:.1} and {:.1} MiB of that since the pack began",
        extra[0], extra[1]
    ));
    let longest = medians(&found, "longest_ms")?;
    let commits = medians(&found, "commits")?;
    sheet.add("pack, longest commit", "ms", Better::Less, longest);
    sheet.note(format!(
        "of {:.0} and {:.0} commits",
        commits[0], commits[1]
    ));
    sheet.reach(longest[0] < 50.0, "under 50 ms");
    let after = medians(&found, "bytes_after")?.map(|bytes| bytes / MEBIBYTE);
    sheet.add(
        "pack, size of the file after it",
        "MiB",
        Better::Less,
        after,
    );
    Ok(())
}

/// How long a file of that size takes to be written and synced.
fn disk_alone(place: &Place<'_>, bytes: &Value, cached: bool) -> Result<f64> {
    let path = place.scratch.join("written");
    let task = json!({
        "task": "write", "path": path_value(&path)?, "bytes": bytes, "cached": cached,
    });
    let found = Side::Ours.perform(&task)?;
    fs::remove_file(path)?;
    figure(&found, "seconds")
}
