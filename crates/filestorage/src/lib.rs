//! Data.fs: format, index, iteration, recovery.
