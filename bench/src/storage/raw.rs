//! Writes a Data.fs without a storage: far quicker than commits, and judged by both sides at once.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A Data.fs being written, transaction by transaction.
pub(crate) struct RawWriter {
    file: BufWriter<File>,
    end: u64,
    tid: u64,
    /// Where the current record of each object is; 0 where it has none.
    positions: Vec<u64>,
}

impl RawWriter {
    /// Begins a file for objects whose ids are below `oids`.
    pub(crate) fn create(path: &Path, oids: u64) -> Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(b"FS30")?;
        Ok(Self {
            file,
            end: 4,
            tid: FIRST_TID,
            positions: vec![0; usize::try_from(oids)?],
        })
    }

    /// How long the file is so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Appends a transaction with these records.
    pub(crate) fn transaction(&mut self, records: &[(u64, Vec<u8>)]) -> Result<()> {
        const USER: &[u8] = b"/ admin";
        const DESCRIPTION: &[u8] = b"/group/manage_edit";
        self.tid += TID_STEP;
        let data: usize = records.iter().map(|(_, data)| 42 + data.len()).sum();
        let length = (23 + USER.len() + DESCRIPTION.len() + data) as u64;
        let start = self.end;
        self.file.write_all(&self.tid.to_be_bytes())?;
        self.file.write_all(&length.to_be_bytes())?;
        self.file.write_all(b" ")?;
        for part in [USER, DESCRIPTION, b""] {
            let length = u16::try_from(part.len())?;
            self.file.write_all(&length.to_be_bytes())?;
        }
        self.file.write_all(USER)?;
        self.file.write_all(DESCRIPTION)?;
        let mut at = start + (23 + USER.len() + DESCRIPTION.len()) as u64;
        for (oid, data) in records {
            self.record(*oid, data, at, start)?;
            at += 42 + data.len() as u64;
        }
        ensure!(at == start + length, "the lengths agree");
        self.file.write_all(&length.to_be_bytes())?;
        self.end = at + 8;
        Ok(())
    }

    fn record(&mut self, oid: u64, data: &[u8], at: u64, transaction: u64) -> Result<()> {
        let position = self
            .positions
            .get_mut(usize::try_from(oid)?)
            .context("an object behind the last one")?;
        let previous = std::mem::replace(position, at);
        self.file.write_all(&oid.to_be_bytes())?;
        self.file.write_all(&self.tid.to_be_bytes())?;
        self.file.write_all(&previous.to_be_bytes())?;
        self.file.write_all(&transaction.to_be_bytes())?;
        self.file.write_all(&[0; 2])?;
        self.file.write_all(&(data.len() as u64).to_be_bytes())?;
        self.file.write_all(data)?;
        Ok(())
    }

    /// Ends the file; the next program finds it on the disk.
    pub(crate) fn finish(self) -> Result<()> {
        let file = self.file.into_inner()?;
        file.sync_all()?;
        Ok(())
    }
}

/// Some day in 2021.
const FIRST_TID: u64 = 0x03e0_0000_0000_0000;
/// About a second.
const TID_STEP: u64 = 1 << 26;
