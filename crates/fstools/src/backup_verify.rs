//! Whether a repository can be restored from.

use std::path::PathBuf;

use storage::StorageError;

use crate::backup::blobs::BlobId;
use crate::backup::catalog::{Chain, Repository, RepositoryError, Settled};
use crate::backup::lines::BackupVerifyLine;
use crate::backup::manifest::State;
use crate::backup::{ABSENT_TOLD_MAX, chunk, records, store};
use crate::line::Line;
use crate::listener::{Listener, ToolError, Verdict};

/// How a repository is verified.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupVerifyOptions {
    /// Compare lengths only, no checksums.
    pub quick: bool,
}

/// Checks the newest full backup and what follows it: that all files are there, follow each other
/// without a gap, and hold what was written.
///
/// # Errors
/// There is no backup, or the repository cannot be read.
pub fn backup_verify(
    repository: &Repository,
    options: BackupVerifyOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let chain = repository
        .chain(None)?
        .ok_or_else(|| RepositoryError::Empty {
            path: repository.path().to_owned(),
            until: None,
            oldest: None,
        })?;
    verify_chain(repository, chain, options, listener)
}

fn verify_chain(
    repository: &Repository,
    chain: Chain,
    options: BackupVerifyOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let date = chain.files[chain.files.len() - 1].date.clone();
    let settled = chain.settle(repository)?;
    listener.begins(settled.end());
    let mut damages = 0;
    for wrong in settled.wrong.iter().chain(&settled.unproven) {
        damages += 1;
        listener.tell(wrong.clone().into())?;
    }
    let mut files = 0;
    for wrong in check_pieces(repository, &settled, options.quick, &mut files, listener)? {
        damages += 1;
        listener.tell(wrong.into())?;
    }
    let mut wrong = Vec::new();
    let blobs = store::verify(repository, &settled, options.quick, &mut wrong)?;
    for wrong in wrong {
        damages += 1;
        listener.tell(wrong.into())?;
    }
    if damages == 0 && !options.quick {
        let lacking = lacking_blobs(repository, &settled)?;
        damages += lacking.len() as u64;
        for BlobId { oid, tid } in lacking.into_iter().take(ABSENT_TOLD_MAX) {
            let what = "a record needs its file, and the backup has none".to_owned();
            listener.tell(Line::BlobAbsent { oid, tid, what })?;
        }
    }
    listener.tell(Line::BackupVerified(BackupVerifyLine {
        date,
        files,
        bytes: settled.end(),
        damages,
        blobs,
    }))?;
    Ok(Verdict::of(damages))
}

/// Blobs that the newest backup, where it was made with blobs, should have and has not.
fn lacking_blobs(repository: &Repository, settled: &Settled) -> Result<Vec<BlobId>, ToolError> {
    let state = State::of(repository, settled)?;
    let newest = settled.pieces.last().map(|piece| &piece.file.date);
    if newest.is_none() || state.date.as_ref() != newest {
        return Ok(Vec::new());
    }
    let needed = records::blobs(repository, settled)
        .map_err(|error| StorageError::io(repository.path(), "read the pieces in", error))?;
    let is_lacking = |blob: &BlobId| !state.blobs.contains_key(blob);
    Ok(needed.into_iter().filter(is_lacking).collect())
}

fn check_pieces(
    repository: &Repository,
    settled: &Settled,
    quick: bool,
    files: &mut u64,
    listener: &mut dyn Listener,
) -> Result<Vec<(PathBuf, String)>, ToolError> {
    let mut wrong = Vec::new();
    for piece in &settled.pieces {
        *files += 1;
        let expected = piece.end - piece.start;
        let path = repository.file(piece.file.name());
        let weighed = if quick && !piece.file.is_compressed {
            let file = repository.disk.open(&path, vfs::OpenMode::Read);
            let bytes = file.and_then(|file| file.len());
            bytes.map(|bytes| (bytes, piece.checksum.clone()))
        } else {
            weigh(repository, piece, listener)
        };
        let what = match weighed {
            Ok((bytes, _)) if bytes != expected => {
                format!("it holds {bytes} bytes instead of {expected}")
            }
            Ok((_, checksum)) if checksum != piece.checksum => {
                format!("its checksum is {checksum} instead of {}", piece.checksum)
            }
            Ok(_) => continue,
            Err(error) => format!("it cannot be read: {error}"),
        };
        wrong.push((path, what));
    }
    Ok(wrong)
}

fn weigh(
    repository: &Repository,
    piece: &crate::backup::catalog::Piece,
    listener: &mut dyn Listener,
) -> std::io::Result<(u64, String)> {
    let path = repository.file(piece.file.name());
    let mut reader = chunk::reader(&*repository.disk, &path, piece.file.is_compressed)?;
    let mut checksum = chunk::Checksum::default();
    let mut at = piece.start;
    let bytes = chunk::pour::<std::io::Error>(&mut *reader, &mut Vec::new(), |part| {
        checksum.update(part);
        at += part.len() as u64;
        listener.reached(at);
        Ok(())
    })?;
    Ok((bytes, checksum.finish()))
}
