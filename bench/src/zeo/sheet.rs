//! The sheet of the servers' timings: ratios first, then what they are made of.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::made::{RECORD_BYTES, Size};
use crate::report::{commit, show};
use crate::storage::{Better, short};

#[derive(Clone, Debug)]
struct Line {
    subject: String,
    unit: &'static str,
    better: Better,
    /// Ours, with uvloop, without.
    figures: [f64; 3],
    notes: Vec<String>,
    reached: Option<bool>,
}

impl Line {
    /// How many times better ours is, than the original with uvloop and without.
    fn times(&self) -> [f64; 2] {
        let [ours, uvloop, asyncio] = self.figures;
        match self.better {
            Better::More => [ours / uvloop, ours / asyncio],
            Better::Less => [uvloop / ours, asyncio / ours],
        }
    }
}

/// All lines.
#[derive(Debug)]
pub(super) struct Sheet {
    title: String,
    lines: Vec<Line>,
}

impl Sheet {
    pub(super) fn new(size: Size) -> Self {
        let title = format!(
            "Size {}: {} objects of {RECORD_BYTES} bytes, the file in the page cache. Commit {}, {} \
             cores, shared by servers and driver. All on loopback, msgpack, best of {} interleaved \
             rounds of {} s. Load average at the start {}",
            size.name,
            size.objects,
            commit(),
            std::thread::available_parallelism().map_or(0, usize::from),
            size.rounds,
            size.seconds,
            load_average(),
        );
        Self {
            title,
            lines: Vec::new(),
        }
    }

    /// A line of ours, of the original with uvloop and without.
    pub(super) fn add(
        &mut self,
        subject: &str,
        unit: &'static str,
        better: Better,
        figures: [f64; 3],
    ) {
        self.lines.push(Line {
            subject: subject.to_owned(),
            unit,
            better,
            figures,
            notes: Vec::new(),
            reached: None,
        });
    }

    /// A remark on the last line.
    pub(super) fn note(&mut self, text: String) {
        if let Some(line) = self.lines.last_mut() {
            line.notes.push(text);
        }
    }

    /// How many times better than the original with uvloop the last line has to be.
    pub(super) fn reach_times(&mut self, times: f64) {
        let found = self.lines.last().map_or(0.0, |line| line.times()[0]);
        self.reach(found >= times, &format!("{times} times"));
    }

    /// What the last line has to reach, and whether it does.
    pub(super) fn reach(&mut self, reached: bool, wanted: &str) {
        let word = if reached { "reached" } else { "NOT REACHED" };
        self.note(format!("{word}: {wanted}"));
        if let Some(line) = self.lines.last_mut() {
            line.reached = Some(reached);
        }
    }

    /// Prints the sheet and writes it as text and JSON.
    pub(super) fn publish(&self, directory: &Path) -> Result<()> {
        let table = self.markdown();
        fs::write(directory.join("zeo.md"), &table)?;
        let json = serde_json::to_string_pretty(&self.json())?;
        fs::write(directory.join("zeo.json"), json)?;
        show(&table);
        eprintln!("written to {}", directory.display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut table = format!(
            "# `zodiac zeo` beside `runzeo` of ZEO 6.2\n\n{}, at the end {}.\nThe ratios say how many times better \
             ours is, whichever way is better: than runzeo with uvloop, and without.\n\n\
             | subject | to uvloop | to asyncio | ours | uvloop | asyncio | unit | notes |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.title,
            load_average(),
        );
        for line in &self.lines {
            let [to_uvloop, to_asyncio] = line.times().map(ratio);
            let [ours, uvloop, asyncio] = line.figures.map(short);
            table.push_str(&format!(
                "| {} | **{to_uvloop}** | {to_asyncio} | {ours} | {uvloop} | {asyncio} | {} | {} |\n",
                line.subject,
                line.unit,
                line.notes.join("; "),
            ));
        }
        table
    }

    fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let [to_uvloop, to_asyncio] = line.times();
            let [ours, uvloop, asyncio] = line.figures;
            json!({
                "subject": line.subject,
                "unit": line.unit,
                "times_uvloop": to_uvloop,
                "times_asyncio": to_asyncio,
                "ours": ours,
                "uvloop": uvloop,
                "asyncio": asyncio,
                "notes": line.notes,
                "reached": line.reached,
            })
        });
        json!({ "title": self.title, "lines": lines.collect::<Vec<_>>() })
    }
}

/// How many programs wanted a processor in the last minute.
fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Counts that are 0 have no ratio.
fn ratio(times: f64) -> String {
    if times.is_finite() {
        format!("{times:.1} x")
    } else {
        "-".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratios_say_how_many_times_better_ours_is() {
        let mut sheet = Sheet {
            title: String::new(),
            lines: Vec::new(),
        };
        sheet.add("loads", "per s", Better::More, [300.0, 100.0, 50.0]);
        sheet.reach_times(4.0);
        sheet.add("late", "in all", Better::Less, [0.0, 8.0, 0.0]);
        let lines = sheet.json()["lines"].clone();
        assert_eq!(lines[0]["times_uvloop"], 3.0);
        assert_eq!(lines[0]["times_asyncio"], 6.0);
        assert_eq!(lines[0]["reached"], false);
        let table = sheet.markdown();
        assert!(table.contains(
            "| loads | **3.0 x** | 6.0 x | 300 | 100 | 50.0 | per s | NOT REACHED: 4 times |"
        ));
        assert!(table.contains("| late | **-** | - |"));
    }
}
