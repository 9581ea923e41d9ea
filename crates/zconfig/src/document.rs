//! The text as a tree, before anybody asks what it means.

use std::path::Path;

use crate::error::{ConfigError, Place};
use crate::location;
use crate::parser::Parser;
use crate::world::World;

/// A configuration's keys and sections in the order of the text, what it includes in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What stands outside of all sections.
    pub items: Vec<Item>,
    /// Where the text ends.
    pub end: Place,
}

/// A part of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `key value`
    Pair(Pair),
    /// `<type name>` ... `</type>`
    Section(Node),
    /// `%import package`
    Import(Import),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key as it is written.
    pub key: String,
    /// The value after substitution; empty where there is none.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its type, in lower case.
    pub kind: String,
    /// Its name, in lower case.
    pub name: Option<String>,
    /// What it holds.
    pub items: Vec<Item>,
    /// Where it begins.
    pub place: Place,
    /// Where it ends.
    pub end: Place,
}

/// The order to load the sections that a package of Python describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The package.
    pub package: String,
    /// Where it stands.
    pub place: Place,
}

impl Document {
    /// Reads the file that `name` is the path of, or its `file:` URL.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(name: &str, world: &dyn World) -> Result<Self, ConfigError> {
        let whole = Place {
            file: name.into(),
            line: 0,
        };
        let path = location::from_command_line(name)
            .map_err(|message| ConfigError::new(&whole, message))?;
        let mut parser = Parser::new(world);
        let text = parser.load(&path, &whole)?;
        parser.parse(&text, &path, name)
    }

    /// Reads a text; what it includes is looked for beside the file of that name.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn parse(text: &str, name: &str, world: &dyn World) -> Result<Self, ConfigError> {
        Parser::new(world).parse(text, Path::new(name), name)
    }
}
