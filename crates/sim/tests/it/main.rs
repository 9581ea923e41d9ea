//! The suite over the storage in memory.

use std::sync::Arc;

use sim::World;
use storage::MemoryStorage;

fn make() -> World {
    World::new(Arc::new(MemoryStorage::new()))
}

sim::local_storage_suite!(make);
