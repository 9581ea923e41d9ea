//! `cargo xtask tidy`: the house rules that no other tool checks.

mod graph;
mod sources;

use crate::shell::root;

/// Checks all rules.
///
/// # Errors
/// When one is broken; each breach has been printed with its place.
pub(crate) fn run() -> Result<(), String> {
    let mut breaches = Breaches::default();
    let drawing = read("ARCHITECTURE.md")?;
    graph::check(&drawing, &mut breaches)?;
    sources::check(&mut breaches)?;
    breaches.report()
}

/// What is not as it should be.
#[derive(Debug, Default)]
struct Breaches {
    lines: Vec<String>,
}

impl Breaches {
    fn add(&mut self, place: &str, message: impl std::fmt::Display) {
        self.lines.push(format!("{place}: {message}"));
    }

    fn report(self) -> Result<(), String> {
        for line in &self.lines {
            eprintln!("{line}");
        }
        match self.lines.len() {
            0 => Ok(()),
            1 => Err("one breach of the house rules".to_owned()),
            count => Err(format!("{count} breaches of the house rules")),
        }
    }
}

/// A text file of the repository.
fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
}
