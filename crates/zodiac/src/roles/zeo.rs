//! `zodiac zeo`: a Data.fs for ZEO clients.

use std::sync::Arc;

use anyhow::{Context, Result};
use filestorage::FileStorage;
use storage::Storage;
use zeo_net::{Encoding, Server, ServerOptions};

use crate::cli::Zeo;
use crate::config;
use crate::logging;
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
        let storage = open(&config.zeo)?;
        let server = Server::bind(config.zeo.listen, options(&config.zeo))
            .with_context(|| format!("cannot serve on {}", config.zeo.listen))?;
        let address = server
            .local_addr()
            .context("cannot tell the listener's address")?;
        tracing::info!(data = %config.zeo.data.display(), %address, "serving");
        super::report_listening(&arguments.common, "zeo", address);
        let stop = async {
            tracing::info!(
                reason = shutdown.ordered().await,
                "the storage server stops"
            );
        };
        let served = Arc::clone(&storage) as Arc<dyn Storage>;
        server
            .run(vec![(config.zeo.storage.clone(), served)], stop)
            .await?;
        storage.close()?;
        Ok(())
    })
}

fn open(config: &config::Zeo) -> Result<Arc<FileStorage>> {
    let options = filestorage::Options {
        create: !config.read_only,
        read_only: config.read_only,
        ..Default::default()
    };
    Ok(FileStorage::open(&config.data, options)?)
}

fn options(config: &config::Zeo) -> ServerOptions {
    ServerOptions {
        read_only: config.read_only,
        encoding: match config.encoding {
            config::Encoding::Pickle => Encoding::Pickle,
            config::Encoding::Msgpack => Encoding::Msgpack,
        },
        invalidations_max: config.invalidation_queue_size,
        connections_max: config.connections_max,
        frame_bytes_max: config.frame_bytes_max,
        output_bytes_max: config.pending_bytes_max,
        ..ServerOptions::default()
    }
}
