//! Zodiac against its judges: the real binary, genuine Python, real sockets, real signals.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod alike;
mod backup;
mod bad_input;
mod beside_zeo;
mod blobs;
mod conflicts;
mod crash;
mod differential;
mod durability;
mod genuine_zeo;
mod judges;
mod load;
mod merging;
mod outage;
mod pack;
mod pack_stress;
mod recover;
mod relay;
mod runzeo;
mod tools;
mod undo;
mod up;
mod writing;
mod zconfig_texts;
mod zeo_blobs;

use conformance::Site;
use conformance::http::Request;

/// Whether the long rounds are wanted: `cargo xtask conformance --full`.
fn is_full() -> bool {
    std::env::var("ZODIAC_CONFORMANCE").is_ok_and(|value| value == "full")
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
