//! The stock content classes, and which Python class name each one answers to.
//!
//! [`registry`] teaches a [`publisher::Publisher`] what the instances of Zope's own classes are and
//! do: folders, files and images, DTML Methods and Documents, user folders, virtual hosts.
//! [`sample::create`] fills an empty database with a small site of them.

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
    for (name, stock) in Stock::ALL {
        registry.register(name, Arc::new(*stock));
    }
    registry.register(
        "Products.SiteAccess.VirtualHostMonster.VirtualHostMonster",
        Arc::new(virtual_hosts::VirtualHosts),
    );
    // It offers the variable SESSION, which nothing native reads.
    registry
        .register_passive_hook("Products.Sessions.SessionDataManager.SessionDataManagerTraverser");
    registry.set_absent_item(Arc::new(absent::Absent));
    registry
}
