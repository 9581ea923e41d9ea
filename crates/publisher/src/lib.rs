//! One request: traversal, form values, call, response, transaction and retry.
//!
//! A [`Publisher`] answers [`Request`]s with the objects of a database, by the rules of Zope's
//! `ZPublisher`. It knows no class of its own: what the instances of a Python class are and do is
//! said by a [`Class`] in the [`ClassRegistry`]. Whatever is not known (a class, a traversal hook, a
//! user folder, a form converter) is answered with `501 Not Implemented`, and never as if it were
//! not there.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use publisher::{ClassRegistry, Publisher, PublisherOptions, Request};
//! use storage::MemoryStorage;
//! use zodb::{Database, DatabaseOptions};
//!
//! let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
//! let options = PublisherOptions::new(|| Duration::from_secs(1_700_000_000), |_pause| {});
//! let publisher = Publisher::new(database, ClassRegistry::new(), options);
//!
//! let request = Request {
//!     method: "GET".to_owned(),
//!     path: "/".to_owned(),
//!     ..Request::default()
//! };
//! // An empty database has no root object.
//! assert_eq!(publisher.publish(&request).status, 500);
//! ```

mod access;
mod acquisition;
mod budget;
mod call;
mod class;
mod error;
mod error_reply;
mod form;
mod hooks;
mod page;
mod publisher;
mod reply;
mod request;
mod response;
mod traversal;
mod url;
mod urls;

pub use access::{Login, roles_required};
pub use acquisition::{Attribute, DataKind, Placed, World};
pub use budget::{Budget, DEPTH_MAX, LOOKUPS_MAX, RENDERED_BYTES_MAX, RENDERS_MAX, STACK_BYTES};
pub use call::Call;
pub use class::{AbsentItem, Class, ClassRegistry, Member, Publish, Requirement, UserFolder};
pub use error::PublishError;
pub use form::{FORM_BYTES_MAX, FORM_FIELDS_MAX, Field, Form};
pub use publisher::{Publisher, PublisherOptions};
pub use reply::{Answer, Reply};
pub use request::Request;
pub use response::{Body, Response};
pub use traversal::{Target, Traversal};
pub use url::{escape_html, quote};
pub use urls::Urls;
