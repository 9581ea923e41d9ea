//! How much of a foreign pickle we are willing to hold.

/// Input longer than this is refused, whatever [`Limits::input_bytes`] says: offsets are 32 bits wide, and text in
/// escaped form may double when it is unescaped.
pub const INPUT_BYTES_MAX: usize = 1 << 30;
/// Most nodes one [`Pickles`](crate::Pickles) may be decoded to; a node takes 16 bytes.
pub const NODES_MAX: usize = 1 << 24;
/// Most values on the decoder's stack at a time.
pub const STACK_DEPTH_MAX: usize = 1 << 24;
/// Most MARKs open at a time. Python's own pickler cannot nest deeper than its recursion limit, some 1,000.
pub const MARK_DEPTH_MAX: usize = 100_000;
/// Most memo slots in use.
pub const MEMO_ENTRIES_MAX: usize = 1 << 24;
/// Longest integer in LONG1 and LONG4.
pub const LONG_BYTES_MAX: usize = 1 << 20;
/// Longest integer written in decimal digits; Python refuses longer ones too, since reading them takes quadratic time.
pub const LONG_DIGITS_MAX: usize = 4_300;
/// Longest output of an encoder with options, unless they say otherwise.
pub const ENCODED_BYTES_MAX: usize = 1 << 30;

/// Limits for one decoding; the default suits records and messages of a ZODB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest input, at most [`INPUT_BYTES_MAX`].
    pub input_bytes: usize,
    /// Most nodes, at most [`NODES_MAX`].
    pub nodes: usize,
    /// Most values on the stack.
    pub stack_depth: usize,
    /// Most MARKs open at a time.
    pub mark_depth: usize,
    /// Most memo slots in use.
    pub memo_entries: usize,
    /// Longest binary integer in bytes.
    pub long_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            input_bytes: INPUT_BYTES_MAX,
            nodes: NODES_MAX,
            stack_depth: STACK_DEPTH_MAX,
            mark_depth: MARK_DEPTH_MAX,
            memo_entries: MEMO_ENTRIES_MAX,
            long_bytes: LONG_BYTES_MAX,
        }
    }
}
