//! How tools open what they work on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use filestorage::{Durability, FileStorage, Options};
use fstools::ToolError;
use storage::{Storage, StorageError};
use vfs::{Disk, RealDisk};
use zeo_net::{ClientOptions, TlsClientOptions, ZeoStorage};

use crate::merging::LoggedMerger;

/// The directory of blobs of a Data.fs that a tool works on.
#[derive(Debug, Args)]
pub(super) struct BlobDirectory {
    /// The directory of blobs that belongs to the Data.fs [default: "blobs" beside it, if there is one]
    #[arg(long = "blobs", value_name = "DIR")]
    named: Option<PathBuf>,
}

impl BlobDirectory {
    /// The directory, where one is named or found.
    pub(super) fn of(&self, data: &Path) -> Result<Option<PathBuf>, ToolError> {
        existing(self.named.as_deref(), data)
    }
}

/// The directory of blobs of an existing Data.fs: the one that is named, or else the one beside it. A
/// mistyped name must not be taken for a directory without blobs.
pub(super) fn existing(named: Option<&Path>, data: &Path) -> Result<Option<PathBuf>, ToolError> {
    let Some(named) = named else {
        return fstools::blobs_beside(&RealDisk, data);
    };
    let listed = RealDisk.list_directory(named);
    listed.map_err(|error| StorageError::io(named, "read the directory of blobs", error))?;
    Ok(Some(named.to_owned()))
}

/// An existing file as it is now, without its lock. Of one whose end is missing nothing is kept, nor listed
/// what may be undone.
pub(super) fn open_for_reading(
    path: &Path,
    blobs: Option<PathBuf>,
) -> Result<Arc<FileStorage>, StorageError> {
    let options = Options {
        create: false,
        read_only: true,
        refuse_missing_end: true,
        blob_dir: blobs,
        ..Options::default()
    };
    FileStorage::open(path, options)
}

/// An existing file, with its lock. One whose end is missing is left as it is, for a recovery.
pub(super) fn open_for_writing(
    path: &Path,
    blobs: Option<PathBuf>,
) -> Result<Arc<FileStorage>, StorageError> {
    let options = Options {
        create: false,
        refuse_missing_end: true,
        blob_dir: blobs,
        resolver: Some(Arc::new(LoggedMerger)),
        ..Options::default()
    };
    FileStorage::open(path, options)
}

/// A storage as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A Data.fs.
    File(PathBuf),
    /// A storage server, and the storage in it.
    Zeo { server: String, storage: String },
}

impl Name {
    /// A path, or `zeo://host:port/storage`; a server's storage is called 1 where nothing is said.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(address) = text.strip_prefix(ZEO) else {
            return Ok(Self::File(text.into()));
        };
        let (server, storage) = address.split_once('/').unwrap_or((address, ""));
        let storage = if storage.is_empty() { "1" } else { storage };
        let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err("a storage server is named zeo://host:port/storage".to_owned());
        }
        Ok(Self::Zeo {
            server: server.to_owned(),
            storage: storage.to_owned(),
        })
    }
}

/// A storage that is copied.
pub(super) enum Opened {
    File(Arc<FileStorage>),
    Zeo(Arc<ZeoStorage>),
}

impl Opened {
    /// A server is spoken TLS with where that is configured.
    pub(super) fn source(
        name: &Name,
        blobs: Option<PathBuf>,
        tls: Option<TlsClientOptions>,
    ) -> anyhow::Result<Self> {
        Ok(match name {
            Name::File(path) => Self::File(open_for_reading(path, blobs)?),
            Name::Zeo { server, storage } => Self::Zeo(connect(server, storage, true, tls)?),
        })
    }

    /// A file is made where there is none. One that is filled fast is synced now and then.
    pub(super) fn target(
        name: &Name,
        blobs: Option<PathBuf>,
        is_fast: bool,
        tls: Option<TlsClientOptions>,
    ) -> anyhow::Result<Self> {
        Ok(match name {
            Name::File(path) => {
                let mut options = Options {
                    refuse_missing_end: true,
                    blob_dir: blobs,
                    ..Options::default()
                };
                if is_fast {
                    options.durability = Durability::Async {
                        interval: SYNC_INTERVAL,
                    };
                }
                Self::File(FileStorage::open(path, options)?)
            }
            Name::Zeo { server, storage } => Self::Zeo(connect(server, storage, false, tls)?),
        })
    }

    pub(super) fn storage(&self) -> Arc<dyn Storage> {
        match self {
            Self::File(file) => Arc::clone(file) as _,
            Self::Zeo(client) => Arc::clone(client) as _,
        }
    }

    pub(super) fn close(&self) -> Result<(), StorageError> {
        match self {
            Self::File(file) => file.close(),
            Self::Zeo(_) => Ok(()),
        }
    }
}

fn connect(
    server: &str,
    storage: &str,
    read_only: bool,
    tls: Option<TlsClientOptions>,
) -> anyhow::Result<Arc<ZeoStorage>> {
    // Dropped when there is an answer.
    let (_answered, silence) = mpsc::channel::<()>();
    let name = format!("{ZEO}{server}/{storage}");
    thread::spawn(move || {
        if silence.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("zodiac: {name}: no answer yet, trying on");
        }
    });
    let connected = ZeoStorage::connect(ClientOptions {
        servers: vec![server.to_owned()],
        storage: storage.to_owned(),
        read_only,
        cache_bytes: CACHE_BYTES,
        label: Some("zodiac fs".to_owned()),
        tls,
        ..ClientOptions::default()
    });
    connected.with_context(|| format!("{ZEO}{server}/{storage}"))
}

const ZEO: &str = "zeo://";
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// So long nobody wonders why nothing happens.
const PATIENCE: Duration = Duration::from_secs(1);
/// A copy reads everything once.
const CACHE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_from_files() {
        let zeo = |server: &str, storage: &str| Name::Zeo {
            server: server.to_owned(),
            storage: storage.to_owned(),
        };
        let parse = |text| Name::parse(text).expect("a name");
        assert_eq!(parse("zeo://db:8100/main"), zeo("db:8100", "main"));
        assert_eq!(parse("zeo://[::1]:8100"), zeo("[::1]:8100", "1"));
        assert_eq!(parse("var/Data.fs"), Name::File("var/Data.fs".into()));
        for wrong in ["zeo://", "zeo://db", "zeo://db/1", "zeo://db:port/1"] {
            Name::parse(wrong).expect_err(wrong);
        }
    }
}
