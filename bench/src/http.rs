//! Pages through three tiers, against Zope with ZEO.

use std::process::Command;

use anyhow::{Context, Result, bail};
use conformance::{Cluster, Site, http};

use crate::report::{Figures, Report};
use crate::sides::{Original, Side, wrk};
use crate::{ROUNDS, SECONDS};

const PAGES: [(&str, &str); 4] = [
    ("a small DTML page", "/readme"),
    ("a folder's index, acquired", "/plain/sub/"),
    ("a file of 10 kB", "/files/ten-kilobytes.bin"),
    ("a file of 1 MB", "/files/one-megabyte.bin"),
];

const PUBLISHERS: usize = 3;

/// Connections that ask at the same time.
const CONNECTIONS: u32 = 16;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    wrk()?;
    let site = Site::sound()?;
    let zeo = Original::zeo(Site::sound()?)?;
    let zope = Original::zope(zeo.address())?;
    let cluster = Cluster::start(site.data(), PUBLISHERS)?;
    for (name, target) in PAGES {
        eprintln!("bench: {name}");
        let ours = cluster.members().iter().map(|member| member.pid).collect();
        let sides = [
            Side {
                address: cluster.balancer(),
                pids: ours,
            },
            Side {
                address: zope.address(),
                pids: vec![zope.pid(), zeo.pid()],
            },
        ];
        check_alike(&sides, target)?;
        for side in &sides {
            ask(side, target, 1)?; // caches are filled, workers are awake
        }
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (side, figures) in sides.iter().zip(&mut figures) {
                figures.push(ask(side, target, SECONDS)?);
            }
        }
        let [ours, theirs] = figures;
        report.add(name, ours, theirs);
    }
    Ok(())
}

/// Two sides that answer differently are not compared. A page may name its own address.
fn check_alike(sides: &[Side; 2], target: &str) -> Result<()> {
    let [ours, theirs] = sides.each_ref().map(|side| {
        let side = side.address;
        let answer = http::get(side, target)?;
        if answer.status != 200 {
            bail!("{target} at {side}: {}", answer.status);
        }
        Ok(answer.text().replace(&side.to_string(), "HERE"))
    });
    let (ours, theirs) = (ours?, theirs?);
    if ours != theirs {
        bail!("{target}: the answers differ:\n{ours}\n{theirs}");
    }
    Ok(())
}

fn ask(side: &Side, target: &str, seconds: u32) -> Result<Figures> {
    let before = side.cpu_us()?;
    let output = Command::new(wrk()?)
        .args([
            "-t2",
            "--latency",
            "-c",
            &CONNECTIONS.to_string(),
            "-d",
            &format!("{seconds}s"),
        ])
        .arg(format!("http://{}{target}", side.address))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "wrk failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut figures = figures(&text).with_context(|| format!("wrk said:\n{text}"))?;
    figures.cpu_us = (side.cpu_us()? - before) / (figures.per_second * f64::from(seconds));
    Ok(figures)
}

fn figures(text: &str) -> Result<Figures> {
    let field = |name: &str| {
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with(name))?;
        line[name.len()..].split_whitespace().next()
    };
    if let Some(count) = field("Non-2xx or 3xx responses:") {
        bail!("{count} answers were errors");
    }
    if text.contains("Socket errors:") {
        bail!("connections failed");
    }
    let per_second = field("Requests/sec:").context("no rate")?.parse()?;
    let p50_ms = milliseconds(field("50%").context("no p50")?)?;
    let p99_ms = milliseconds(field("99%").context("no p99")?)?;
    Ok(Figures {
        per_second,
        p50_ms,
        p99_ms,
        ..Figures::default()
    })
}

/// `812.00us`, `1.23ms`, `1.02s`.
fn milliseconds(text: &str) -> Result<f64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        unit => bail!("not a unit of time: {unit:?}"),
    };
    Ok(digits.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Running 1s test @ http://127.0.0.1:8080/
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   630.00us  500.00us   9.00ms   88.00%
  Latency Distribution
     50%  512.00us
     75%  731.00us
     90%    1.20ms
     99%    2.50ms
  25000 requests in 1.00s, 10.00MB read
Requests/sec:  24876.51
Transfer/sec:     10.00MB
";

    #[test]
    fn the_figures_of_wrk_are_read_with_their_units() {
        let expected = Figures {
            per_second: 24876.51,
            p50_ms: 0.512,
            p99_ms: 2.5,
            ..Figures::default()
        };
        assert_eq!(figures(GOOD).unwrap(), expected);
    }

    #[test]
    fn a_run_with_errors_has_no_figures() {
        figures(&format!("{GOOD}  Non-2xx or 3xx responses: 3\n")).unwrap_err();
        figures(&format!(
            "{GOOD}  Socket errors: connect 0, read 1, write 0, timeout 0\n"
        ))
        .unwrap_err();
        figures("").unwrap_err();
    }
}
