//! Rendering blocks against a namespace.

use std::ops::Range;

use crate::template::{Block, Encoding, If, Output, Template};
use crate::value::Value;
use crate::var::Inserted;
use crate::{Error, ErrorKind};

/// The names a template can use: in Zope the client's attributes, acquired ones included, the
/// request, and keyword arguments.
pub trait Namespace {
    /// The value of a name, called where it is callable, as `md[name]` does; `None` where the name
    /// is not defined. Access control is the namespace's business.
    ///
    /// # Errors
    /// Whatever calling or access control fails with; it ends the rendering.
    fn lookup(&mut self, name: &str) -> Result<Option<Value>, NamespaceError>;

    /// Rendering goes one level deeper, into a template or a block of one. A namespace whose values
    /// are rendered from templates counts the levels here, for all of them together, and fails
    /// before the stack overflows. The default is for one that renders nothing itself: the blocks
    /// of a single template are bounded by the parser.
    ///
    /// # Errors
    /// Whatever the namespace likes; it ends the rendering, and the level is not entered.
    fn enter(&mut self) -> Result<(), NamespaceError> {
        Ok(())
    }

    /// Rendering comes back from a level that was entered, even after an error.
    fn leave(&mut self) {}

    /// The page takes so many bytes: a source, a value, or what was made of one. Here a namespace
    /// can bound what a page may grow to.
    ///
    /// # Errors
    /// Whatever the namespace likes; it ends the rendering.
    fn take(&mut self, bytes: usize) -> Result<(), NamespaceError> {
        let _ = bytes;
        Ok(())
    }
}

/// An error of a namespace, to be downcast by whoever gave the namespace.
pub type NamespaceError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn render(template: &Template, namespace: &mut dyn Namespace) -> Result<Output, Error> {
    let mut renderer = Renderer {
        template,
        namespace,
        known: Vec::new(),
        pieces: Vec::new(),
    };
    renderer.template()?;
    let pieces = renderer.pieces;
    join(template, pieces)
}

/// Looks names up while rendering, those that an enclosing `if` has looked up already included.
pub(crate) struct Renderer<'a> {
    template: &'a Template,
    namespace: &'a mut dyn Namespace,
    known: Vec<(&'a str, Value)>,
    pieces: Vec<Piece<'a>>,
}

enum Piece<'a> {
    Source(&'a str),
    Inserted(Inserted, &'a Range<usize>),
}

impl<'a> Renderer<'a> {
    fn template(&mut self) -> Result<(), Error> {
        self.take(self.template.source.len(), &NOWHERE)?;
        self.level(&NOWHERE, |renderer| {
            renderer.blocks(&renderer.template.blocks)
        })
    }

    /// Goes one level deeper and comes back.
    fn level(
        &mut self,
        at: &Range<usize>,
        inside: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let entered = self.namespace.enter();
        entered.map_err(|cause| self.error(ErrorKind::Namespace(cause), at))?;
        let result = inside(self);
        self.namespace.leave();
        result
    }

    fn take(&mut self, bytes: usize, at: &Range<usize>) -> Result<(), Error> {
        let taken = self.namespace.take(bytes);
        taken.map_err(|cause| self.error(ErrorKind::Namespace(cause), at))
    }

    fn blocks(&mut self, blocks: &'a [Block]) -> Result<(), Error> {
        for block in blocks {
            match block {
                Block::Text(range) => {
                    let text = &self.template.source[range.clone()];
                    self.pieces.push(Piece::Source(text));
                }
                Block::Var(var) => {
                    let value = self.lookup(&var.name, &var.at)?;
                    let inserted = var
                        .render(value, self.template.encoding)
                        .map_err(|kind| self.error(kind, &var.at))?;
                    if !inserted.is_empty() {
                        self.take(inserted.len(), &var.at)?;
                        self.pieces.push(Piece::Inserted(inserted, &var.at));
                    }
                }
                Block::If(condition) => {
                    let known = self.known.len();
                    let at = condition
                        .branches
                        .first()
                        .map_or(&NOWHERE, |first| &first.at);
                    let result = self.level(at, |renderer| renderer.condition(condition));
                    self.known.truncate(known);
                    result?;
                }
            }
        }
        Ok(())
    }

    /// The first branch whose name is true; an undefined name is false.
    fn condition(&mut self, condition: &'a If) -> Result<(), Error> {
        for branch in &condition.branches {
            let Some(value) = self.lookup(&branch.name, &branch.at)? else {
                continue;
            };
            let Some(truth) = value.truth() else {
                let what = format!("the truth of a value of type {}", value.type_name());
                return Err(self.error(ErrorKind::NotSupported(what), &branch.at));
            };
            self.known.push((&branch.name, value));
            if truth {
                return self.blocks(&branch.blocks);
            }
        }
        self.blocks(&condition.otherwise)
    }

    fn lookup(&mut self, name: &str, at: &Range<usize>) -> Result<Option<Value>, Error> {
        let known = self.known.iter().rev().find(|(known, _)| *known == name);
        if let Some((_, value)) = known {
            let value = value.clone();
            self.take(value.bytes(), at)?;
            return Ok(Some(value));
        }
        let value = self
            .namespace
            .lookup(name)
            .map_err(|cause| self.error(ErrorKind::Namespace(cause), at))?;
        self.take(value.as_ref().map_or(0, Value::bytes), at)?;
        Ok(value)
    }

    fn error(&self, kind: ErrorKind, at: &Range<usize>) -> Error {
        Error::new(kind, self.template.location(at))
    }
}

/// The place of what stands nowhere.
const NOWHERE: Range<usize> = 0..0;

/// One piece is the result as it is; several are text, and bytes among them are decoded.
fn join(template: &Template, mut pieces: Vec<Piece<'_>>) -> Result<Output, Error> {
    if let [Piece::Inserted(Inserted::Bytes(bytes), _)] = &mut pieces[..] {
        return Ok(Output::Bytes(std::mem::take(bytes)));
    }
    let mut text = String::with_capacity(template.source.len());
    for piece in pieces {
        match piece {
            Piece::Source(source) => text.push_str(source),
            Piece::Inserted(Inserted::Text(inserted), _) => text.push_str(&inserted),
            Piece::Inserted(Inserted::Bytes(bytes), at) => {
                let decoded = decode(bytes, template.encoding)
                    .map_err(|kind| Error::new(kind, template.location(at)))?;
                text.push_str(&decoded);
            }
        }
    }
    Ok(Output::Text(text))
}

/// Python's `bytes.decode(encoding)`.
pub(crate) fn decode(bytes: Vec<u8>, encoding: Encoding) -> Result<String, ErrorKind> {
    match encoding {
        Encoding::Latin1 => Ok(bytes.into_iter().map(char::from).collect()),
        Encoding::Utf8 => String::from_utf8(bytes).map_err(|error| ErrorKind::Raised {
            class: "UnicodeDecodeError",
            message: error.to_string(),
        }),
    }
}
