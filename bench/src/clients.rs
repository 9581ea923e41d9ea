//! Loads per second of a storage server, asked by genuine ZEO's client, and by ours, which leaves
//! more of the processors to the servers.

use std::time::Duration;

use anyhow::{Context, Result};
use conformance::{Process, Site, Stopwatch, judge};
use serde_json::{Value, json};
use storage::{Oid, Storage, Tid};
use zeo_net::{ClientOptions, ZeoStorage};

use crate::report::{Figures, Report};
use crate::sides::{Original, Side};
use crate::{ROUNDS, SECONDS};

/// How many client processes ask at the same time.
const CLIENTS: [usize; 2] = [1, 4];

/// How many of our clients do, each from this many threads.
const NATIVE_CLIENTS: usize = 4;
const THREADS: usize = 4;

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
        report.add(&format!("loads, {clients} Python client(s)"), ours, theirs);
    }
    eprintln!("bench: loads by {NATIVE_CLIENTS} native clients");
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (side, figures) in sides.iter().zip(&mut figures) {
            figures.push(ask_natively(side, &oids)?);
        }
    }
    let [ours_natively, theirs_natively] = figures;
    report.add(
        &format!("loads, {NATIVE_CLIENTS} native clients"),
        ours_natively,
        theirs_natively,
    );
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

/// The same loads by our own client without its cache, several calls under way on each connection.
fn ask_natively(side: &Side, oids: &[u32]) -> Result<Figures> {
    let options = ClientOptions {
        servers: vec![side.address.to_string()],
        cache_bytes: 0,
        ..ClientOptions::default()
    };
    let clients = (0..NATIVE_CLIENTS)
        .map(|_| ZeoStorage::connect(options.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let before = side.cpu_us()?;
    let end = Duration::from_secs(SECONDS.into());
    let watch = Stopwatch::start();
    let mut waits = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .flat_map(|client| (0..THREADS).map(move |part| (client, part)))
            .map(|(client, part)| {
                scope.spawn(move || {
                    let mut waits = Vec::new();
                    let mut oids = oids.iter().cycle().skip(part * oids.len() / THREADS);
                    while watch.elapsed() < end {
                        let oid = Oid::new(u64::from(*oids.next().context("no objects")?));
                        let one = Stopwatch::start();
                        client.load_before(oid, Tid::MAX)?;
                        waits.push(one.elapsed());
                    }
                    anyhow::Ok(waits)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("no thread panics")?);
        }
        anyhow::Ok(all)
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    let cpu_us = side.cpu_us()? - before;
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    #[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let loads = waits.len() as f64;
    Ok(Figures {
        cpu_us: cpu_us / loads,
        per_second: loads / seconds,
        p50_ms: at(50),
        p99_ms: at(99),
    })
}
