//! Lines to a tree.
//!
//! A line is, after white space was taken off at both ends: empty, a comment (`#`), the begin of a
//! section (`<type name>`, or whole `<type name/>`), its end (`</type>`), a directive (`%define`,
//! `%import`, `%include`), or a key and its value. No line continues another one. Types, names of
//! sections and of defines are lower case, whatever is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::document::{Document, Import, Item, Node, Pair};
use crate::error::{ConfigError, Place};
use crate::location;
use crate::substitute::substitute;
use crate::words::{is_name, is_space, split_word};
use crate::world::World;
use crate::{FILE_BYTES_MAX, INCLUDE_DEPTH_MAX, INCLUDES_MAX, SECTION_DEPTH_MAX, TOTAL_BYTES_MAX};

/// What is known across files.
pub(crate) struct Parser<'a> {
    world: &'a dyn World,
    defines: BTreeMap<String, String>,
    include_depth: usize,
    includes: usize,
    /// Sections that are open in the files that include the present one.
    outer_depth: usize,
    bytes: usize,
}

/// What is known of one file.
struct Source<'a> {
    path: &'a Path,
    file: Arc<str>,
    line: usize,
    /// The sections that are open, the outermost first.
    open: Vec<Node>,
    items: Vec<Item>,
}

impl Source<'_> {
    fn place(&self) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: self.line,
        }
    }

    fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.place(), message)
    }

    fn push(&mut self, item: Item) {
        match self.open.last_mut() {
            Some(section) => section.items.push(item),
            None => self.items.push(item),
        }
    }
}

impl<'a> Parser<'a> {
    pub(crate) fn new(world: &'a dyn World) -> Self {
        Self {
            world,
            defines: BTreeMap::new(),
            include_depth: 0,
            includes: 0,
            outer_depth: 0,
            bytes: 0,
        }
    }

    /// The text of a file; `asked` is who wants it.
    pub(crate) fn load(&self, path: &Path, asked: &Place) -> Result<String, ConfigError> {
        let shown = path.display();
        let bytes = self
            .world
            .read(path, FILE_BYTES_MAX + 1)
            .map_err(|error| ConfigError::new(asked, format!("cannot read {shown}: {error}")))?;
        if bytes.len() > FILE_BYTES_MAX {
            let message = format!("{shown} is longer than {FILE_BYTES_MAX} bytes");
            return Err(ConfigError::new(asked, message));
        }
        String::from_utf8(bytes)
            .map_err(|_| ConfigError::new(asked, format!("{shown} is not UTF-8")))
    }

    pub(crate) fn parse(
        &mut self,
        text: &str,
        path: &Path,
        name: &str,
    ) -> Result<Document, ConfigError> {
        let mut source = Source {
            path,
            file: name.into(),
            line: 0,
            open: Vec::new(),
            items: Vec::new(),
        };
        if text.starts_with('\u{feff}') {
            source.line = 1;
            return Err(source.error("the file begins with a byte order mark; save it without"));
        }
        self.count(text.len(), &source)?;
        for line in text.split('\n') {
            source.line += 1;
            self.line(line.trim_matches(is_space), &mut source)?;
        }
        if let Some(section) = source.open.last() {
            let message = format!("<{}> is not closed", section.kind);
            return Err(ConfigError::new(&section.place, message));
        }
        Ok(Document {
            end: source.place(),
            items: source.items,
        })
    }

    fn line(&mut self, line: &str, source: &mut Source<'_>) -> Result<(), ConfigError> {
        if line.is_empty() || line.starts_with('#') {
            Ok(())
        } else if let Some(rest) = line.strip_prefix("</") {
            end_section(rest, source)
        } else if let Some(rest) = line.strip_prefix('<') {
            self.start_section(rest, source)
        } else if let Some(rest) = line.strip_prefix('%') {
            self.directive(rest, source)
        } else {
            let (key, value) = split_word(line);
            if key.is_empty() {
                return Err(source.error(format!("{line:?} is no key with a value")));
            }
            let value = self.replace(value.trim_start_matches(is_space), source)?;
            source.push(Item::Pair(Pair {
                key: key.to_owned(),
                value,
                place: source.place(),
            }));
            Ok(())
        }
    }

    fn start_section(&self, rest: &str, source: &mut Source<'_>) -> Result<(), ConfigError> {
        let Some(header) = rest.strip_suffix('>') else {
            return Err(source.error("the line begins a section and does not end with \">\""));
        };
        let (header, is_whole) = match header.strip_suffix('/') {
            Some(header) => (header, true),
            None => (header, false),
        };
        let header = header.trim_end_matches(is_space);
        let (kind, after) = split_word(header);
        let name = after.trim_start_matches(is_space);
        let (name, excess) = split_word(name);
        let is_apart = after.is_empty() || after.starts_with(is_space);
        if kind.is_empty() || !excess.is_empty() || !is_apart {
            return Err(source.error(format!(
                "<{header}> is no section; write <type> or <type name>, without spaces in either"
            )));
        }
        if self.outer_depth + source.open.len() >= SECTION_DEPTH_MAX {
            let message = format!("sections stand more than {SECTION_DEPTH_MAX} deep");
            return Err(source.error(message));
        }
        let node = Node {
            kind: kind.to_lowercase(),
            name: Some(name.to_lowercase()).filter(|name| !name.is_empty()),
            items: Vec::new(),
            place: source.place(),
            end: source.place(),
        };
        if is_whole {
            source.push(Item::Section(node));
        } else {
            source.open.push(node);
        }
        Ok(())
    }

    fn directive(&mut self, rest: &str, source: &mut Source<'_>) -> Result<(), ConfigError> {
        let (name, argument) = split_word(rest);
        let argument = argument.trim_start_matches(is_space);
        if !matches!(name, "define" | "import" | "include") {
            return Err(source.error(format!(
                "\"%{name}\" is no directive; there are %define, %import and %include"
            )));
        }
        if argument.is_empty() {
            return Err(source.error(format!("%{name} needs an argument")));
        }
        match name {
            "define" => self.define(argument, source),
            "include" => self.include(argument, source),
            _ => {
                let package = self.replace(argument, source)?;
                let place = source.place();
                source.push(Item::Import(Import { package, place }));
                Ok(())
            }
        }
    }

    fn define(&mut self, argument: &str, source: &Source<'_>) -> Result<(), ConfigError> {
        let (name, value) = argument.split_once(is_space).unwrap_or((argument, ""));
        let name = name.to_lowercase();
        let value = value.trim_start_matches(is_space);
        if self.defines.get(&name).is_some_and(|known| known != value) {
            return Err(source.error(format!("%define gives {name:?} a second value")));
        }
        if !is_name(&name) {
            return Err(source.error(format!(
                "{name:?} is no name for %define; take letters, digits and \"_\""
            )));
        }
        let value = self.replace(value, source)?;
        self.defines.insert(name, value);
        Ok(())
    }

    fn include(&mut self, argument: &str, source: &mut Source<'_>) -> Result<(), ConfigError> {
        let reference = self.replace(argument, source)?;
        let path =
            location::resolve(source.path, &reference).map_err(|message| source.error(message))?;
        self.includes += 1;
        if self.includes > INCLUDES_MAX {
            return Err(source.error(format!("more than {INCLUDES_MAX} files are included")));
        }
        if self.include_depth >= INCLUDE_DEPTH_MAX {
            return Err(source.error(format!(
                "files include each other more than {INCLUDE_DEPTH_MAX} deep; does one include itself?"
            )));
        }
        let text = self.load(&path, &source.place())?;
        self.include_depth += 1;
        self.outer_depth += source.open.len();
        let included = self.parse(&text, &path, &path.display().to_string())?;
        self.outer_depth -= source.open.len();
        self.include_depth -= 1;
        for item in included.items {
            source.push(item);
        }
        Ok(())
    }

    fn replace(&mut self, text: &str, source: &Source<'_>) -> Result<String, ConfigError> {
        let value =
            substitute(text, &self.defines, self.world).map_err(|message| source.error(message))?;
        self.count(value.len(), source)?;
        Ok(value)
    }

    fn count(&mut self, bytes: usize, source: &Source<'_>) -> Result<(), ConfigError> {
        self.bytes += bytes;
        if self.bytes > TOTAL_BYTES_MAX {
            let message =
                format!("with what it includes it is longer than {TOTAL_BYTES_MAX} bytes");
            return Err(source.error(message));
        }
        Ok(())
    }
}

fn end_section(rest: &str, source: &mut Source<'_>) -> Result<(), ConfigError> {
    let Some(kind) = rest.strip_suffix('>') else {
        return Err(source.error("the line ends a section and does not end with \">\""));
    };
    let kind = kind.trim_end_matches(is_space).to_lowercase();
    let Some(mut section) = source.open.pop() else {
        return Err(source.error(format!("</{kind}> ends a section that was not begun here")));
    };
    if section.kind != kind {
        return Err(source.error(format!(
            "</{kind}> stands where </{}> is needed: <{}> was begun at {}",
            section.kind, section.kind, section.place
        )));
    }
    section.end = source.place();
    source.push(Item::Section(section));
    Ok(())
}
