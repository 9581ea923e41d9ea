//! The file of many small objects, made once for each size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::choice::Scale;
use crate::storage::RawWriter;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// What people call it.
    pub(super) name: &'static str,
    pub(super) objects: u64,
    /// How long a rate is measured, in seconds.
    pub(super) seconds: f64,
    /// How often each side is measured; the best round counts.
    pub(super) rounds: usize,
}

impl Scale for Size {
    const ALL: [Self; 3] = [
        Self {
            name: "full",
            objects: 1_000_000,
            seconds: 2.0,
            rounds: 3,
        },
        Self {
            name: "small",
            objects: 100_000,
            seconds: 0.7,
            rounds: 2,
        },
        Self {
            name: "tiny",
            objects: 1_000,
            seconds: 0.1,
            rounds: 1,
        },
    ];

    fn name(self) -> &'static str {
        self.name
    }
}

/// Raised when another file is made, so that an old one is not taken for it.
const VERSION: u32 = 1;

/// How long its records are: an object of a few attributes.
pub(super) const RECORD_BYTES: usize = 400;

/// The file of that size in `directory`, from an earlier run where there was one.
pub(super) fn make(size: Size, directory: &Path) -> Result<PathBuf> {
    let directory = directory.join(format!("zeo-{}-{VERSION}", size.name));
    let path = directory.join("Data.fs");
    if !path.exists() {
        eprintln!("bench: making {}", path.display());
        fs::create_dir_all(&directory)?;
        let unfinished = directory.join("unfinished");
        let mut file = RawWriter::create(&unfinished, size.objects)?;
        let oids: Vec<u64> = (0..size.objects).collect();
        for oids in oids.chunks(100) {
            let records = oids.iter().map(|oid| (*oid, record(RECORD_BYTES)));
            file.transaction(&records.collect::<Vec<_>>())?;
        }
        file.finish()?;
        fs::rename(unfinished, &path)?;
    }
    Ok(path)
}

/// A record that Python can read: `(persistent.mapping.PersistentMapping, None)`, then its state.
pub(super) fn record(length: usize) -> Vec<u8> {
    let mut bytes = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03".to_vec();
    bytes.extend(b"}X\x04\x00\x00\x00data}X\x01\x00\x00\x00xX");
    let text = length.saturating_sub(bytes.len() + 7);
    bytes.extend(u32::try_from(text).unwrap_or(0).to_le_bytes());
    bytes.extend(std::iter::repeat_n(b'x', text));
    bytes.extend(b"ss.");
    bytes
}
