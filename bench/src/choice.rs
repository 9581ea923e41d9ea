//! What the command line of a bench chooses: how much, where, and which rows.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use conformance::paths;

/// How much is measured: one of three, the largest first.
pub(crate) trait Scale: Copy + 'static {
    const ALL: [Self; 3];

    /// What people call it.
    fn name(self) -> &'static str;

    /// The one of that name.
    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|scale| scale.name() == name);
        let known = Self::ALL.map(Self::name).join(", ");
        found.with_context(|| format!("there is no size {name:?}; known are {known}"))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Choice<S> {
    pub(crate) size: S,
    pub(crate) directory: PathBuf,
    only: Option<String>,
}

impl<S: Scale> Choice<S> {
    /// Reads `[--size NAME] [--directory PATH] [--only ROW]`.
    pub(crate) fn parse(words: impl Iterator<Item = String>, rows: &[&str]) -> Result<Self> {
        Self::parse_with(words, rows, |_, _| false)
    }

    /// The same with flags of one bench: `other` takes a flag with its value, or says that it knows none
    /// such.
    pub(crate) fn parse_with(
        mut words: impl Iterator<Item = String>,
        rows: &[&str],
        mut other: impl FnMut(&str, &str) -> bool,
    ) -> Result<Self> {
        let mut choice = Self {
            size: S::ALL[0],
            directory: paths::target().join("bench"),
            only: None,
        };
        while let Some(flag) = words.next() {
            let value = words.next();
            let value = value.with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--size" => choice.size = S::named(&value)?,
                "--directory" => choice.directory = value.into(),
                "--only" if rows.contains(&value.as_str()) => choice.only = Some(value),
                "--only" => bail!("there is no row {value:?} among {rows:?}"),
                flag if other(flag, &value) => {}
                _ => bail!("unknown: {flag} {value}; `cargo xtask help` names what is known"),
            }
        }
        Ok(choice)
    }

    pub(crate) fn is_wanted(&self, row: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == row)
    }
}
