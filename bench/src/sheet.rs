//! A sheet of timings of several sides: ratios first, then what they are made of.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::report::{commit, show};
use crate::storage::{Better, short};

/// A side that is measured; the first one is ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its name in JSON.
    pub(crate) key: &'static str,
    /// Its name for people.
    pub(crate) title: &'static str,
}

#[derive(Clone, Debug)]
struct Line {
    subject: String,
    unit: &'static str,
    better: Better,
    /// Of each column; no number where it was not measured.
    figures: Vec<f64>,
    notes: Vec<String>,
    reached: Option<bool>,
}

impl Line {
    /// How many times better ours is than each of the others.
    fn times(&self) -> impl Iterator<Item = f64> {
        let (ours, others) = self.figures.split_first().unwrap_or((&f64::NAN, &[]));
        others.iter().map(move |theirs| match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        })
    }
}

/// All lines.
#[derive(Debug)]
pub(crate) struct Sheet {
    name: &'static str,
    heading: String,
    columns: &'static [Column],
    lines: Vec<Line>,
}

impl Sheet {
    /// An empty one, to be written into files of that name. The heading says what was compared, how.
    pub(crate) fn new(
        name: &'static str,
        title: &str,
        conditions: &str,
        columns: &'static [Column],
    ) -> Self {
        let heading = format!(
            "# {title}\n\n{conditions} Commit {}, {} cores, shared by all. Load average at the start {}",
            commit(),
            std::thread::available_parallelism().map_or(0, usize::from),
            load_average(),
        );
        Self {
            name,
            heading,
            columns,
            lines: Vec::new(),
        }
    }

    /// A line with a figure for each column.
    pub(crate) fn add(
        &mut self,
        subject: &str,
        unit: &'static str,
        better: Better,
        figures: impl Into<Vec<f64>>,
    ) {
        self.lines.push(Line {
            subject: subject.to_owned(),
            unit,
            better,
            figures: figures.into(),
            notes: Vec::new(),
            reached: None,
        });
    }

    /// A remark on the last line.
    pub(crate) fn note(&mut self, text: String) {
        if let Some(line) = self.lines.last_mut() {
            line.notes.push(text);
        }
    }

    /// How many times better than the first of the others the last line has to be.
    pub(crate) fn reach_times(&mut self, times: f64) {
        let found = self.lines.last().and_then(|line| line.times().next());
        self.reach(
            found.unwrap_or_default() >= times,
            &format!("{times} times"),
        );
    }

    /// What the last line has to reach, and whether it does.
    pub(crate) fn reach(&mut self, reached: bool, wanted: &str) {
        let word = if reached { "reached" } else { "NOT REACHED" };
        self.note(format!("{word}: {wanted}"));
        if let Some(line) = self.lines.last_mut() {
            line.reached = Some(reached);
        }
    }

    /// Prints the sheet and writes it as text and JSON.
    pub(crate) fn publish(&self, directory: &Path) -> Result<()> {
        let table = self.markdown();
        fs::write(directory.join(format!("{}.md", self.name)), &table)?;
        let json = serde_json::to_string_pretty(&self.json())?;
        fs::write(directory.join(format!("{}.json", self.name)), json)?;
        show(&table);
        eprintln!("written to {}", directory.display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut table = format!(
            "{}, at the end {}.\nThe ratios say how many times better ours is, whichever way is better.\n\n\
             | subject |",
            self.heading,
            load_average(),
        );
        for column in self.columns.iter().skip(1) {
            table.push_str(&format!(" to {} |", column.title));
        }
        for column in self.columns {
            table.push_str(&format!(" {} |", column.title));
        }
        table.push_str(" unit | notes |\n");
        table.push_str(&format!("|{}\n", "---|".repeat(2 * self.columns.len() + 2)));
        for line in &self.lines {
            table.push_str(&format!("| {} |", line.subject));
            for (place, times) in line.times().enumerate() {
                let mark = if place == 0 { "**" } else { "" };
                table.push_str(&format!(" {mark}{}{mark} |", ratio(times)));
            }
            for figure in &line.figures {
                let figure = Some(*figure).filter(|figure| figure.is_finite());
                let figure = figure.map_or_else(|| "-".to_owned(), short);
                table.push_str(&format!(" {figure} |"));
            }
            let notes = line.notes.join("; ");
            table.push_str(&format!(" {} | {notes} |\n", line.unit));
        }
        table
    }

    fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let mut found = json!({
                "subject": line.subject,
                "unit": line.unit,
                "notes": line.notes,
                "reached": line.reached,
            });
            for (column, figure) in self.columns.iter().zip(&line.figures) {
                found[column.key] = json!(figure);
            }
            for (column, times) in self.columns.iter().skip(1).zip(line.times()) {
                found[format!("times_{}", column.key)] = json!(times);
            }
            found
        });
        json!({ "title": self.heading, "lines": lines.collect::<Vec<_>>() })
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
        const COLUMNS: [Column; 3] = [column("ours"), column("uvloop"), column("asyncio")];
        let mut sheet = Sheet::new("test", "Test", "None.", &COLUMNS);
        sheet.add("loads", "per s", Better::More, [300.0, 100.0, 50.0]);
        sheet.reach_times(4.0);
        sheet.add("late", "in all", Better::Less, [0.0, 8.0, f64::NAN]);
        let lines = sheet.json()["lines"].clone();
        assert_eq!(lines[0]["times_uvloop"], 3.0);
        assert_eq!(lines[0]["times_asyncio"], 6.0);
        assert_eq!(lines[0]["reached"], false);
        let table = sheet.markdown();
        assert!(table.contains(
            "| loads | **3.0 x** | 6.0 x | 300 | 100 | 50.0 | per s | NOT REACHED: 4 times |"
        ));
        assert!(table.contains("| late | **-** | - | 0.0000 | 8.0 | - |"));
    }

    const fn column(name: &'static str) -> Column {
        Column {
            key: name,
            title: name,
        }
    }
}
