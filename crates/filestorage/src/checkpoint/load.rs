//! Reading a checkpoint, and finding out whether it can be believed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use storage::{Oid, StorageError, Tid};
use vfs::{Disk, File, OpenMode};

use super::format::{Broken, HEADER_BYTES, Header, Page, Reference, SLOT_BYTES, TABLE_PAGES};
use super::path_of;
use super::tree::{Known, Slots, Tree};
use super::write::fingerprint;
use crate::format::{LOG_START, Offset};
use crate::index::{Index, OFFSET_END, PAGE_SLOTS};
use crate::log::Log;

/// A checkpoint in a file, of which only the headers have been read.
pub(crate) struct Found {
    file: Arc<dyn File>,
    /// The newest first.
    headers: Vec<Header>,
}

/// A checkpoint that has been read.
pub(crate) struct Loaded {
    pub(crate) index: Index,
    pub(crate) end: Offset,
    pub(crate) last_tid: Tid,
    pub(crate) tree: Tree,
}

/// Looks for the checkpoint beside that Data.fs. For a storage that writes the mode is
/// [`OpenMode::Write`].
pub(crate) fn find(disk: &dyn Disk, data_path: &Path, mode: OpenMode) -> Option<Found> {
    find_at(disk, &path_of(data_path), mode)
}

/// The same of a checkpoint that has that name.
pub(crate) fn find_at(disk: &dyn Disk, path: &Path, mode: OpenMode) -> Option<Found> {
    let read = || {
        let file = disk.open(path, mode)?;
        let mut bytes = vec![0; 2 * HEADER_BYTES];
        let filled = file.read_most_at(&mut bytes, 0)?;
        bytes.truncate(filled);
        Ok::<_, io::Error>((file, bytes))
    };
    let (file, bytes) = match read() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the checkpoint cannot be read");
            return None;
        }
    };
    let mut headers: Vec<Header> = bytes
        .chunks(HEADER_BYTES)
        .filter_map(Header::decode)
        .collect();
    headers.sort_by_key(|header| std::cmp::Reverse(header.sequence));
    if headers.is_empty() {
        tracing::warn!(path = %path.display(), "the checkpoint has no whole header and is ignored");
        return None;
    }
    Some(Found { file, headers })
}

impl Found {
    /// Up to where in the log the checkpoint says that it stands.
    pub(crate) fn end(&self) -> Offset {
        self.headers[0].end
    }

    /// What the checkpoint says that stands there, whether or not the log is the one that it was
    /// written for; nothing where it is not whole.
    pub(crate) fn read(self, end: Offset) -> Option<Index> {
        let mut headers = self.headers.into_iter();
        let header = headers.find(|header| header.end == end)?;
        Some(read(&self.file, header).ok()?.index)
    }

    /// The newest checkpoint that is whole and belongs to that log; nothing, with a line in the
    /// log, where there is none.
    pub(crate) fn load(self, log: &Log) -> Option<Loaded> {
        let path = log.path().display();
        for header in self.headers {
            let sequence = header.sequence;
            match load(&self.file, header, log) {
                Ok(loaded) => return Some(loaded),
                Err(error) => {
                    tracing::warn!(%path, sequence, %error, "a checkpoint is not believed");
                }
            }
        }
        None
    }
}

/// Why a checkpoint is of no use.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Log(#[from] StorageError),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

fn load(file: &Arc<dyn File>, header: Header, log: &Log) -> Result<Loaded, LoadError> {
    if header.end < LOG_START || header.end > log.size()? {
        return Err(Broken("the Data.fs does not reach so far").into());
    }
    if fingerprint(log, header.end)? != header.fingerprint {
        return Err(Broken("it belongs to another Data.fs").into());
    }
    read(file, header)
}

fn read(file: &Arc<dyn File>, header: Header) -> Result<Loaded, LoadError> {
    let index = Index::default();
    let mut loader = Loader {
        end: header.end,
        index: &index,
        tree: Tree::new(file.clone()),
        used: BTreeSet::new(),
        chunks: Vec::new(),
        bounds: BTreeSet::new(),
    };
    loader.load(&header)?;
    loader.restore_chunks();
    let mut tree = loader.tree;
    tree.slots = Slots::new(&loader.used);
    tree.sequence = header.sequence;
    tree.tables = header.tables;
    Ok(Loaded {
        index,
        end: header.end,
        last_tid: header.last_tid,
        tree,
    })
}

struct Loader<'a> {
    end: Offset,
    index: &'a Index,
    tree: Tree,
    used: BTreeSet<u32>,
    /// They must wait for the dense ones.
    chunks: Vec<LoadedChunk>,
    bounds: BTreeSet<Oid>,
}

struct LoadedChunk {
    number: usize,
    bound: Oid,
    entries: Vec<(Oid, Offset)>,
}

impl Loader<'_> {
    fn load(&mut self, header: &Header) -> Result<(), LoadError> {
        for (at, table) in (0u64..).zip(&header.tables) {
            let Page::Table { number, pages } = self.read(*table)? else {
                return Err(Broken("a table was expected").into());
            };
            let is_last = at + 1 == header.tables.len() as u64;
            if number != at || (pages.len() != TABLE_PAGES && !is_last) {
                return Err(Broken("a table in the wrong place").into());
            }
            for page in pages {
                self.load_page(page)?;
            }
        }
        // Taken after the pages were put in, and before anybody else changes them.
        let blocks = self.index.blocks();
        self.tree.blocks = blocks
            .iter()
            .map(|(first, block)| (*first, block.changes()))
            .collect();
        Ok(())
    }

    fn load_page(&mut self, reference: Reference) -> Result<(), LoadError> {
        let number = self.tree.pages.len();
        self.tree.pages.push(reference);
        if reference == Reference::default() {
            self.tree.free_numbers.push(number);
            return Ok(());
        }
        match self.read(reference)? {
            Page::Dense {
                number: dense,
                positions,
            } => {
                if dense > u64::MAX / PAGE_SLOTS as u64 {
                    return Err(Broken("a page of ids that cannot be").into());
                }
                for position in positions.iter() {
                    self.check(Offset::new(*position))?;
                }
                let version = self.index.restore_page(dense, &positions);
                let version = Some(version.ok_or(Broken("a page is there twice"))?);
                self.tree.dense.insert(dense, Known { number, version });
            }
            Page::Sparse { bound, entries } => {
                for (_, offset) in &entries {
                    self.check(*offset)?;
                }
                if entries.iter().any(|entry| entry.1 == Offset::NONE) {
                    return Err(Broken("an entry leads nowhere").into());
                }
                if !self.bounds.insert(bound) {
                    return Err(Broken("a chunk is there twice").into());
                }
                self.chunks.push(LoadedChunk {
                    number,
                    bound,
                    entries,
                });
            }
            Page::Table { .. } => return Err(Broken("a table among the pages").into()),
        }
        Ok(())
    }

    /// Puts the chunks into the index. One that has partly become a page while the checkpoint was
    /// written does not fit as it is; what is new in it goes in alone, and the next checkpoint puts
    /// it right.
    fn restore_chunks(&mut self) {
        for chunk in std::mem::take(&mut self.chunks) {
            let LoadedChunk {
                number,
                bound,
                entries,
            } = chunk;
            let version = self.index.restore_chunk(bound, &entries);
            if version.is_none() {
                for (oid, offset) in entries {
                    if self.index.get(oid).is_none() {
                        self.index.insert(oid, offset);
                    }
                }
            }
            self.tree.sparse.insert(bound, Known { number, version });
        }
    }

    fn check(&self, offset: Offset) -> Result<(), Broken> {
        if offset >= self.end.min(OFFSET_END) {
            return Err(Broken(
                "an entry leads out of the part of the log that it stands for",
            ));
        }
        Ok(())
    }

    fn read(&mut self, reference: Reference) -> Result<Page, LoadError> {
        if reference.slot == 0 || !self.used.insert(reference.slot) {
            return Err(Broken("two pages in one slot").into());
        }
        let mut slot = [0; SLOT_BYTES];
        let at = u64::from(reference.slot) * SLOT_BYTES as u64;
        self.file()
            .read_exact_at(&mut slot, at)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => LoadError::Broken(Broken("it ends too early")),
                _ => LoadError::Io(error),
            })?;
        Ok(Page::decode(&slot, reference.checksum)?)
    }

    fn file(&self) -> &dyn File {
        &*self.tree.file
    }
}
