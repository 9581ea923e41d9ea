//! `zodiac zeo`: a Data.fs for ZEO clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use filestorage::{Compression, Durability, FileStorage};
use storage::Storage;
use tokio::sync::Notify;
use vfs::RealDisk;
use zeo_net::{Encoding, Server, ServerOptions};

use crate::cli::Zeo;
use crate::config::{self, Config};
use crate::logging;
use crate::merging::LoggedMerger;
use crate::shutdown::Shutdown;

/// Runs the storage server until it is told to stop.
pub(crate) fn run(arguments: &Zeo) -> Result<()> {
    let config = arguments.load()?;
    logging::start(&config.log, super::log_name(&arguments.common, "zeo"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::new(arguments.common.supervised)?;
        let poisoned = Arc::new(Notify::new());
        let storage = open(&config, &poisoned)?;
        let server = Server::bind(config.zeo.listen, options(&config.zeo)).with_context(|| {
            let address = config.zeo.listen;
            format!("cannot listen on {address}; is another server there, or the address not ours?")
        })?;
        let address = server
            .local_addr()
            .context("cannot tell the listener's address")?;
        tracing::info!(data = %config.zeo.data.display(), %address, "serving");
        super::report_listening(&arguments.common, "zeo", address);
        let mut failed = false;
        let stop = async {
            tokio::select! {
                reason = shutdown.ordered() => tracing::info!(reason, "the storage server stops"),
                () = poisoned.notified() => failed = true,
            }
        };
        let served = Arc::clone(&storage) as Arc<dyn Storage>;
        server
            .run(vec![(config.zeo.storage.clone(), served)], stop)
            .await?;
        storage.close()?;
        if failed {
            bail!(
                "a write to {} failed; start again when the disk is well",
                storage.name()
            );
        }
        Ok(())
    })
}

/// Opens the Data.fs. After a failed write only opening it again tells what the disk holds: whoever
/// is notified lets the process end, so that its supervisor starts it anew.
fn open(config: &Config, poisoned: &Arc<Notify>) -> Result<Arc<FileStorage>> {
    let Config {
        zeo: config,
        storage,
        ..
    } = config;
    let directory = config.data.parent().unwrap_or_else(|| Path::new(""));
    if !directory.as_os_str().is_empty() && !directory.is_dir() {
        bail!(
            "the directory of {} does not exist; make it, or correct the path",
            config.data.display()
        );
    }
    let configured = Some(storage.blob_dir.as_path()).filter(|path| !path.as_os_str().is_empty());
    let poisoned = Arc::clone(poisoned);
    let options = filestorage::Options {
        create: !config.read_only,
        read_only: config.read_only,
        compress: match storage.compress {
            config::Compression::None => Compression::None,
            config::Compression::Zlib => Compression::Zlib,
        },
        blob_dir: blob_directory(&config.data, configured)?,
        pack_gc: storage.pack_gc,
        pack_keep_old: storage.pack_keep_old,
        durability: match storage.durability {
            config::Durability::Strict => Durability::Strict,
            config::Durability::Compat => Durability::Compat,
            config::Durability::Async => Durability::Async {
                interval: storage.sync_interval.0,
            },
        },
        quota: Some(storage.quota).filter(|quota| *quota > 0),
        resolver: Some(Arc::new(LoggedMerger)),
        on_poison: Arc::new(move || poisoned.notify_one()),
        ..Default::default()
    };
    Ok(FileStorage::open(&config.data, options)?)
}

/// Where the blobs of that Data.fs are, if it has any.
fn blob_directory(data: &Path, configured: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(configured) = configured {
        return Ok(Some(configured.to_owned()));
    }
    Ok(fstools::blobs_beside(&RealDisk, data)?)
}

fn options(config: &config::Zeo) -> ServerOptions {
    ServerOptions {
        read_only: config.read_only,
        encoding: match config.encoding {
            config::Encoding::Pickle => Encoding::Pickle,
            config::Encoding::Msgpack => Encoding::Msgpack,
        },
        invalidations_max: config.invalidation_queue_size,
        transaction_timeout: Some(config.transaction_timeout.0).filter(|limit| !limit.is_zero()),
        connections_max: config.connections_max,
        frame_bytes_max: config.frame_bytes_max,
        output_bytes_max: config.pending_bytes_max,
        ..ServerOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_where_they_are_said_to_be_or_beside_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("Data.fs");
        assert_eq!(blob_directory(&data, None).unwrap(), None);
        let beside = folder.path().join("blobs");
        std::fs::create_dir(&beside).unwrap();
        assert_eq!(blob_directory(&data, None).unwrap(), Some(beside.clone()));
        std::fs::write(beside.join("notes.txt"), "").unwrap();
        assert_eq!(blob_directory(&data, None).unwrap(), None);
        let configured = Path::new("elsewhere");
        assert_eq!(
            blob_directory(&data, Some(configured)).unwrap().as_deref(),
            Some(configured)
        );
    }
}
