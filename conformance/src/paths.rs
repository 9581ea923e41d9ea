//! Where things are, from the repository's root down.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the repository")
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    let chosen =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(chosen)
}

/// Where the harness keeps what it makes once: the virtual environment, the site.
pub fn workshop() -> PathBuf {
    target().join("conformance")
}

/// A program of the judge.
pub fn judge(script: &str) -> PathBuf {
    root().join("conformance").join("judge").join(script)
}
