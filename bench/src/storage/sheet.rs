//! The sheet of the storage's timings: ratios first, then what they are made of.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::made::Made;
use crate::report::{commit, show};

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

#[derive(Clone, Debug)]
struct Line {
    subject: String,
    unit: &'static str,
    better: Better,
    ours: f64,
    theirs: f64,
    notes: Vec<String>,
    reached: Option<bool>,
}

impl Line {
    /// How many times better ours is.
    fn times(&self) -> f64 {
        match self.better {
            Better::More => self.ours / self.theirs,
            Better::Less => self.theirs / self.ours,
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
    pub(super) fn new(size: &str, made: &Made) -> Self {
        let title = format!(
            "Size {size}: {} objects, {} MB. Commit {}, {} cores. The file is in the page cache.",
            made.objects,
            made.bytes / 1_000_000,
            commit(),
            std::thread::available_parallelism().map_or(0, usize::from),
        );
        Self {
            title,
            lines: Vec::new(),
        }
    }

    /// A line of ours and theirs.
    pub(super) fn add(
        &mut self,
        subject: &str,
        unit: &'static str,
        better: Better,
        [ours, theirs]: [f64; 2],
    ) {
        self.lines.push(Line {
            subject: subject.to_owned(),
            unit,
            better,
            ours,
            theirs,
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
        fs::write(directory.join("storage.md"), &table)?;
        let json = serde_json::to_string_pretty(&self.json())?;
        fs::write(directory.join("storage.json"), json)?;
        show(&table);
        eprintln!("written to {}", directory.display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut table = format!(
            "# Zodiac's Data.fs engine beside FileStorage of ZODB 6.4\n\n{}\nThe ratio says how \
             many times better ours is, whichever way is better.\n\n\
             | subject | ratio | ours | theirs | unit | notes |\n|---|---|---|---|---|---|\n",
            self.title
        );
        for line in &self.lines {
            table.push_str(&format!(
                "| {} | **{:.1} x** | {} | {} | {} | {} |\n",
                line.subject,
                line.times(),
                short(line.ours),
                short(line.theirs),
                line.unit,
                line.notes.join("; "),
            ));
        }
        table
    }

    fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            json!({
                "subject": line.subject,
                "unit": line.unit,
                "times": line.times(),
                "ours": line.ours,
                "theirs": line.theirs,
                "notes": line.notes,
                "reached": line.reached,
            })
        });
        json!({ "title": self.title, "lines": lines.collect::<Vec<_>>() })
    }
}

/// Three digits that tell something.
pub(crate) fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 1.0 => format!("{figure:.1}"),
        figure => format!("{figure:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_says_how_many_times_better_ours_is() {
        let mut sheet = Sheet {
            title: String::new(),
            lines: Vec::new(),
        };
        sheet.add("loads", "per s", Better::More, [300.0, 100.0]);
        sheet.add("pack", "s", Better::Less, [2.0, 50.0]);
        sheet.reach(true, "10 times");
        let lines = sheet.json()["lines"].clone();
        assert_eq!(lines[0]["times"], 3.0);
        assert_eq!(lines[1]["times"], 25.0);
        assert_eq!(lines[1]["reached"], true);
        let table = sheet.markdown();
        assert!(table.contains("| pack | **25.0 x** | 2.0 | 50.0 | s | reached: 10 times |"));
    }
}
