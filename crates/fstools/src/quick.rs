//! Looking whether there is anything to tell of the references in a file: its pieces side by side.
//!
//! Most files are sound. Of those nothing is told but how much was looked at, so the order does not
//! matter. Where anything at all is not as it should be, somebody else looks at the whole file from
//! front to back, and tells what it is.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use filestorage::{Positions, References, Step, Survey};
use storage::{StorageError, Tid};

use crate::listener::{Listener, ToolError};

/// How many objects there are, when all references of all current records lead to objects that can be
/// loaded; `None` where something is to be told.
pub(crate) fn sound_objects(
    survey: &Survey,
    positions: &Positions,
    piece_bytes: NonZeroU64,
    listener: &mut dyn Listener,
) -> Result<Option<u64>, ToolError> {
    let pieces = match survey.pieces(positions, piece_bytes) {
        Err(StorageError::Corrupt { .. }) => return Ok(None),
        pieces => pieces?,
    };
    let quick = Quick {
        survey,
        positions,
        pieces: &pieces,
        next: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    let helpers = thread::available_parallelism().map_or(1, usize::from);
    let helpers = helpers.min(WORKERS_MAX).min(pieces.len()).saturating_sub(1);
    let found = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers)
            .map(|_| scope.spawn(|| quick.work(&mut |_| {})))
            .collect();
        let own = quick.work(&mut |at| listener.reached(at));
        let others = helpers
            .into_iter()
            .map(|helper| helper.join().expect("it returns its errors"));
        others.chain([own]).collect::<Result<Vec<_>, _>>()
    })?;
    let mut parts: Vec<Part> = found.into_iter().flatten().collect();
    parts.sort_unstable_by_key(|part| part.number);
    // One for each piece, unless one gave up.
    let is_whole = parts.len() == pieces.len()
        && parts
            .iter()
            .is_sorted_by(|one, next| match (one.tids, next.tids) {
                (Some((_, last)), Some((first, _))) => last < first,
                _ => false,
            });
    let objects = parts.iter().map(|part| part.objects).sum();
    // Every position leads to a record of its object, and no later record is there.
    let is_proven = objects == positions.len();
    Ok((is_whole && is_proven).then_some(objects))
}

struct Quick<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    pieces: &'a [Range<u64>],
    /// The next piece that nobody has taken.
    next: AtomicUsize,
    /// Whether somebody found what has to be told.
    is_over: AtomicBool,
}

/// What is known of a piece with nothing to tell.
#[derive(Default)]
struct Part {
    number: usize,
    /// The first and the last transaction.
    tids: Option<(Tid, Tid)>,
    objects: u64,
}

impl Quick<'_> {
    /// Takes pieces until there are no more. Gives up where something is to be told.
    fn work(&self, reached: &mut dyn FnMut(u64)) -> Result<Vec<Part>, StorageError> {
        let mut references = References::default();
        let mut parts = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.get(number) else {
                return Ok(parts);
            };
            match self.look(number, piece, &mut references, reached) {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    return Ok(parts);
                }
                Err(error) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }

    fn look(
        &self,
        number: usize,
        piece: &Range<u64>,
        references: &mut References,
        reached: &mut dyn FnMut(u64),
    ) -> Result<Option<Part>, StorageError> {
        let mut part = Part {
            number,
            ..Part::default()
        };
        let mut walk = self.survey.walk_between(piece.start, piece.end);
        while let Some(step) = walk.next_step()? {
            let Step::Transaction(transaction) = step else {
                return Ok(None);
            };
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let first = part.tids.map_or(transaction.tid, |(first, _)| first);
            part.tids = Some((first, transaction.tid));
            loop {
                let record = match walk.next_record() {
                    Ok(Some(record)) => record,
                    Ok(None) => break,
                    Err(StorageError::Corrupt { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                };
                match self.positions.get(record.oid) {
                    Some(current) if current > record.offset => continue,
                    Some(current) if current == record.offset => {}
                    // The index that the positions come from is wrong.
                    _ => return Ok(None),
                }
                part.objects += 1;
                let is_sound = match walk.own_data(&record) {
                    Ok(Some(data)) => self.leads_somewhere(references, data),
                    // It was undone, or is what it was before that.
                    Ok(None) => match self.survey.data(&record) {
                        Ok(found) => found
                            .record
                            .is_some_and(|data| self.leads_somewhere(references, &data)),
                        Err(_) => false,
                    },
                    Err(_) => false,
                };
                if !is_sound {
                    return Ok(None);
                }
            }
            reached(walk.next_offset());
        }
        Ok((walk.next_offset() == piece.end).then_some(part))
    }

    /// Whether the record is well made, and all that it refers to exists.
    fn leads_somewhere(&self, references: &mut References, data: &[u8]) -> bool {
        match references.read(data) {
            Ok((found, 2)) => found.iter().all(|oid| self.positions.get(*oid).is_some()),
            _ => false,
        }
    }
}

/// How large a piece is, about.
pub(crate) const PIECE_BYTES: NonZeroU64 = NonZeroU64::new(16 << 20).expect("it is not zero");
/// More threads would only wait for the disk.
const WORKERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use filestorage::{FileStorage, Options};
    use pickle::Pickles;
    use sim::SimDisk;
    use storage::{Oid, Record, Storage, TransactionMeta};

    use super::*;
    use crate::Line;

    struct Deaf;

    impl Listener for Deaf {
        fn tell(&mut self, _: Line) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A record that refers to that object.
    fn record(to: u64) -> Record {
        let mut pickles = Pickles::new();
        let class = pickles.global("a", "B");
        pickles.push_root(class);
        let oid = pickles.bytes(&Oid::new(to).to_bytes());
        let id = pickles.tuple(vec![oid, class]);
        let reference = pickles.persistent(id);
        let text = pickles.str("a text of some length, so that the file has some");
        let state = pickles.tuple(vec![reference, text]);
        pickles.push_root(state);
        Record::from(pickles.encode())
    }

    /// Each object refers to the one before it, and some are stored again.
    fn make(dangling: bool) -> Arc<SimDisk> {
        let disk = Arc::new(SimDisk::new());
        let options = Options {
            disk: disk.clone(),
            ..Options::default()
        };
        let storage = FileStorage::open(PATH, options).unwrap();
        let mut tids: Vec<Tid> = (0..OBJECTS).map(|_| Tid::ZERO).collect();
        for round in 0..3 {
            for number in (0..OBJECTS).skip(round).step_by(round + 1) {
                let to = match dangling && number == OBJECTS / 2 {
                    true => OBJECTS + 1,
                    false => number.saturating_sub(1),
                };
                let place = usize::try_from(number).unwrap();
                let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
                commit
                    .store(Oid::new(number), tids[place], record(to))
                    .unwrap();
                tids[place] = commit.vote().unwrap().finish(Box::new(|_tid| {})).unwrap();
            }
        }
        storage.close().unwrap();
        disk
    }

    const PATH: &str = "/Data.fs";
    const OBJECTS: u64 = 60;

    fn look(disk: &Arc<SimDisk>, piece_bytes: u64) -> (usize, Option<u64>) {
        let survey = Survey::open(PATH, disk.clone()).unwrap();
        let positions = survey.positions().unwrap();
        let bytes = NonZeroU64::new(piece_bytes).unwrap();
        let pieces = survey
            .pieces(&positions, bytes)
            .map_or(0, |pieces| pieces.len());
        let found = sound_objects(&survey, &positions, bytes, &mut Deaf).unwrap();
        (pieces, found)
    }

    #[test]
    fn a_sound_file_has_nothing_to_tell_however_it_is_cut() {
        let disk = make(false);
        for piece_bytes in [1, 500, 4000, u64::MAX] {
            let (pieces, found) = look(&disk, piece_bytes);
            assert_eq!(pieces == 1, piece_bytes == u64::MAX);
            assert_eq!(found, Some(OBJECTS), "{piece_bytes}");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_for_others_to_tell() {
        let disk = make(true);
        assert_eq!(look(&disk, 500).1, None);
    }

    /// Whatever byte of a structure is another one, it is seen, unless nothing depends on it.
    #[test]
    fn damage_is_for_others_to_tell() {
        let disk = make(false);
        let sound = disk.contents(PATH.as_ref()).unwrap();
        let survey = Survey::open(PATH, disk.clone()).unwrap();
        let end = survey.positions().unwrap().end();
        let mut starts = Vec::new();
        let mut walk = survey.walk();
        while let Some(step) = walk.next_step().unwrap() {
            let Step::Transaction(transaction) = step else {
                panic!("the file is sound");
            };
            starts.push(usize::try_from(transaction.offset).unwrap());
        }
        let last = *starts.last().unwrap();
        // Its length and its status, and of its record the id of the transaction and its place. The
        // last one is looked at when positions are taken.
        for start in starts.into_iter().filter(|start| *start < last) {
            for place in [15, 16, 23 + 15, 23 + 31] {
                let mut bytes = sound.clone();
                bytes[start + place] ^= 0x15;
                disk.put(PATH.as_ref(), &bytes);
                let survey = Survey::open(PATH, disk.clone()).unwrap();
                let positions = survey.positions().unwrap();
                assert_eq!(positions.end(), end, "the index is taken");
                let bytes = NonZeroU64::new(700).unwrap();
                let found = sound_objects(&survey, &positions, bytes, &mut Deaf).unwrap();
                assert_eq!(found, None, "byte {place} of the transaction at {start}");
            }
        }
    }
}
