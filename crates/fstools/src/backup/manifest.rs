//! Which blobs belong to a backup: `<date>.blobs` beside its data file, in lines of text.
//!
//! ```text
//! zodiac-blobs 1 changes bushy
//! + 0x000000000000001f 0x03f0000100000000 12345 d41d8cd98f00b204e9800998ecf8427e
//! - 0x000000000000001f 0x03f0000000000000
//! end 9e107d9d372bb6826bd81d3542a419d6
//! ```
//!
//! `whole` instead of `changes` says that nothing before it counts. The words are: object,
//! transaction, length and checksum of the blob; the last line has the checksum of all others.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};

use storage::{Oid, StorageError, Tid};
use vfs::{OpenMode, SequentialReader};

use super::SMALL_DRAFT;
use super::blobs::{BlobId, Layout};
use super::catalog::{Repository, Settled};
use super::chunk::{self, Checksum};
use super::names::{self, BackupDate};
use crate::listener::ToolError;

/// What a blob's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: u64,
    pub(crate) checksum: String,
}

/// The blobs of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) blobs: BTreeMap<BlobId, Content>,
    /// How they lay; nothing before the first manifest.
    pub(crate) layout: Option<Layout>,
    /// The newest backup with a manifest.
    pub(crate) date: Option<BackupDate>,
    /// Manifests that cannot be read.
    pub(crate) wrong: Vec<(std::path::PathBuf, String)>,
    /// Whether what an earlier backup had stays.
    pub(crate) is_union: bool,
}

impl State {
    /// Applies the manifests of these backups, oldest first.
    pub(crate) fn load<'a>(
        repository: &Repository,
        dates: impl Iterator<Item = &'a BackupDate>,
    ) -> Result<Self, ToolError> {
        let mut state = Self::default();
        state.advance(repository, dates)?;
        Ok(state)
    }

    /// Everything that one of these backups had.
    pub(crate) fn union<'a>(
        repository: &Repository,
        dates: impl Iterator<Item = &'a BackupDate>,
    ) -> Result<Self, ToolError> {
        let mut state = Self {
            is_union: true,
            ..Self::default()
        };
        state.advance(repository, dates)?;
        Ok(state)
    }

    fn advance<'a>(
        &mut self,
        repository: &Repository,
        dates: impl Iterator<Item = &'a BackupDate>,
    ) -> Result<(), ToolError> {
        for date in dates {
            let path = repository.file(names::blobs(date));
            let file = match repository.disk.open(&path, OpenMode::Read) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StorageError::io(path, "open", error).into()),
            };
            let reader =
                BufReader::with_capacity(chunk::BUFFER_BYTES, SequentialReader::new(file, 0));
            match self.apply(reader) {
                Ok(()) => self.date = Some(date.clone()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.wrong.push((path, error.to_string()));
                }
                Err(error) => return Err(StorageError::io(path, "read", error).into()),
            }
        }
        Ok(())
    }

    pub(crate) fn of(repository: &Repository, settled: &Settled) -> Result<Self, ToolError> {
        Self::load(
            repository,
            settled.pieces.iter().map(|piece| &piece.file.date),
        )
    }

    fn apply(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut checksum = Checksum::default();
        let mut line = Vec::new();
        let mut is_first = true;
        loop {
            line.clear();
            let mut limited = io::Read::take(&mut reader, LINE_BYTES_MAX);
            if limited.read_until(b'\n', &mut line)? == 0 {
                return Err(senseless("it has no end"));
            }
            if line.last() != Some(&b'\n') {
                return Err(senseless("a line has no end"));
            }
            let text = std::str::from_utf8(&line).map_err(|_| senseless("it is no text"))?;
            let mut words = text.split_ascii_whitespace();
            if let Some(("end", expected)) = words.next().zip(words.next())
                && !is_first
            {
                return if checksum.finish() == expected {
                    Ok(())
                } else {
                    Err(senseless("its checksum is not that of its lines"))
                };
            }
            checksum.update(&line);
            let understood = if is_first {
                self.begin(text)
            } else {
                self.change(text)
            };
            understood.ok_or_else(|| senseless(format!("a line makes no sense: {text:?}")))?;
            is_first = false;
        }
    }

    fn begin(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let ["zodiac-blobs", "1", kind, layout] = words[..] else {
            return None;
        };
        match kind {
            "whole" if self.is_union => {}
            "whole" => {
                self.blobs.clear();
                self.wrong.clear();
            }
            "changes" => {}
            _ => return None,
        }
        self.layout = Some(Layout::parse(layout)?);
        Some(())
    }

    fn change(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_ascii_whitespace();
        let sign = words.next()?;
        let mut id = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let (oid, tid) = (Oid::new(id()?), Tid::new(id()?));
        let blob = BlobId { oid, tid };
        match sign {
            "+" => {
                let bytes = words.next()?.parse().ok()?;
                let checksum = words.next().filter(|word| word.len() == 32)?.to_owned();
                self.blobs.insert(blob, Content { bytes, checksum });
            }
            "-" if self.is_union => {}
            "-" => {
                self.blobs.remove(&blob)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Writes what has to be done to `self` to get `next`; everything where `self` is not sound.
    pub(crate) fn write_changes(
        &self,
        next: &Self,
        layout: Layout,
        repository: &Repository,
        date: &BackupDate,
    ) -> Result<(), ToolError> {
        let is_whole = self.date.is_none() || !self.wrong.is_empty();
        let path = repository.file(names::blobs(date));
        let draft = repository.file(SMALL_DRAFT);
        let disk = &*repository.disk;
        let write = || -> io::Result<()> {
            let mut out = Sealed::new(chunk::Writer::create(disk, &draft, false)?);
            let kind = if is_whole { "whole" } else { "changes" };
            writeln!(out, "zodiac-blobs 1 {kind} {}", layout.name())?;
            for (blob, content) in &next.blobs {
                if !is_whole && self.blobs.get(blob) == Some(content) {
                    continue;
                }
                let Content { bytes, checksum } = content;
                writeln!(out, "+ {} {bytes} {checksum}", Ids(*blob))?;
            }
            for blob in self.blobs.keys().filter(|_| !is_whole) {
                if !next.blobs.contains_key(blob) {
                    writeln!(out, "- {}", Ids(*blob))?;
                }
            }
            out.finish()?;
            disk.rename(&draft, &path)
        };
        Ok(write().map_err(|error| StorageError::io(path.as_path(), "write", error))?)
    }
}

struct Ids(BlobId);

impl std::fmt::Display for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BlobId { oid, tid } = self.0;
        write!(f, "{:#018x} {:#018x}", oid.number(), tid.number())
    }
}

/// Lines that end with their checksum.
struct Sealed {
    out: chunk::Writer,
    checksum: Checksum,
    buffer: Vec<u8>,
}

impl Sealed {
    fn new(out: chunk::Writer) -> Self {
        Self {
            out,
            checksum: Checksum::default(),
            buffer: Vec::with_capacity(chunk::BUFFER_BYTES),
        }
    }

    fn finish(mut self) -> io::Result<()> {
        let end = format!("end {}\n", self.checksum.clone().finish());
        self.buffer.extend(end.as_bytes());
        self.flush()?;
        self.out.finish()
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.checksum.update(bytes);
        self.buffer.extend(bytes);
        if self.buffer.len() >= chunk::BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn senseless(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Longer than any line, so that a file of something else asks for no memory.
const LINE_BYTES_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sim::SimDisk;

    use super::*;

    fn state(entries: &[(u64, u64, u64)]) -> State {
        let content = |bytes: u64| Content {
            bytes,
            checksum: format!("{bytes:032x}"),
        };
        let id = |oid, tid| BlobId {
            oid: Oid::new(oid),
            tid: Tid::new(tid),
        };
        State {
            blobs: entries
                .iter()
                .map(|(oid, tid, bytes)| (id(*oid, *tid), content(*bytes)))
                .collect(),
            ..State::default()
        }
    }

    fn date(hour: u32) -> BackupDate {
        BackupDate::parse(&format!("2026-01-31-{hour:02}-00-00")).unwrap()
    }

    #[test]
    fn changes_add_up_to_each_state() {
        let disk = Arc::new(SimDisk::new());
        let repository = repository(&disk);
        let states = [
            state(&[(1, 10, 5), (2, 10, 6)]),
            state(&[(1, 10, 5), (1, 11, 7), (2, 10, 6)]),
            state(&[(1, 11, 7)]),
        ];
        let dates = [date(1), date(2), date(3)];
        for (at, next) in states.iter().enumerate() {
            let before = State::load(&repository, dates[..at].iter()).unwrap();
            let layout = Layout::Lawn;
            before
                .write_changes(next, layout, &repository, &dates[at])
                .unwrap();
            let after = State::load(&repository, dates.iter()).unwrap();
            assert_eq!(after.blobs, next.blobs);
            assert_eq!(
                (after.layout, after.date),
                (Some(layout), Some(dates[at].clone()))
            );
        }
        let last = disk
            .contents(&repository.file(names::blobs(&dates[2])))
            .unwrap();
        let removed = String::from_utf8(last).unwrap();
        assert_eq!(
            removed.lines().filter(|line| line.starts_with('-')).count(),
            2
        );
    }

    #[test]
    fn a_broken_manifest_is_told_and_the_next_one_is_whole() {
        let disk = Arc::new(SimDisk::new());
        let repository = repository(&disk);
        let next = state(&[(1, 10, 5)]);
        let write = |hour| {
            let before = State::load(&repository, [date(1)].iter()).unwrap();
            before
                .write_changes(&next, Layout::Bushy, &repository, &date(hour))
                .unwrap();
        };
        write(1);
        let path = repository.file(names::blobs(&date(1)));
        let sound = disk.contents(&path).unwrap();
        for at in 0..sound.len() {
            let mut broken = sound.clone();
            broken[at] ^= 1;
            disk.put(&path, &broken);
            let state = State::load(&repository, [date(1)].iter()).unwrap();
            assert_eq!(state.wrong.len(), 1, "byte {at}");
            disk.put(&path, &sound[..at]);
            let state = State::load(&repository, [date(1)].iter()).unwrap();
            assert_eq!(state.wrong.len(), 1, "cut at {at}");
        }
        write(2);
        let state = State::load(&repository, [date(1), date(2)].iter()).unwrap();
        assert_eq!((state.blobs, state.wrong), (next.blobs.clone(), Vec::new()));
    }

    fn repository(disk: &Arc<SimDisk>) -> Repository {
        vfs::Disk::create_directory(&**disk, std::path::Path::new("/r")).unwrap();
        Repository::open("/r", disk.clone()).unwrap()
    }
}
