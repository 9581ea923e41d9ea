//! How a client reaches its servers and how it behaves.

use std::path::PathBuf;
use std::time::Duration;

use zeo::FRAME_BYTES_MAX;

use crate::tls::TlsClientOptions;

/// How a client reaches its servers and how it behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The servers' addresses: `host:port`, or the path of a socket, which has a `/` in it. They serve
    /// the same storage. All are tried, each a moment after the one before it, and the first that will
    /// do is kept until the connection to it is lost.
    pub servers: Vec<String>,
    /// The name of the storage in the server.
    pub storage: String,
    /// Whether this client never writes.
    pub read_only: bool,
    /// Whether a server that allows no writing will do while there is none that does. Commits are
    /// refused then, and the client goes over to a server that takes them as soon as there is one.
    pub read_only_fallback: bool,
    /// How long a call waits for its answer, and for a lost server to come back (the original's
    /// `wait-timeout`). A commit has it once up to the answer to its vote, and once more for its
    /// finish; if that is not answered, once more to find out what became of it.
    pub wait: Duration,
    /// Whether to wait for a server when the storage is made; else whoever comes first waits.
    pub wait_at_start: bool,
    /// Whether a database waits, when it begins a transaction, until it sees all that was committed
    /// before anywhere. It costs a question to the server, and without a server no transaction begins
    /// ([`Storage::syncs_first`](storage::Storage::syncs_first)).
    pub server_sync: bool,
    /// How much the cache holds.
    pub cache_bytes: usize,
    /// Where the cache goes on after a restart; without it, it begins empty. One client at a time has it:
    /// another one with the same directory does without.
    pub disk_cache: Option<DiskCache>,
    /// A name for the server's log.
    pub label: Option<String>,
    /// The largest frame that is taken.
    pub frame_bytes_max: usize,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// The first pause after a failed attempt; it doubles, with jitter, up to `retry_max`.
    pub retry_min: Duration,
    /// The longest pause between attempts.
    pub retry_max: Duration,
    /// Certificates, for servers that speak TLS; `None` for those that do not.
    pub tls: Option<TlsClientOptions>,
    /// Where files of blobs are kept; without it there are no blobs.
    pub blobs: Option<BlobOptions>,
}

/// A cache on disk, behind that in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    /// The directory, which nobody else uses.
    pub directory: PathBuf,
    /// How much it holds, about. Each object in it takes 128 bytes of the memory's
    /// [`cache_bytes`](ClientOptions::cache_bytes), up to a quarter of these: beyond that, what is on
    /// disk is not found.
    pub bytes_max: u64,
}

/// Where a client keeps the files of blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobOptions {
    /// The directory.
    pub directory: PathBuf,
    /// Whether it is the server's own, which both see under this path: nothing is copied then.
    pub is_shared: bool,
    /// How much a cache holds, about; `None` for no end. Without effect on a shared directory.
    pub bytes_max: Option<u64>,
    /// After how much that came newly the cache is looked at, in percent of `bytes_max`.
    pub check_percent: u8,
}

impl BlobOptions {
    /// A cache without bound.
    pub fn cache(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            is_shared: false,
            bytes_max: None,
            check_percent: 10,
        }
    }

    /// The directory of the server.
    pub fn shared(directory: impl Into<PathBuf>) -> Self {
        Self {
            is_shared: true,
            ..Self::cache(directory)
        }
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            storage: "1".to_owned(),
            read_only: false,
            read_only_fallback: false,
            wait: Duration::from_secs(30),
            wait_at_start: true,
            server_sync: false,
            cache_bytes: 256 << 20,
            disk_cache: None,
            label: None,
            frame_bytes_max: FRAME_BYTES_MAX,
            connect_timeout: Duration::from_secs(5),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(1),
            tls: None,
            blobs: None,
        }
    }
}
