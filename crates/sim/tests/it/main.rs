//! The suite over the storages that need no disk, and what only they can do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod demo;
mod overlaid;
mod remembered;

mod memory {
    use std::sync::Arc;

    use sim::World;
    use storage::MemoryStorage;

    fn make() -> World {
        World::new(Arc::new(MemoryStorage::new()))
    }

    sim::local_storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack yes }
}

/// Over a base in which nothing is, an overlay is a storage like others.
mod overlay {
    use std::sync::Arc;

    use sim::World;
    use storage::{MemoryStorage, OverlayStorage};

    fn make() -> World {
        let base = Arc::new(MemoryStorage::new());
        World::new(OverlayStorage::over(base).unwrap())
    }

    sim::local_storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack yes }
}
