//! The stock content classes, and which Python class name each one answers to.
//!
//! [`registry`] teaches a [`publisher::Publisher`] what the instances of Zope's own classes are and
//! do: folders, files and images, DTML Methods and Documents, user folders, virtual hosts.
//! [`sample::create`] fills an empty database with a small site of them.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use publisher::{Publisher, PublisherOptions, Request};
//! use storage::MemoryStorage;
//! use zodb::{Database, DatabaseOptions};
//!
//! let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
//! ofs::sample::create(&database, ("admin", "a password"))?;
//!
//! let options = PublisherOptions::new(|| Duration::from_secs(1_700_000_000), |_pause| {});
//! let publisher = Publisher::new(database, ofs::registry(), options);
//! let response = publisher.publish(&Request {
//!     method: "GET".to_owned(),
//!     scheme: "http".to_owned(),
//!     host: "localhost".to_owned(),
//!     path: "/news/first-light/title_or_id".to_owned(),
//!     ..Request::default()
//! });
//! assert_eq!(response.status, 200);
//! # Ok::<(), ofs::sample::SampleError>(())
//! ```

mod absent;
mod content_type;
mod dav;
mod edit;
mod file;
mod image;
mod item;
mod members;
mod names;
mod page;
mod pdata;
mod range;
mod request_names;
pub mod sample;
mod source;
mod state;
mod stock;
mod user_folder;
mod virtual_hosts;

use std::sync::Arc;

use publisher::ClassRegistry;

use crate::stock::Stock;

/// All classes that are published natively.
pub fn registry() -> ClassRegistry {
    let mut registry = ClassRegistry::new();
    for (module, name, stock) in Stock::ALL {
        registry.register(module, name, Arc::new(*stock));
    }
    registry.register(
        "Products.SiteAccess.VirtualHostMonster",
        "VirtualHostMonster",
        Arc::new(virtual_hosts::VirtualHosts),
    );
    // It offers the variable SESSION, which nothing native reads.
    registry
        .register_passive_hook("Products.Sessions.SessionDataManager.SessionDataManagerTraverser");
    registry.set_absent_item(Arc::new(absent::Absent));
    registry
}
