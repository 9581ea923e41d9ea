//! The BTrees family: reading and changing trees, merging changes that were made side by side.
//!
//! [`Tree`] reads a BTree, TreeSet, Bucket or Set where it lies and loads no more than is asked for.
//! [`TreeMut`] changes one, and writes the records that the C extensions write: nodes are split at the
//! same places, and the same ones are written. [`check`] looks for damage. [`Length`] is the counter
//! that goes with them. Trees are put together by [`Tree::union`] and its likes.
//!
//! Two transactions that changed different keys of one bucket need not be a conflict: the classes of the
//! family, and the counter, have rules that put both changes into one state. The
//! originals run them as methods of the classes (`_p_resolveConflict`); here they work on the records,
//! and write the same bytes. [`Merger`] is what a storage is given for that.
//!
//! Keys and values may be any objects. What Python's built-in types compare is compared here; what
//! would run code of other classes is left to those who have it ([`Unmerged::Unknown`]).
//!
//! ```
//! use btrees::{Unmerged, merge};
//!
//! let length = |value: i64| {
//!     let mut record = pickle::Pickles::new();
//!     let class = record.global("BTrees.Length", "Length");
//!     let state = record.int(value);
//!     record.push_root(class);
//!     record.push_root(state);
//!     record.encode()
//! };
//! // Both began at 10; one counted to 15, the other to 7.
//! assert_eq!(merge(&length(10), &length(15), &length(7)), Ok(length(12)));
//! # Ok::<(), Unmerged>(())
//! ```

mod bucket;
mod check;
mod class;
mod compare;
mod counter;
mod error;
mod family;
mod length;
mod live;
mod merge;
mod merger;
mod node;
mod number;
mod probe;
mod python;
mod range;
mod reference;
mod refusal;
mod sets;
mod tree;
mod unify;

pub use check::{Flaw, check};
pub use counter::Length;
pub use error::TreeError;
pub use family::{Shape, Sizes, class_name};
pub use live::TreeMut;
pub use merger::{Merger, RECORD_BYTES_MAX, merge};
pub use range::{Entry, Range};
pub use refusal::{Refusal, Unmerged};
pub use sets::{Selection, Union, Weighted};
pub use tree::Tree;
