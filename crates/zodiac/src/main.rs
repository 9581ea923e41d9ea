//! The one binary: all roles of a cluster, their configuration, signals, logging and supervision.

fn main() {}
