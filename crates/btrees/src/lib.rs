//! The BTrees family: merging changes that were made side by side.
//!
//! Two transactions that changed different keys of one bucket need not be a conflict: the classes of the
//! family, and the counter that goes with them, have rules that put both changes into one state. The
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
mod class;
mod compare;
mod family;
mod length;
mod merge;
mod merger;
mod number;
mod reference;
mod refusal;
mod unify;

pub use merger::{Merger, RECORD_BYTES_MAX, merge};
pub use refusal::{Refusal, Unmerged};
