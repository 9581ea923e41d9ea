//! Whether a Data.fs still begins with what was backed up of it.

use std::io::{self, Read};

use filestorage::Survey;
use storage::{StorageError, Tid};
use vfs::{Disk, OpenMode};

use super::catalog::{Piece, Repository, Settled};
use super::chunk::{self, Checksum};
use crate::listener::{Listener, ToolError};

/// What a new backup builds on.
pub(crate) enum Base {
    /// Nothing; and why.
    None(String),
    /// The chain, to which something is added.
    After(Settled),
    /// The chain, to which nothing can be added.
    Unchanged(Settled),
}

/// Compares every byte of the chain with the file; what is different. Stronger than the checksums
/// that the original compares, and each file is read once.
pub(crate) fn all_pieces(
    survey: &Survey,
    repository: &Repository,
    settled: &Settled,
    listener: &mut dyn Listener,
) -> Result<Option<String>, ToolError> {
    let mut stored = vec![0; chunk::BUFFER_BYTES];
    let mut current = vec![0; chunk::BUFFER_BYTES];
    for piece in &settled.pieces {
        let name = piece.file.name();
        let path = repository.file(&name);
        let reader = chunk::reader(&*repository.disk, &path, piece.file.is_compressed);
        let unreadable = |error| Ok(Some(format!("{name} cannot be read: {error}")));
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(error) => return unreadable(error),
        };
        let mut at = piece.start;
        loop {
            let filled = match chunk::fill(&mut *reader, &mut stored) {
                Ok(0) => break,
                Ok(filled) => filled,
                Err(error) => return unreadable(error),
            };
            if filled as u64 > piece.end - at {
                return Ok(Some(format!("{name} is longer than its list says")));
            }
            survey.read_exact(at, &mut current[..filled])?;
            if current[..filled] != stored[..filled] {
                return Ok(Some(CHANGED.to_owned()));
            }
            at += filled as u64;
            listener.reached(at);
        }
        if at != piece.end {
            return Ok(Some(format!("{name} is shorter than its list says")));
        }
    }
    Ok(None)
}

/// Compares the checksum of the part of the file that was backed up last.
pub(crate) fn last_piece(survey: &Survey, settled: &Settled) -> Result<Option<String>, ToolError> {
    let Some(piece) = settled.pieces.last() else {
        return Ok(None);
    };
    let mut buffer = vec![0; chunk::BUFFER_BYTES];
    let mut checksum = Checksum::default();
    let mut at = piece.start;
    while at < piece.end {
        let rest = usize::try_from(piece.end - at).unwrap_or(usize::MAX);
        let part = &mut buffer[..rest.min(chunk::BUFFER_BYTES)];
        survey.read_exact(at, part)?;
        checksum.update(part);
        at += part.len() as u64;
    }
    let same = checksum.finish() == piece.checksum;
    Ok((!same).then(|| CHANGED.to_owned()))
}

/// The last transaction of a piece; nothing where the piece is damaged.
pub(crate) fn last_tid(repository: &Repository, piece: &Piece) -> Option<Tid> {
    let path = repository.file(piece.file.name());
    let disk = &*repository.disk;
    let found = chunk::reader(disk, &path, piece.file.is_compressed).and_then(|mut reader| {
        if piece.start == 0 {
            reader.read_exact(&mut [0; MAGIC_BYTES])?;
        }
        let mut last = None;
        let mut head = [[0; 8]; 2];
        loop {
            match reader.read_exact(head.as_flattened_mut()) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(last),
                read => read?,
            }
            last = Some(Tid::from_bytes(head[0]));
            // The length counts all but the copy of itself at the end.
            let rest = u64::from_be_bytes(head[1]).saturating_sub(8);
            if io::copy(&mut (&mut *reader).take(rest), &mut io::sink())? < rest {
                return Ok(last);
            }
        }
    });
    found.unwrap_or_default()
}

/// Whether another file has the name of the surveyed one now: a pack puts one there, in which
/// everything is at another place.
pub(crate) fn was_replaced(survey: &Survey, disk: &dyn Disk, end: u64) -> Result<bool, ToolError> {
    let path = survey.path();
    let now = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(StorageError::io(path, "open", error).into()),
    };
    let start = end.saturating_sub(PROBE_BYTES);
    let mut before = vec![0; usize::try_from(end - start).unwrap_or_default()];
    let mut after = before.clone();
    survey.read_exact(start, &mut before)?;
    match now.read_exact_at(&mut after, start) {
        Ok(()) => Ok(before != after),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        Err(error) => Err(StorageError::io(path, "read", error).into()),
    }
}

const CHANGED: &str = "the file is not what was backed up: packed, probably";
const MAGIC_BYTES: usize = 4;
/// The last transactions of a file tell it from its packed successor.
const PROBE_BYTES: u64 = 1 << 16;
