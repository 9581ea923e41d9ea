//! What the fuzz targets do with bytes.
//!
//! Foreign bytes may be refused; they never bring a program down, and what was accepted once stays
//! accepted. Each target is a function that panics where that is broken. `fuzz/`, which is outside of
//! the workspace, gives them to libFuzzer; the tests of this crate replay the corpus in
//! `fuzz/corpus/`, and try some thousand changed copies of it in passing.
//!
//! ```
//! for (_name, target) in fuzzing::TARGETS {
//!     target(b"anything");
//! }
//! ```

mod data_fs;
mod index;
mod merge;
mod pickles;
mod world;
mod zconfig_text;
mod zeo_peer;

pub use data_fs::data_fs;
pub use index::{checkpoint, index};
pub use merge::merge;
pub use pickles::pickle;
pub use zconfig_text::zconfig;
pub use zeo_peer::{zeo_connection, zeo_frames, zeo_msgpack, zeo_pickle, zeo_session};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets, by the names of their folders in the corpus.
pub const TARGETS: [(&str, Target); 11] = [
    ("data_fs", data_fs),
    ("index", index),
    ("checkpoint", checkpoint),
    ("pickle", pickle),
    ("zconfig", zconfig),
    ("merge", merge),
    ("zeo_frames", zeo_frames),
    ("zeo_pickle", zeo_pickle),
    ("zeo_msgpack", zeo_msgpack),
    ("zeo_connection", zeo_connection),
    ("zeo_session", zeo_session),
];
