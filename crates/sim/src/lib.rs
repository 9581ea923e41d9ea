//! A simulated world and the suites that every storage passes.
