//! Loads per second of a storage server, asked by genuine ZEO's client.

use anyhow::{Context, Result};
use conformance::{Process, Site, judge};
use serde_json::{Value, json};

use crate::report::{Figures, Report};
use crate::sides::{Original, Side};
use crate::{ROUNDS, SECONDS};

/// How many client processes ask at the same time.
const CLIENTS: [usize; 2] = [1, 4];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let site = Site::sound()?;
    let theirs = Original::zeo(Site::sound()?)?;
    let data = site.data().to_str().context("the path is text")?;
    let ours = Process::start(
        site.directory(),
        &["zeo", "--data", data, "--listen", "127.0.0.1:0"],
    )?;
    let sides = [
        Side {
            address: ours.listening()?,
            pids: vec![ours.pid()],
        },
        Side {
            address: theirs.address(),
            pids: vec![theirs.pid()],
        },
    ];
    let oids = small_objects();
    for clients in CLIENTS {
        eprintln!("bench: loads by {clients} client(s)");
        let mut figures = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (side, figures) in sides.iter().zip(&mut figures) {
                figures.push(ask(side, clients, &oids, round)?);
            }
        }
        let [ours, theirs] = figures;
        report.add(&format!("loads, {clients} client(s)"), ours, theirs);
    }
    ours.stop()?;
    Ok(())
}

/// The first objects of the site are its folders, pages and users: records of a common size.
fn small_objects() -> Vec<u32> {
    (0..40).collect()
}

fn ask(side: &Side, clients: usize, oids: &[u32], seed: usize) -> Result<Figures> {
    let before = side.cpu_us()?;
    let found = judge::run(
        "loads.py",
        &json!({
            "server": side.address.to_string(),
            "processes": clients,
            "seconds": SECONDS,
            "oids": oids,
            "seed": seed,
        }),
    )?;
    let field = |value: &Value| {
        value
            .as_f64()
            .with_context(|| format!("not a figure: {found}"))
    };
    let loads = field(&found["loads"])?;
    Ok(Figures {
        cpu_us: (side.cpu_us()? - before) / loads,
        per_second: field(&found["per_second"])?,
        p50_ms: field(&found["p50_ms"])?,
        p99_ms: field(&found["p99_ms"])?,
    })
}
