//! What a storage server is to do, from whichever configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use zconfig::Machine;
use zeo_net::{Encoding, ListenAddress, ServerOptions};

use super::{conf, container, storages};
use crate::cli::Zeo;
use crate::config::{self, Config};
use crate::event_log::HandlerPlan;
use crate::roles::Misuse;

/// What to serve, where, and what to tell of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) listen: Listen,
    pub(super) server: ServerOptions,
    /// Names and storages.
    pub(super) storages: Vec<(String, StoragePlan)>,
    /// Whether conflicts are merged here, where they can be.
    pub(super) merges: bool,
    pub(super) pid_file: Option<PathBuf>,
    /// The places of an `<eventlog>`; `None` where `[log]` says what is logged.
    pub(super) event_log: Option<EventLogPlan>,
}

/// The addresses to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) addresses: Vec<ListenAddress>,
    /// Whether they are every address of the machine, so that those of a kind that it has none of
    /// may be missing.
    pub(super) is_anywhere: bool,
}

/// What an `<eventlog>` says.
#[derive(Clone, Debug)]
pub(super) struct EventLogPlan {
    pub(super) level: i64,
    pub(super) handlers: Vec<HandlerPlan>,
}

/// A storage to open.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StoragePlan {
    File(FilePlan),
    Memory,
    Overlay { base: Box<Self>, changes: Box<Self> },
}

/// A Data.fs to open.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FilePlan {
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
    pub(super) blob_dir: Option<PathBuf>,
    pub(super) pack_gc: bool,
    pub(super) pack_keep_old: bool,
    pub(super) quota: Option<u64>,
    pub(super) compress: bool,
    pub(super) durability: filestorage::Durability,
}

impl Plan {
    /// What the command line asks for: a `zeo.conf`, what runzeo takes without one, or
    /// `zodiac.toml`.
    ///
    /// # Errors
    /// [`Misuse`] where a `zeo.conf` or runzeo's options cannot be followed.
    pub(super) fn new(arguments: &Zeo) -> Result<Self> {
        let config = arguments.load()?;
        let mut plan = Self::from_config(&config)?;
        let is_runzeo = arguments.is_runzeo();
        if let Some(directory) = &arguments.container {
            let text = container::configuration(directory)?;
            conf::apply(&text, "the container's configuration", &config, &mut plan)?;
        } else if let Some(name) = &arguments.configure {
            plan = Self::from_conf(name, &config)?;
        } else if is_runzeo {
            if arguments.address.is_none() {
                return Err(Misuse::error("no server address specified; use -a or -C"));
            }
            if arguments.filename.is_empty() {
                return Err(Misuse::error("no storages specified; use -f or -C"));
            }
            conf::apply_environment(None, &mut plan);
        }
        if let Some(address) = &arguments.address {
            plan.listen = conf::address(address).map_err(|error| {
                Misuse::error(format!("invalid value for --address {address:?}: {error}"))
            })?;
        }
        if !arguments.filename.is_empty() {
            plan.storages = named_files(&config, &arguments.filename);
        }
        if let Some(timeout) = arguments.timeout {
            plan.server.transaction_timeout = Some(timeout);
        }
        if let Some(path) = &arguments.pid_file {
            plan.pid_file = Some(path.clone());
        }
        plan.server.read_only |= arguments.read_only;
        if plan.server.read_only {
            plan.pid_file = None; // as runzeo: several read-only servers may share a configuration
        }
        plan.check_rights(&config)?;
        Ok(plan)
    }

    /// What that `zeo.conf` says, and the configuration where it says nothing.
    pub(super) fn from_conf(name: &str, config: &Config) -> Result<Self> {
        let mut plan = Self::from_config(config)?;
        let document = zconfig::Document::read(name, &Machine);
        conf::apply_document(document, config, &mut plan)?;
        plan.check_rights(config)?;
        Ok(plan)
    }

    /// It must not look as if clients were kept from something when they are not.
    fn check_rights(&self, config: &Config) -> Result<()> {
        if self.server.tls.is_none() && !config.zeo.client_rights().are_unlimited() {
            return Err(Misuse::error(
                "zeo.tls-rights, zeo.tls-clients: rights depend on certificates, and this server does not \
                 speak TLS",
            ));
        }
        Ok(())
    }

    pub(super) fn from_config(config: &Config) -> Result<Self> {
        let mut addresses = vec![ListenAddress::Inet(config.zeo.listen)];
        addresses.extend(config.zeo.also_listen.iter().map(|place| place.0.clone()));
        let mut file = FilePlan::new(config, &config.zeo.data);
        file.read_only = config.zeo.read_only;
        let blob_dir = Some(config.storage.blob_dir.as_path());
        let blob_dir = blob_dir.filter(|path| !path.as_os_str().is_empty());
        file.blob_dir = storages::blob_directory(&config.zeo.data, blob_dir)?;
        Ok(Self {
            listen: Listen {
                addresses,
                is_anywhere: false,
            },
            server: server_options(&config.zeo),
            storages: vec![(config.zeo.storage.clone(), StoragePlan::File(file))],
            merges: !config.zeo.client_conflict_resolution,
            pid_file: Some(config.zeo.pid_file.clone()).filter(|path| !path.as_os_str().is_empty()),
            event_log: None,
        })
    }
}

impl FilePlan {
    /// The Data.fs at that path, without blobs, written as the configuration says.
    pub(super) fn new(config: &Config, path: &Path) -> Self {
        let storage = &config.storage;
        Self {
            path: path.to_owned(),
            read_only: false,
            blob_dir: None,
            pack_gc: storage.pack_gc,
            pack_keep_old: storage.pack_keep_old,
            quota: Some(storage.quota).filter(|quota| *quota > 0),
            compress: storage.compress == config::Compression::Zlib,
            durability: match storage.durability {
                config::Durability::Strict => filestorage::Durability::Strict,
                config::Durability::Compat => filestorage::Durability::Compat,
                config::Durability::Async => filestorage::Durability::Async {
                    interval: storage.sync_interval.0,
                },
            },
        }
    }
}

impl Listen {
    pub(super) fn inet(addresses: Vec<SocketAddr>, is_anywhere: bool) -> Self {
        Self {
            addresses: addresses.into_iter().map(ListenAddress::Inet).collect(),
            is_anywhere,
        }
    }
}

/// Files named on the command line: storages `1`, `2` and so on.
fn named_files(config: &Config, paths: &[PathBuf]) -> Vec<(String, StoragePlan)> {
    let plan = |path: &PathBuf| StoragePlan::File(FilePlan::new(config, path));
    let names = (1..).map(|number: usize| number.to_string());
    names.zip(paths.iter().map(plan)).collect()
}

fn server_options(config: &config::Zeo) -> ServerOptions {
    ServerOptions {
        read_only: config.read_only,
        encoding: match config.encoding {
            config::Encoding::Pickle => Encoding::Pickle,
            config::Encoding::Msgpack => Encoding::Msgpack,
        },
        invalidations_max: config.invalidation_queue_size,
        invalidation_age: Some(Duration::from_secs(config.invalidation_age))
            .filter(|age| !age.is_zero()),
        transaction_timeout: Some(config.transaction_timeout.0).filter(|limit| !limit.is_zero()),
        connections_max: config.connections_max,
        tls: config.tls(),
        frame_bytes_max: config.frame_bytes_max,
        output_bytes_max: config.pending_bytes_max,
        transaction_bytes_max: config.transaction_bytes_max,
        blob_bytes_max: config.blob_bytes_max,
        ..ServerOptions::default()
    }
}
