//! What was applied to a cache, in order, for the next one that takes its place.
//!
//! A journal is a row of frames: `crc u32 | length u32 | event`. Each checksum covers the one before it,
//! so what a crash leaves is the beginning of a history, however it tears the file: a cache that was valid
//! at an earlier time, and knows of which.

use storage::{Oid, Tid};

use super::disk::Place;

/// One change of what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// These bytes are on disk: a revision and its end, if that is known.
    Put {
        oid: Oid,
        start: Tid,
        end: Option<Tid>,
        place: Place,
    },
    /// Revisions that were current have ended.
    Closed { tid: Tid, oids: Vec<Oid> },
    /// Revisions that were current have ended at an unknown time.
    Dropped(Vec<Oid>),
    /// All of that transaction is applied.
    Raised(Tid),
    /// Everything is forgotten.
    Restarted(Tid),
}

const PUT: u8 = 1;
const CLOSED: u8 = 2;
const DROPPED: u8 = 3;
const RAISED: u8 = 4;
const RESTARTED: u8 = 5;

impl Event {
    fn encode(&self, out: &mut Vec<u8>) {
        let tail = |out: &mut Vec<u8>, oids: &[Oid]| {
            oids.iter().for_each(|oid| out.extend(oid.to_bytes()));
        };
        match self {
            Self::Put {
                oid,
                start,
                end,
                place,
            } => {
                out.push(PUT);
                out.extend(oid.to_bytes());
                out.extend(start.to_bytes());
                out.extend(end.unwrap_or(Tid::ZERO).to_bytes());
                out.extend(place.segment.to_be_bytes());
                out.extend(place.offset.to_be_bytes());
                out.extend(place.length.to_be_bytes());
            }
            Self::Closed { tid, oids } => {
                out.push(CLOSED);
                out.extend(tid.to_bytes());
                tail(out, oids);
            }
            Self::Dropped(oids) => {
                out.push(DROPPED);
                tail(out, oids);
            }
            Self::Raised(tid) => {
                out.push(RAISED);
                out.extend(tid.to_bytes());
            }
            Self::Restarted(tid) => {
                out.push(RESTARTED);
                out.extend(tid.to_bytes());
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let mut number = || {
            let (number, behind) = rest.split_first_chunk::<8>()?;
            rest = behind;
            Some(u64::from_be_bytes(*number))
        };
        let event = match *kind {
            PUT => Self::Put {
                oid: Oid::new(number()?),
                start: Tid::new(number()?),
                end: Some(Tid::new(number()?)).filter(|end| *end != Tid::ZERO),
                place: Place {
                    segment: number()?,
                    offset: number()?,
                    length: number()?,
                },
            },
            CLOSED => Self::Closed {
                tid: Tid::new(number()?),
                oids: oids(&mut rest)?,
            },
            DROPPED => Self::Dropped(oids(&mut rest)?),
            RAISED => Self::Raised(Tid::new(number()?)),
            RESTARTED => Self::Restarted(Tid::new(number()?)),
            _ => return None,
        };
        rest.is_empty().then_some(event)
    }
}

fn oids(rest: &mut &[u8]) -> Option<Vec<Oid>> {
    let (numbers, behind) = rest.as_chunks::<8>();
    *rest = behind;
    let oid = |number: &[u8; 8]| Oid::new(u64::from_be_bytes(*number));
    Some(numbers.iter().map(oid).collect())
}

/// Writes frames, each chained to the one before.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    checksum: u32,
}

impl Writer {
    /// A journal of the caches of that name.
    pub(super) fn begin(identity: &str, out: &mut Vec<u8>) -> Self {
        let mut writer = Self { checksum: 0 };
        let header = [MAGIC, identity.as_bytes()].concat();
        writer.frame(&header, out);
        writer
    }

    pub(super) fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        self.frame(&bytes, out);
    }

    fn frame(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let length = u32::try_from(bytes.len()).expect("an invalidation is shorter than a frame");
        self.checksum = chained(self.checksum, length, bytes);
        out.extend(self.checksum.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(bytes);
    }
}

/// The events at the sound beginning of a journal; `None` where it is none, or another cache's.
pub(super) fn read(identity: &str, bytes: &[u8]) -> Option<Vec<Event>> {
    let mut frames = Frames { checksum: 0, bytes };
    let header = frames.next()?;
    if header.strip_prefix(MAGIC)? != identity.as_bytes() {
        return None;
    }
    Some(frames.map_while(Event::decode).collect())
}

struct Frames<'a> {
    checksum: u32,
    bytes: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (found, rest) = self.bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        let (frame, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let checksum = chained(self.checksum, length, frame);
        if checksum != u32::from_be_bytes(*found) {
            return None;
        }
        self.checksum = checksum;
        self.bytes = rest;
        Some(frame)
    }
}

/// Of the frame, its length, and all before it.
fn chained(before: u32, length: u32, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_be_bytes());
    hasher.update(&length.to_be_bytes());
    hasher.update(frame);
    hasher.finalize()
}

const MAGIC: &[u8] = b"ZodiacZeoCache1\n";
