//! The bytes of revisions on disk, and the journal of what is known of them.
//!
//! Bytes lie in segments, files that are only ever appended to: `crc u32 | length u32 | oid | tid | bytes`.
//! When there is too much, the oldest segment goes. Nothing is ever synced: bytes that a crash has torn fail
//! their checksum and are missing, and of the journal the sound beginning counts. So whatever happens costs
//! misses, and never makes an old state look current.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use storage::{Oid, Record, StorageError, Tid};
use vfs::{Disk, DiskLock, File, LockError, OpenMode};

use super::journal::{self, Event, Writer};

/// Where a cache on disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCacheOptions {
    /// The directory, which the cache has for itself.
    pub directory: PathBuf,
    /// How much the segments hold, about.
    pub bytes_max: u64,
    /// Which storage of which servers it is for: what another one left is dropped.
    pub identity: String,
}

/// Where the bytes of a revision are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// With the header.
    pub(super) length: u64,
}

pub(super) struct DiskTier {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    identity: String,
    bytes_max: u64,
    segment_bytes: u64,
    segments: RwLock<BTreeMap<u64, Segment>>,
    state: Mutex<State>,
    _lock: Box<dyn DiskLock>,
}

struct Segment {
    file: Arc<dyn File>,
    bytes: u64,
}

struct State {
    /// The segment that is written to.
    current: u64,
    /// How much of it is written, and what is not yet.
    written: u64,
    unwritten: Vec<u8>,
    journal: Arc<dyn File>,
    journal_number: u64,
    journal_bytes: u64,
    writer: Writer,
    /// Events that are not written yet.
    events: Vec<u8>,
    /// How long the journal may get.
    journal_max: u64,
    /// Something could not be written: nothing more is, so that the journal has no gap.
    is_broken: bool,
}

impl State {
    /// A new segment, and a journal that is yet to be written.
    fn new(current: u64, journal: Arc<dyn File>, journal_number: u64) -> Self {
        Self {
            current,
            written: 0,
            unwritten: Vec::new(),
            journal,
            journal_number,
            journal_bytes: 0,
            writer: Writer::begin("", &mut Vec::new()),
            events: Vec::new(),
            journal_max: JOURNAL_BYTES_MIN,
            is_broken: false,
        }
    }
}

const HEADER_BYTES: usize = 24;
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENTS: u64 = 16;
const BUFFER_BYTES: usize = 256 << 10;
const EVENTS_BYTES: usize = 64 << 10;
/// A journal is written anew when it is so many times as long as it was...
const JOURNAL_GROWTH: u64 = 4;
/// ... and longer than this.
const JOURNAL_BYTES_MIN: u64 = 4 << 20;
/// A longer journal is not read: it is none of ours.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;
const LOCK: &str = "lock";
const SEGMENT: &str = "segment-";
const JOURNAL: &str = "journal-";
const DRAFT: &str = "draft";

impl DiskTier {
    /// Opens what is there, and tells what was known of it.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        options: &DiskCacheOptions,
    ) -> Result<(Self, Vec<Event>), StorageError> {
        let root = options.directory.clone();
        let failed = |operation| {
            let root = root.clone();
            move |error| StorageError::io(root, operation, error)
        };
        disk.create_directory(&root).map_err(failed("make"))?;
        let lock_path = root.join(LOCK);
        let lock = disk.lock(&lock_path).map_err(|error| match error {
            LockError::Held { pid } => StorageError::Locked {
                path: lock_path,
                pid,
            },
            LockError::Io(error) => StorageError::io(lock_path, "lock", error),
        })?;
        let names = disk.list_directory(&root).map_err(failed("list"))?;
        let numbers = |kind: &str| {
            let names = names.iter().filter_map(|entry| entry.name.to_str());
            let mut numbers: Vec<_> = names.filter_map(|name| number(name, kind)).collect();
            numbers.sort_unstable();
            numbers
        };
        let (journals, old) = (numbers(JOURNAL), numbers(SEGMENT));
        let mut events = journals
            .iter()
            .rev()
            .map(|number| read_journal(&*disk, &path(&root, JOURNAL, *number), &options.identity));
        let events = events.find_map(|events| events).unwrap_or_default();
        let mut segments = open_segments(&*disk, &root, &old);
        let current = old.last().map_or(1, |last| last + 1);
        let journal_number = journals.last().map_or(1, |last| last + 1);
        let segment = path(&root, SEGMENT, current);
        let file = disk.open(&segment, OpenMode::Truncate);
        let file = file.map_err(failed("write in"))?;
        segments.insert(current, Segment { file, bytes: 0 });
        let draft = root.join(DRAFT);
        let journal = disk.open(&draft, OpenMode::Truncate);
        let journal = journal.map_err(failed("write in"))?;
        let segment_bytes = options.bytes_max / SEGMENTS;
        let tier = Self {
            root,
            disk,
            identity: options.identity.clone(),
            bytes_max: options.bytes_max,
            segment_bytes: segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            segments: RwLock::new(segments),
            state: Mutex::new(State::new(current, journal, journal_number)),
            _lock: lock,
        };
        tier.shrink();
        Ok((tier, events))
    }

    /// Whether there may be bytes at that place.
    pub(super) fn has(&self, place: Place) -> bool {
        let segments = self.segments.read();
        let segment = segments.get(&place.segment);
        segment.is_some_and(|segment| {
            place
                .offset
                .checked_add(place.length)
                .is_some_and(|end| end <= segment.bytes)
        })
    }

    /// Appends the bytes of a revision; nothing where that is of no use.
    pub(super) fn write(&self, oid: Oid, start: Tid, record: &Record) -> Option<Place> {
        let length = (HEADER_BYTES + record.len()) as u64;
        let mut state = self.state.lock();
        if state.is_broken || length > self.segment_bytes {
            return None;
        }
        let end = state.written + state.unwritten.len() as u64;
        if end + length > self.segment_bytes {
            self.begin_segment(&mut state);
        }
        let place = Place {
            segment: state.current,
            offset: state.written + state.unwritten.len() as u64,
            length,
        };
        let buffer = &mut state.unwritten;
        buffer.extend(checksum(oid, start, record).to_be_bytes());
        buffer.extend(u32::try_from(record.len()).ok()?.to_be_bytes());
        buffer.extend(oid.to_bytes());
        buffer.extend(start.to_bytes());
        buffer.extend_from_slice(record);
        if state.unwritten.len() >= BUFFER_BYTES {
            self.write_out(&mut state);
        }
        (!state.is_broken).then_some(place)
    }

    /// The bytes of a revision, if they are there and sound.
    pub(super) fn read(&self, oid: Oid, start: Tid, place: Place) -> Option<Record> {
        let length = usize::try_from(place.length).ok()?;
        let mut bytes = vec![0; length.min(usize::try_from(self.segment_bytes).ok()?)];
        if !self.read_unwritten(place, &mut bytes) {
            let segments = self.segments.read();
            let file = segments.get(&place.segment)?.file.clone();
            drop(segments);
            file.read_exact_at(&mut bytes, place.offset).ok()?;
        }
        let (header, data) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let record = Record::from(data);
        let mut expected = [0; HEADER_BYTES];
        expected[..4].copy_from_slice(&checksum(oid, start, &record).to_be_bytes());
        expected[4..8].copy_from_slice(&u32::try_from(data.len()).ok()?.to_be_bytes());
        expected[8..16].copy_from_slice(&oid.to_bytes());
        expected[16..].copy_from_slice(&start.to_bytes());
        (*header == expected).then_some(record)
    }

    /// Whether the place is still in the buffer.
    fn read_unwritten(&self, place: Place, bytes: &mut [u8]) -> bool {
        let state = self.state.lock();
        let offset = place.offset.checked_sub(state.written);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let found = offset
            .filter(|_| place.segment == state.current)
            .and_then(|offset| {
                state
                    .unwritten
                    .get(offset..offset.checked_add(bytes.len())?)
            });
        if let Some(found) = found {
            bytes.copy_from_slice(found);
        }
        found.is_some()
    }

    /// Writes an event down. Whether the journal should be written anew.
    pub(super) fn note(&self, event: &Event) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.is_broken {
            return false;
        }
        state.writer.write(event, &mut state.events);
        if state.events.len() >= EVENTS_BYTES {
            write_events(state);
        }
        state.journal_bytes > state.journal_max
    }

    /// Writes a journal of these events alone.
    pub(super) fn rewrite(&self, events: &[Event]) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.is_broken {
            return;
        }
        let mut out = Vec::new();
        let mut writer = Writer::begin(&self.identity, &mut out);
        events
            .iter()
            .for_each(|event| writer.write(event, &mut out));
        let number = state.journal_number + 1;
        let (draft, name) = (self.root.join(DRAFT), path(&self.root, JOURNAL, number));
        let written = self.disk.open(&draft, OpenMode::Truncate).and_then(|file| {
            file.write_at(&out, 0)?;
            self.disk.rename(&draft, &name)?;
            Ok(file)
        });
        match written {
            Ok(file) => {
                state.journal = file;
                state.journal_bytes = out.len() as u64;
                let longer = state.journal_bytes.saturating_mul(JOURNAL_GROWTH);
                state.journal_max = longer.max(JOURNAL_BYTES_MIN);
                state.writer = writer;
                state.events.clear();
                let old = state.journal_number;
                state.journal_number = number;
                self.remove_journals(old);
            }
            Err(error) => give_up(state, &error),
        }
    }

    fn remove_journals(&self, up_to: u64) {
        let names = self.disk.list_directory(&self.root).unwrap_or_default();
        for entry in names {
            let old = entry.name.to_str().and_then(|name| number(name, JOURNAL));
            if let Some(old) = old.filter(|old| *old <= up_to) {
                let _a_newer_one_counts = self.disk.remove(&path(&self.root, JOURNAL, old));
            }
        }
    }

    /// Forgets all segments.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.unwritten.clear();
        self.begin_segment(&mut state);
        let current = state.current;
        let mut segments = self.segments.write();
        let kept = segments.split_off(&current);
        for (number, _) in std::mem::replace(&mut *segments, kept) {
            let _the_journal_names_it_no_more =
                self.disk.remove(&path(&self.root, SEGMENT, number));
        }
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&self) {
        let mut state = self.state.lock();
        self.write_out(&mut state);
        write_events(&mut state);
    }

    fn begin_segment(&self, state: &mut State) {
        self.write_out(state);
        let number = state.current + 1;
        let path = path(&self.root, SEGMENT, number);
        match self.disk.open(&path, OpenMode::Truncate) {
            Ok(file) => {
                let segment = Segment { file, bytes: 0 };
                self.segments.write().insert(number, segment);
                state.current = number;
                state.written = 0;
            }
            Err(error) => give_up(state, &error),
        }
        self.shrink();
    }

    /// Removes the oldest segments, until the rest has room beside another one.
    fn shrink(&self) {
        let mut segments = self.segments.write();
        let mut bytes: u64 = segments.values().map(|segment| segment.bytes).sum();
        while bytes + self.segment_bytes > self.bytes_max && segments.len() > 1 {
            let Some((number, oldest)) = segments.pop_first() else {
                break;
            };
            bytes -= oldest.bytes;
            let _it_is_missing_anyway = self.disk.remove(&path(&self.root, SEGMENT, number));
        }
    }

    fn write_out(&self, state: &mut State) {
        if state.unwritten.is_empty() || state.is_broken {
            return;
        }
        let mut segments = self.segments.write();
        let Some(segment) = segments.get_mut(&state.current) else {
            return;
        };
        match segment.file.write_at(&state.unwritten, state.written) {
            Ok(()) => {
                state.written += state.unwritten.len() as u64;
                segment.bytes = state.written;
                state.unwritten.clear();
            }
            Err(error) => give_up(state, &error),
        }
    }
}

impl Drop for DiskTier {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_events(state: &mut State) {
    if state.is_broken || state.events.is_empty() {
        return;
    }
    match state.journal.write_at(&state.events, state.journal_bytes) {
        Ok(()) => {
            state.journal_bytes += state.events.len() as u64;
            state.events.clear();
        }
        Err(error) => give_up(state, &error),
    }
}

/// Nothing more is written. What is there is what was known at an earlier time, and says so.
fn give_up(state: &mut State, error: &io::Error) {
    if !state.is_broken {
        tracing::warn!(%error, "the cache on disk cannot be written and is left as it is");
    }
    state.is_broken = true;
    state.unwritten.clear();
    state.events.clear();
}

/// Those that can be opened; the others are but missing.
fn open_segments(disk: &dyn Disk, root: &Path, numbers: &[u64]) -> BTreeMap<u64, Segment> {
    let segment = |number: &u64| {
        let file = disk
            .open(&path(root, SEGMENT, *number), OpenMode::Read)
            .ok()?;
        let bytes = file.len().unwrap_or_default();
        Some((*number, Segment { file, bytes }))
    };
    numbers.iter().filter_map(segment).collect()
}

fn read_journal(disk: &dyn Disk, path: &Path, identity: &str) -> Option<Vec<Event>> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let length = file
        .len()
        .ok()
        .filter(|length| *length <= JOURNAL_BYTES_MAX)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let filled = file.read_most_at(&mut bytes, 0).ok()?;
    journal::read(identity, &bytes[..filled])
}

fn checksum(oid: Oid, start: Tid, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&oid.to_bytes());
    hasher.update(&start.to_bytes());
    hasher.update(record);
    hasher.finalize()
}

fn path(root: &Path, kind: &str, number: u64) -> PathBuf {
    root.join(format!("{kind}{number:016x}"))
}

fn number(name: &str, kind: &str) -> Option<u64> {
    let digits = name.strip_prefix(kind)?;
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|_| digits.len() == 16)
}
