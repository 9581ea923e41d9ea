//! Python pickles to inert values and back, byte for byte.
//!
//! A pickle is a program for a small stack machine. This crate runs such programs (protocols 0 to 5) without ever
//! executing what they ask for: a class stays a name, an instance stays "this class, these arguments, this state".
//! The result is an arena of nodes, [`Pickles`], looked at through [`Value`]. Sharing and cycles are kept, so
//! [`Pickles::encode`] can write the bytes that ZODB's own pickler (protocol 3) writes.
//!
//! ```
//! use pickle::{Kind, Pickles};
//!
//! // A ZODB record is two pickles that share one memo: the class, then the state.
//! let mut record = Pickles::new();
//! let class = record.global("OFS.Folder", "Folder");
//! let title = record.str("Front page");
//! let state = record.dict(Vec::new());
//! record.dict_set(state, "title", title);
//! record.push_root(class);
//! record.push_root(state);
//!
//! let bytes = record.encode();
//! let record = Pickles::decode(&bytes)?;
//! let state = record.root(1).expect("two roots were written");
//! assert_eq!(state.get("title").and_then(|title| title.as_str()), Some("Front page"));
//! assert!(matches!(state.kind(), Kind::Dict(_)));
//! assert_eq!(record.encode(), bytes);
//! # Ok::<(), pickle::UnpickleError>(())
//! ```

mod build;
mod compressed;
mod copy;
mod decode;
mod display;
mod encode;
mod error;
mod input;
mod integer;
mod limits;
mod literal;
mod memo;
mod node;
mod opcode;
mod pickles;
mod scan;
mod text;
mod value;
mod write;

pub use compressed::{InflateError, Inflater, compressed, is_compressed, uncompressed};
pub use encode::EncodeOptions;
pub use error::{EncodeError, Reason, UnpickleError};
pub use limits::{
    ENCODED_BYTES_MAX, INPUT_BYTES_MAX, LONG_BYTES_MAX, LONG_DIGITS_MAX, Limits, MARK_DEPTH_MAX,
    MEMO_ENTRIES_MAX, NODES_MAX, STACK_DEPTH_MAX,
};
pub use node::{Construction, NodeId};
pub use pickles::Pickles;
pub use scan::{Part, Parts, Scanner};
pub use value::{Elements, Entries, Instance, Kind, Value};
pub use write::Writer;
