//! ZConfig text to typed sections with positions.
//!
//! The files that configure a ZEO server are written in ZConfig's format. This crate reads it as ZConfig
//! 4.3 does, in two steps: [`Document`] is the text as a tree, with `%define`, `%include` and
//! substitutions done; [`Schema::check`] holds it against the sections and keys that there may be and
//! gives each value its type. Whatever is wrong is a [`ConfigError`] that names file and line.
//!
//! ```
//! use zconfig::{Document, schemas};
//!
//! let text = "\
//! <zeo>
//!   address localhost:8100
//! </zeo>
//! <mappingstorage 1/>
//! ";
//! let world = zconfig::Machine;
//! let document = Document::parse(text, "zeo.conf", &world)?;
//! let root = schemas::ZEO_SERVER.check(&document, &world)?;
//! let zeo = root.section("zeo").expect("the schema requires it");
//! assert_eq!(zeo.address("address").expect("required").to_string(), "localhost:8100");
//! assert_eq!(zeo.boolean("read-only"), Some(false));
//!
//! let wrong = text.replace("address", "adress");
//! let document = Document::parse(&wrong, "zeo.conf", &world)?;
//! let error = schemas::ZEO_SERVER.check(&document, &world).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "zeo.conf:2: <zeo> has no key \"adress\"; did you mean \"address\"?"
//! );
//! # Ok::<(), zconfig::ConfigError>(())
//! ```

mod address;
mod check;
mod datatype;
mod document;
mod error;
mod location;
mod log_format;
mod numbers;
mod parser;
mod schema;
pub mod schemas;
mod section;
mod substitute;
mod suggest;
mod words;
mod world;

pub use address::{InetAddress, SocketAddress};
pub use datatype::{Datatype, Value};
pub use document::{Document, Import, Item, Node, Pair};
pub use error::{ConfigError, Place};
pub use log_format::{Field, FieldValue, LogFormat};
pub use schema::{Child, Key, Package, Rule, Schema, SectionType, Slot};
pub use section::{Section, Setting};
pub use world::{Machine, World};

/// The largest file.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// How many bytes all values may have after substitution, and all files with what they include.
pub const TOTAL_BYTES_MAX: usize = 8 << 20;

/// The longest value after substitution.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// How deep sections may stand in each other.
pub const SECTION_DEPTH_MAX: usize = 32;

/// How deep files may include each other.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// How many files may be included.
pub const INCLUDES_MAX: usize = 256;
