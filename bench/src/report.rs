//! What was measured, as a table and as JSON.

use std::fs;
use std::process::Command;

use anyhow::Result;
use conformance::paths;
use serde_json::{Value, json};

use crate::{ROUNDS, SECONDS};

/// One measurement: how many a second, how long one took, and how much of the processors all the
/// servers of that side took for one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_us: f64,
}

impl Figures {
    fn cells(&self) -> String {
        format!(
            "{:.0} | {:.2} | {:.2} | {:.0}",
            self.per_second, self.p50_ms, self.p99_ms, self.cpu_us
        )
    }
}

/// Both sides' rounds of one subject.
#[derive(Clone, Debug)]
struct Row {
    subject: String,
    ours: Vec<Figures>,
    theirs: Vec<Figures>,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn add(&mut self, subject: &str, ours: Vec<Figures>, theirs: Vec<Figures>) {
        self.rows.push(Row {
            subject: subject.to_owned(),
            ours,
            theirs,
        });
    }

    /// Prints the table and writes it to `target/bench/`.
    pub(crate) fn publish(&self) -> Result<()> {
        let directory = paths::target().join("bench");
        fs::create_dir_all(&directory)?;
        let table = self.markdown();
        fs::write(directory.join("report.md"), &table)?;
        fs::write(
            directory.join("report.json"),
            serde_json::to_string_pretty(&self.json())?,
        )?;
        show(&table);
        eprintln!("written to {}", directory.display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut table = format!(
            "# Zodiac beside Zope 6.3 and ZEO 6.2\n\nCommit {}, {} cores, all on loopback, {ROUNDS} \
             interleaved rounds of {SECONDS} s, medians. Zope: one process, waitress with 4 threads, \
             before `runzeo`. Zodiac: balancer, 3 publishers, storage server.\nSpeed is ours over \
             theirs per second (more is better for us); p99 and CPU are ours over theirs (less is better).\nThe \
             clients share the cores: where they are the bottleneck, CPU tells more than speed.\n\n",
            commit(),
            std::thread::available_parallelism().map_or(0, usize::from),
        );
        table.push_str("| subject | speed | p99 | CPU | ours: per s | p50 ms | p99 ms | CPU us ");
        table.push_str("| theirs: per s | p50 ms | p99 ms | CPU us |\n");
        table.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let (ours, theirs) = (median(&row.ours), median(&row.theirs));
            table.push_str(&format!(
                "| {} | **{:.1} x** | {:.2} x | {:.2} x | {} | {} |\n",
                row.subject,
                ours.per_second / theirs.per_second,
                ours.p99_ms / theirs.p99_ms,
                ours.cpu_us / theirs.cpu_us,
                ours.cells(),
                theirs.cells(),
            ));
        }
        table
    }

    fn json(&self) -> Value {
        let figures = |all: &[Figures]| -> Vec<Value> {
            all.iter()
                .map(|one| {
                    json!({
                        "per_second": one.per_second,
                        "p50_ms": one.p50_ms,
                        "p99_ms": one.p99_ms,
                        "cpu_us": one.cpu_us,
                    })
                })
                .collect()
        };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "subject": row.subject,
                    "speed_ratio":
                        median(&row.ours).per_second / median(&row.theirs).per_second,
                    "p99_ratio": median(&row.ours).p99_ms / median(&row.theirs).p99_ms,
                    "ours": figures(&row.ours),
                    "theirs": figures(&row.theirs),
                })
            })
            .collect();
        json!({ "commit": commit(), "rounds": ROUNDS, "seconds": SECONDS, "rows": rows })
    }
}

#[allow(
    clippy::print_stdout,
    reason = "the table is the result of the program"
)]
pub(crate) fn show(table: &str) {
    println!("{table}");
}

/// The median of each figure by itself.
fn median(rounds: &[Figures]) -> Figures {
    let middle = |of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        per_second: middle(|one| one.per_second),
        p50_ms: middle(|one| one.p50_ms),
        p99_ms: middle(|one| one.p99_ms),
        cpu_us: middle(|one| one.cpu_us),
    }
}

pub(crate) fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(paths::root())
        .output();
    git.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64, p99_ms: f64) -> Figures {
        Figures {
            per_second,
            p50_ms: 1.0,
            p99_ms,
            cpu_us: 10.0,
        }
    }

    #[test]
    fn ratios_are_those_of_the_medians() {
        let mut report = Report::default();
        let ours = vec![figures(100.0, 2.0), figures(1.0, 90.0), figures(90.0, 3.0)];
        let theirs = vec![figures(9.0, 6.0), figures(800.0, 6.0), figures(8.0, 6.0)];
        report.add("a page", ours, theirs);
        let row = report.json()["rows"][0].clone();
        assert_eq!(row["speed_ratio"], 10.0);
        assert_eq!(row["p99_ratio"], 0.5);
        assert!(
            report
                .markdown()
                .contains("| a page | **10.0 x** | 0.50 x | 1.00 x | 90 |")
        );
    }
}
