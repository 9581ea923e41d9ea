//! Frames recorded from genuine ZEO.
