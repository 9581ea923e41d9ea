//! What a configuration may ask of the machine: files to include, variables, and whether paths exist.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Answers for the machine that a configuration is read on.
pub trait World {
    /// The content of a file, or its first `bytes_max` bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// The environment's variable of that name.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// Whether there is anything at that path.
    fn exists(&self, path: &Path) -> bool;

    /// Whether there is a directory at that path.
    fn is_dir(&self, path: &Path) -> bool;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl World for Machine {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }
}
