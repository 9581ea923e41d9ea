//! Parsed templates.

use std::ops::Range;

use crate::render::{self, Namespace};
use crate::var::Var;
use crate::{Error, Location, parser};

/// A parsed template. Immutable, so it can be shared between threads and rendered many times.
#[derive(Clone, Debug)]
pub struct Template {
    pub(crate) source: String,
    pub(crate) name: String,
    pub(crate) encoding: Encoding,
    pub(crate) blocks: Vec<Block>,
}

/// What bytes that meet text are decoded from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// What new templates have.
    #[default]
    Utf8,
    /// What templates without an `encoding` of their own have, from before Zope 4.
    Latin1,
}

/// What rendering gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Text, the usual case.
    Text(String),
    /// Bytes: the template was nothing but one value, and that was bytes.
    Bytes(Vec<u8>),
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    Text(Range<usize>),
    Var(Var),
    If(If),
}

/// `if`, and `unless`, which is an `if` with an empty first branch.
#[derive(Clone, Debug)]
pub(crate) struct If {
    pub(crate) branches: Vec<Branch>,
    pub(crate) otherwise: Vec<Block>,
}

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) at: Range<usize>,
    pub(crate) blocks: Vec<Block>,
}

impl Template {
    /// Parses a source. `name` is the template's, for messages.
    ///
    /// # Errors
    /// [`ErrorKind::Parse`](crate::ErrorKind::Parse) for what DocumentTemplate refuses too, and
    /// [`ErrorKind::NotSupported`](crate::ErrorKind::NotSupported) for what only we refuse.
    pub fn parse(source: impl Into<String>, name: impl Into<String>) -> Result<Self, Error> {
        Self::parse_encoded(source, name, Encoding::default())
    }

    /// Parses a source whose bytes values are in this encoding.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_encoded(
        source: impl Into<String>,
        name: impl Into<String>,
        encoding: Encoding,
    ) -> Result<Self, Error> {
        let (source, name) = (source.into(), name.into());
        let blocks = parser::parse(&source, &name)?;
        Ok(Self {
            source,
            name,
            encoding,
            blocks,
        })
    }

    /// The template's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders it with the names of this namespace.
    ///
    /// # Errors
    /// Whatever the namespace fails with, undefined names, and values that do not suit a tag.
    pub fn render(&self, namespace: &mut dyn Namespace) -> Result<Output, Error> {
        render::render(self, namespace)
    }

    pub(crate) fn location(&self, at: &Range<usize>) -> Location {
        locate(&self.source, &self.name, at)
    }
}

pub(crate) fn locate(source: &str, name: &str, at: &Range<usize>) -> Location {
    let before = &source.as_bytes()[..at.start];
    let tag = &source[at.clone()];
    Location {
        source: name.to_owned(),
        line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
        tag: tag.chars().take(TAG_CHARS_MAX).collect(),
    }
}

/// How much of a tag a message shows.
const TAG_CHARS_MAX: usize = 200;
