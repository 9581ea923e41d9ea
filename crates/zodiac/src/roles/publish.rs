//! `zodiac publish`: a ZEO client that answers HTTP requests from the site's objects.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use publisher::{Publisher, PublisherOptions, Request, Response};
use storage::Storage;
use zeo_net::{BlobOptions, ClientOptions, DiskCache, ZeoStorage};
use zodb::{Database, DatabaseOptions};

use crate::cli::Publish;
use crate::config;
use crate::shutdown::Shutdown;
use crate::{clock, logging};

/// Runs a publisher until it is told to stop.
pub(crate) fn run(arguments: &Publish) -> Result<()> {
    let config = arguments.load()?;
    let name = super::log_name(&arguments.common, "publish");
    logging::start(&config.log, name)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::new(arguments.common.supervised)?.ordered();
        tokio::pin!(shutdown);
        let server = httpd::Server::bind(config.publish.listen, http_options(&config.publish)?)?;
        let storage = tokio::select! {
            storage = connect(client_options(&config.publish, name)) => storage?,
            reason = &mut shutdown => {
                tracing::info!(reason, "the publisher stops");
                return Ok(());
            }
        };
        let publisher = Arc::new(Site(site(storage, &config.publish)));
        super::report_listening(&arguments.common, "publish", server.local_addr());
        let stop = async {
            let reason = shutdown.await;
            tracing::info!(reason, "the publisher stops");
        };
        server.run(publisher, stop).await;
        Ok(())
    });
    // An attempt to connect may still wait on a thread of its own; nobody wants its outcome.
    runtime.shutdown_background();
    outcome
}

/// Connects to the storage server, however long it takes until there is one.
async fn connect(options: ClientOptions) -> Result<Arc<ZeoStorage>> {
    loop {
        let attempt = options.clone();
        match tokio::task::spawn_blocking(move || ZeoStorage::connect(attempt)).await? {
            Ok(storage) => return Ok(storage),
            Err(error) if error.severity() == storage::Severity::Retry => {
                tracing::warn!(%error, servers = ?options.servers, "still waiting for a storage server");
            }
            Err(error) => return Err(error).context("cannot use the storage server"),
        }
    }
}

fn site(storage: Arc<ZeoStorage>, config: &config::Publish) -> Publisher {
    let options = DatabaseOptions {
        cache_bytes: config.object_cache_bytes,
        ..Default::default()
    };
    let database = Database::new(storage as Arc<dyn Storage>, options);
    let options = PublisherOptions {
        retries_max: config.conflict_retries,
        realm: config.realm.clone(),
        server_sync: config.server_sync,
        ..PublisherOptions::new(clock::since_1970, clock::pause)
    };
    Publisher::new(database, ofs::registry(), options)
}

/// What the listener asks for pages.
struct Site(Publisher);

impl httpd::Publish for Site {
    fn publish(&self, request: &Request) -> Response {
        self.0.publish(request)
    }
}

fn http_options(config: &config::Publish) -> Result<httpd::Options> {
    Ok(httpd::Options {
        workers: NonZeroUsize::new(config.workers.0).context("publish.workers is zero")?,
        waiting_max: config.queue_max,
        body_bytes_max: config.body_bytes_max,
        trusted_peers: config.trusted_proxies.clone(),
        ..httpd::Options::default()
    })
}

fn client_options(config: &config::Publish, label: &str) -> ClientOptions {
    ClientOptions {
        servers: config.zeo.iter().map(|server| server.0.clone()).collect(),
        storage: config.storage.clone(),
        wait: config.storage_wait.0,
        read_only_fallback: config.read_only_fallback,
        cache_bytes: config.record_cache_bytes,
        disk_cache: disk_cache(config),
        blobs: blobs(config),
        label: Some(label.to_owned()),
        tls: config.tls(),
        ..ClientOptions::default()
    }
}

/// Publishers of one configuration differ in their ports.
fn disk_cache(config: &config::Publish) -> Option<DiskCache> {
    is_named(&config.disk_cache).then(|| DiskCache {
        directory: config
            .disk_cache
            .join(format!("publish-{}", config.listen.port())),
        bytes_max: config.disk_cache_bytes,
    })
}

fn blobs(config: &config::Publish) -> Option<BlobOptions> {
    let directory = &config.blob_dir;
    is_named(directory).then(|| {
        if config.blob_dir_shared {
            return BlobOptions::shared(directory);
        }
        BlobOptions {
            bytes_max: Some(config.blob_cache_bytes).filter(|bytes| *bytes > 0),
            ..BlobOptions::cache(directory)
        }
    })
}

fn is_named(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn caches_are_where_the_configuration_names_them() {
        let config = config::Publish::default();
        let options = client_options(&config, "one");
        assert_eq!((options.disk_cache, options.blobs), (None, None));
        assert!(!options.read_only_fallback);

        let config = config::Publish {
            read_only_fallback: true,
            disk_cache: "cache".into(),
            disk_cache_bytes: 7,
            blob_dir: "blobs".into(),
            blob_cache_bytes: 8,
            ..config
        };
        let options = client_options(&config, "one");
        assert!(options.read_only_fallback);
        let cache = options.disk_cache.unwrap();
        assert_eq!(cache.directory, PathBuf::from("cache/publish-8081"));
        assert_eq!(cache.bytes_max, 7);
        let blobs = options.blobs.unwrap();
        assert_eq!((blobs.is_shared, blobs.bytes_max), (false, Some(8)));

        let config = config::Publish {
            blob_dir_shared: true,
            ..config
        };
        assert!(client_options(&config, "one").blobs.unwrap().is_shared);
    }
}
