//! What a storage server is to do, from whichever configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use zconfig::Machine;
use zeo_net::{Encoding, ListenAddress, ServerOptions};

use super::{conf, container, storages};
use crate::cli::Zeo;
use crate::config::also_serve::AlsoServe;
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
    /// Where those ask who watch.
    pub(super) metrics: Option<SocketAddr>,
    /// How long a disk may take for a sync until it counts as stuck.
    pub(super) sync_patience: Option<Duration>,
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
    /// A Data.fs with blobs that is gone when the server ends.
    Temporary,
    Overlay {
        base: Box<Self>,
        changes: Box<Self>,
    },
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
        let mut files = vec![file];
        for storage in &config.zeo.also_serve {
            let file = FilePlan::beside(&files, config, storage)?;
            files.push(file);
        }
        let names = config.zeo.also_serve.iter().map(|storage| &storage.name);
        let names = std::iter::once(&config.zeo.storage).chain(names).cloned();
        let named = names.zip(files.into_iter().map(StoragePlan::File));
        Ok(Self {
            listen: Listen {
                addresses,
                is_anywhere: false,
            },
            server: server_options(&config.zeo),
            storages: named.collect(),
            merges: !config.zeo.client_conflict_resolution,
            pid_file: Some(config.zeo.pid_file.clone()).filter(|path| !path.as_os_str().is_empty()),
            metrics: config.zeo.metrics.0,
            sync_patience: Some(config.zeo.sync_patience.0).filter(|time| !time.is_zero()),
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

impl FilePlan {
    /// One of several storages.
    fn beside(others: &[Self], config: &Config, storage: &AlsoServe) -> Result<Self> {
        let mut config = config.clone();
        let shared = &mut config.storage;
        shared.compress = storage.compress.unwrap_or(shared.compress);
        shared.pack_gc = storage.pack_gc.unwrap_or(shared.pack_gc);
        shared.pack_keep_old = storage.pack_keep_old.unwrap_or(shared.pack_keep_old);
        shared.durability = storage.durability.unwrap_or(shared.durability);
        shared.quota = storage.quota.unwrap_or(shared.quota);
        let mut plan = Self::new(&config, &storage.data);
        plan.read_only = storage.read_only || config.zeo.read_only;
        // A pack would take away what another storage has there.
        let is_taken = |directory: &PathBuf| {
            let taken = others.iter().filter_map(|other| other.blob_dir.as_ref());
            taken.clone().any(|taken| same_place(taken, directory))
        };
        plan.blob_dir = match &storage.blob_dir {
            None => storages::blob_directory(&storage.data, None)?
                .filter(|directory| !is_taken(directory)),
            Some(named) if named.as_os_str().is_empty() => None,
            Some(named) if is_taken(named) => {
                let (name, directory) = (&storage.name, named.display());
                bail!("zeo.also-serve: {directory}, the blob-dir of {name}, is another storage's");
            }
            Some(named) => Some(named.clone()),
        };
        Ok(plan)
    }
}

impl StoragePlan {
    /// All files below it.
    pub(super) fn files(&self) -> Vec<&FilePlan> {
        match self {
            Self::File(file) => vec![file],
            Self::Memory | Self::Temporary => Vec::new(),
            Self::Overlay { base, changes } => [base.files(), changes.files()].concat(),
        }
    }
}

/// A directory in which one of these files would have its blobs beside those of another. Who only reads does
/// no harm there.
pub(super) fn shared_blobs<'a>(files: &[&'a FilePlan]) -> Option<&'a Path> {
    files.iter().enumerate().find_map(|(place, file)| {
        let directory = file.blob_dir.as_deref()?;
        let is_shared = files[..place].iter().any(|other| {
            let theirs = other.blob_dir.as_deref();
            let is_safe = file.read_only && other.read_only;
            !is_safe && theirs.is_some_and(|theirs| same_place(theirs, directory))
        });
        is_shared.then_some(directory)
    })
}

fn same_place(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    one == other || matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
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
        slow_request: Some(config.slow_request.0).filter(|time| !time.is_zero()),
        ..ServerOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storages_share_settings_and_never_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        std::fs::create_dir(folder.path().join("blobs")).unwrap();
        let plan = |more: &str| {
            let text = format!(
                "[storage]\npack-gc = false\n[zeo]\ndata = '{place}/Data.fs'\n\
                 [[zeo.also-serve]]\nname = 'catalog'\ndata = '{place}/Catalog.fs'\n{more}"
            );
            let config: Config = toml::from_str(&text).unwrap();
            Plan::from_config(&config)
        };
        let files = |plan: Plan| -> Vec<FilePlan> {
            let files = plan.storages.into_iter().map(|(_, storage)| match storage {
                StoragePlan::File(file) => file,
                other => panic!("{other:?}"),
            });
            files.collect()
        };
        let blobs = Some(folder.path().join("blobs"));
        let found = plan("pack-keep-old = false\nquota = 5").unwrap();
        let names: Vec<_> = found
            .storages
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        assert_eq!(names, ["1", "catalog"]);
        let found = files(found);
        assert_eq!((&found[0].blob_dir, found[0].quota), (&blobs, None));
        assert_eq!((&found[1].blob_dir, found[1].quota), (&None, Some(5)));
        assert!(found[0].pack_keep_old && !found[1].pack_keep_old);
        assert!(!found[0].pack_gc && !found[1].pack_gc);

        let own = files(plan(&format!("blob-dir = '{place}/other'")).unwrap());
        assert_eq!(own[1].blob_dir, Some(folder.path().join("other")));
        let refused = plan(&format!("blob-dir = '{place}/./blobs'")).unwrap_err();
        assert!(
            refused.to_string().contains("another storage's"),
            "{refused}"
        );
    }
}
