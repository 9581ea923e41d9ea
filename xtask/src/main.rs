//! Automation of this repository: `cargo xtask`.

fn main() {}
