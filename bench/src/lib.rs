//! Timings, side by side with the Python originals.
