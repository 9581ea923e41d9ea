//! Zodiac against its judges: the real binary, genuine Python, real sockets, real signals.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod alike;
mod backup;
mod bad_input;
mod beside_zeo;
mod blobs;
mod blobs_by_turns;
mod btrees;
mod by_turns;
mod certs;
mod committers;
mod conflicts;
mod crash;
mod differential;
mod durability;
mod genuine_zeo;
mod hostile;
mod judges;
mod killed_zeo;
mod load;
mod merging;
mod metrics;
mod our_client;
mod outage;
mod overlay;
mod pack;
mod pack_stress;
mod recover;
mod relay;
mod runzeo;
mod several_storages;
mod tls;
mod tools;
mod top;
mod tree_sets;
mod two_zopes;
mod undo;
mod up;
mod writing;
mod zconfig_texts;
mod zeo_blobs;
mod zeo_suite;
mod zeoctl;

use conformance::Site;
use conformance::http::Request;

/// Whether the long rounds are wanted: `cargo xtask conformance --full`.
fn is_full() -> bool {
    std::env::var("ZODIAC_CONFORMANCE").is_ok_and(|value| value == "full")
}

/// The seed of what is random, said so that it can be given again.
fn seed() -> u64 {
    let given = std::env::var("ZODIAC_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("ZODIAC_SEED={seed}");
    seed
}

/// A folder for many small files of which nothing has to last: in memory, where the system has such
/// a place.
fn folder_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("there is room for temporary files")
}

/// A request by the site's manager whose password is stored as SSHA.
fn by_admin(request: Request) -> Request {
    request.basic("admin", "admin-password")
}

/// A PUT of plain text by that manager.
fn put_text(target: &str, text: &str) -> Request {
    by_admin(
        Request::new("PUT", target)
            .header("content-type", "text/plain")
            .body(text),
    )
}

fn sound_site() -> Site {
    Site::sound().expect("the judge makes the site")
}
