//! What every storage promises, over the wire.

use std::sync::Arc;

use filestorage::{FileStorage, Options};
use sim::World;
use storage::{MemoryStorage, OverlayStorage, Storage};
use zeo_net::{Encoding, ServerOptions};

use crate::world::{TestServer, any_port};

fn served(storage: Arc<dyn Storage>, encoding: Encoding, kept: impl std::any::Any) -> World {
    let options = ServerOptions {
        encoding,
        ..ServerOptions::default()
    };
    let server = TestServer::start_with(storage, any_port(), options);
    World::with(server.client(), (server, kept))
}

mod memory_in_pickles {
    fn make() -> sim::World {
        let storage = super::Arc::new(super::MemoryStorage::new());
        super::served(storage, super::Encoding::Pickle, ())
    }
    sim::storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack far }
}

mod memory_in_msgpack {
    fn make() -> sim::World {
        let storage = super::Arc::new(super::MemoryStorage::new());
        super::served(storage, super::Encoding::Msgpack, ())
    }
    sim::storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack far }
}

mod cached_on_disk {
    fn make() -> sim::World {
        let folder = tempfile::tempdir().unwrap();
        let server = super::TestServer::start(super::Arc::new(super::MemoryStorage::new()));
        let options = zeo_net::ClientOptions {
            // Next to nothing in memory.
            cache_bytes: 64 << 10,
            disk_cache: Some(zeo_net::DiskCache {
                directory: folder.path().join("cache"),
                bytes_max: 4 << 20,
            }),
            ..crate::world::options(server.address)
        };
        let client = zeo_net::ZeoStorage::connect(options).unwrap();
        sim::World::with(client, (server, folder))
    }
    sim::storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack far }
}

mod file {
    fn make() -> sim::World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs");
        let storage = super::FileStorage::open(path, super::Options::default()).unwrap();
        super::served(storage, super::Encoding::Pickle, folder)
    }
    sim::storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack far }
}

mod overlay {
    fn make() -> sim::World {
        let base = super::Arc::new(super::MemoryStorage::new());
        let storage = super::OverlayStorage::over(base).unwrap();
        super::served(storage, super::Encoding::Pickle, ())
    }
    sim::storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack far }
}
