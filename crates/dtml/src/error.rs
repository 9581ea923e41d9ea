//! What can go wrong with a template, and where.

use std::fmt;

use crate::render::NamespaceError;

/// A template that cannot be parsed or rendered.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    location: Location,
}

/// Where in which template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The template's name.
    pub source: String,
    /// The line, from 1.
    pub line: usize,
    /// The tag as it stands there.
    pub tag: String,
}

/// What is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source breaks DTML's rules (`ParseError`).
    Parse(String),
    /// Zope could do this and we cannot yet. Answer 501, or hand the request to Python.
    NotSupported(String),
    /// A name is not in the namespace (`KeyError`).
    Undefined(String),
    /// A value does not suit a tag; Python raises an exception of this class.
    Raised {
        /// The Python class: `TypeError`, `ValueError`.
        class: &'static str,
        /// Its message.
        message: String,
    },
    /// The namespace failed.
    Namespace(NamespaceError),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, location: Location) -> Self {
        Self(Box::new(Inner { kind, location }))
    }

    /// What is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What is wrong, to take it apart.
    pub fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// Where.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// Whether Zope could have done it.
    pub fn is_not_supported(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NotSupported(_))
    }

    /// The class of the exception that DocumentTemplate raises; `None` where it raises none or the
    /// namespace knows better.
    pub fn python_class(&self) -> Option<&'static str> {
        match &self.0.kind {
            ErrorKind::Parse(_) => Some("ParseError"),
            ErrorKind::Undefined(_) => Some("KeyError"),
            ErrorKind::Raised { class, .. } => Some(class),
            ErrorKind::NotSupported(_) | ErrorKind::Namespace(_) => None,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(message) => f.write_str(message),
            Self::NotSupported(what) => write!(f, "not supported yet: {what}"),
            Self::Undefined(name) => write!(f, "the name {name:?} is not defined"),
            Self::Raised { class, message } => write!(f, "{class}: {message}"),
            Self::Namespace(cause) => cause.fmt(f),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { source, line, tag } = self.location();
        write!(
            f,
            "{}, for tag {tag}, on line {line} of {source}",
            self.kind()
        )
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Namespace(cause) => Some(&**cause),
            _ => None,
        }
    }
}
