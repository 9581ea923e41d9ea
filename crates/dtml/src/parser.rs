//! From a source to blocks, tag by tag as DocumentTemplate goes about it.

use std::ops::Range;

use crate::lexer::{self, Tag};
use crate::parameters::{Parameters, Subject};
use crate::template::{Block, Branch, If, locate};
use crate::var::Var;
use crate::{Error, ErrorKind};

/// Parses a whole source.
pub(crate) fn parse(source: &str, name: &str) -> Result<Vec<Block>, Error> {
    Parser { source, name }.blocks(source.len(), 0, 0)
}

struct Parser<'a> {
    source: &'a str,
    name: &'a str,
}

/// What a tag means at its place.
enum Role {
    /// It begins a command.
    Open(Command),
    /// It continues the block that it stands in: `else`.
    Continue,
    /// It ends that block.
    Close,
}

/// A part of a block tag: the tag that opened it, and what is inside.
struct Section<'a> {
    name: &'a str,
    arguments: String,
    at: Range<usize>,
    blocks: Vec<Block>,
}

/// A command of the language.
#[derive(Clone, Copy, Debug)]
struct Command {
    name: &'static str,
    is_block: bool,
    continuations: &'static [&'static str],
}

const fn command(
    name: &'static str,
    is_block: bool,
    continuations: &'static [&'static str],
) -> Command {
    Command {
        name,
        is_block,
        continuations,
    }
}

const COMMANDS: [Command; 15] = [
    command("var", false, &[]),
    command("call", false, &[]),
    command("return", false, &[]),
    command("in", true, &["else"]),
    command("with", true, &[]),
    command("if", true, &["else", "elif"]),
    command("unless", true, &[]),
    command("else", true, &[]),
    command("comment", true, &[]),
    command("raise", true, &[]),
    command("try", true, &["except", "else", "finally"]),
    command("let", true, &[]),
    // Those that Zope adds.
    command("tree", true, &[]),
    command("mime", true, &["boundary"]),
    command("sendmail", true, &[]),
];

impl<'a> Parser<'a> {
    /// The blocks between `start` and `end`.
    fn blocks(&self, end: usize, start: usize, depth: usize) -> Result<Vec<Block>, Error> {
        let (mut blocks, mut start) = (Vec::new(), start);
        while let Some(tag) = self.search(end, start)? {
            let Role::Open(command) = self.role(&tag, None)? else {
                unreachable!("outside of a block nothing continues or ends it");
            };
            if start < tag.start {
                blocks.push(Block::Text(start..tag.start));
            }
            start = match command.name {
                "var" => {
                    let var = Var::parse(&tag.arguments, tag.start..tag.end)
                        .map_err(|kind| self.error(kind, &(tag.start..tag.end)))?;
                    blocks.push(Block::Var(var));
                    tag.end
                }
                "comment" | "if" | "unless" => {
                    self.block(command, &tag, end, depth, &mut blocks)?
                }
                name => {
                    let what = format!("the tag dtml-{name}");
                    return Err(self.fail(ErrorKind::NotSupported(what), &tag));
                }
            };
        }
        if start < end {
            blocks.push(Block::Text(start..end));
        }
        Ok(blocks)
    }

    /// Parses from a block's opening tag to behind its closing one.
    fn block(
        &self,
        command: Command,
        open: &Tag<'a>,
        end: usize,
        depth: usize,
        result: &mut Vec<Block>,
    ) -> Result<usize, Error> {
        let mut sections = Vec::new();
        let mut section_at = self.skip_line_end(end, open.end);
        let mut start = section_at;
        let mut current = open.clone();
        loop {
            let tag = self.next_in_block(end, start, open, depth)?;
            let role = self.role(&tag, Some((command, &open.arguments)))?;
            if let Role::Open(nested) = role {
                start = tag.end;
                if nested.is_block {
                    start = self.skip_block(nested, &tag, end, depth + 1)?;
                }
                continue;
            }
            sections.push(Section {
                name: current.name,
                arguments: current.arguments,
                at: current.start..current.end,
                blocks: self.blocks(tag.start, section_at, depth + 1)?,
            });
            start = self.skip_line_end(end, tag.end);
            if let Role::Close = role {
                result.extend(self.build(command, sections, open)?);
                return Ok(start);
            }
            section_at = start;
            current = tag;
        }
    }

    /// Finds the end of a nested block without a look at what is in it.
    fn skip_block(
        &self,
        command: Command,
        open: &Tag<'a>,
        end: usize,
        depth: usize,
    ) -> Result<usize, Error> {
        let mut start = open.end;
        loop {
            let tag = self.next_in_block(end, start, open, depth)?;
            start = tag.end;
            match self.role(&tag, Some((command, &open.arguments)))? {
                Role::Open(nested) if nested.is_block => {
                    start = self.skip_block(nested, &tag, end, depth + 1)?;
                }
                Role::Close => return Ok(start),
                Role::Open(_) | Role::Continue => {}
            }
        }
    }

    fn next_in_block(
        &self,
        end: usize,
        start: usize,
        open: &Tag<'a>,
        depth: usize,
    ) -> Result<Tag<'a>, Error> {
        if depth > BLOCK_DEPTH_MAX {
            let what = format!("blocks nested more than {BLOCK_DEPTH_MAX} deep");
            return Err(self.fail(ErrorKind::NotSupported(what), open));
        }
        self.search(end, start)?
            .ok_or_else(|| self.fail(parse_error("No closing tag"), open))
    }

    /// What a tag means, standing in the block of a command that was opened with some arguments.
    fn role(&self, tag: &Tag<'a>, within: Option<(Command, &str)>) -> Result<Role, Error> {
        if tag.is_end {
            return match within {
                Some((command, _)) if command.name == tag.name => Ok(Role::Close),
                _ => Err(self.fail(parse_error("unexpected end tag"), tag)),
            };
        }
        if let Some((command, opened_with)) = within
            && command.continuations.contains(&tag.name)
            && (tag.name != "else" || continues(opened_with, &tag.arguments))
        {
            return Ok(Role::Continue);
        }
        COMMANDS
            .iter()
            .find(|command| command.name == tag.name)
            .map(|command| Role::Open(*command))
            .ok_or_else(|| self.fail(parse_error("Unexpected tag"), tag))
    }

    fn build(
        &self,
        command: Command,
        sections: Vec<Section<'a>>,
        open: &Tag<'a>,
    ) -> Result<Option<Block>, Error> {
        match command.name {
            "comment" => Ok(None),
            "unless" => {
                let mut branches = Vec::new();
                let mut otherwise = Vec::new();
                for section in sections {
                    let name = self.condition(&section)?;
                    branches.push(Branch {
                        name,
                        at: section.at,
                        blocks: Vec::new(),
                    });
                    otherwise = section.blocks;
                }
                Ok(Some(Block::If(If {
                    branches,
                    otherwise,
                })))
            }
            _ => self.build_if(sections, open).map(Some),
        }
    }

    fn build_if(&self, mut sections: Vec<Section<'a>>, open: &Tag<'a>) -> Result<Block, Error> {
        let mut otherwise = Vec::new();
        let has_else = sections.last().is_some_and(|last| last.name == "else");
        let last = if has_else { sections.pop() } else { None };
        let mut branches = Vec::new();
        for (index, section) in sections.into_iter().enumerate() {
            if section.name == "else" {
                let message = "more than one else tag for a single if tag";
                return Err(self.fail(parse_error(message), open));
            }
            let name = self.condition(&section)?;
            if index == 0
                && let Some(last) = &last
            {
                self.check_else(last, &name, open)?;
            }
            branches.push(Branch {
                name,
                at: section.at,
                blocks: section.blocks,
            });
        }
        if let Some(last) = last {
            otherwise = last.blocks;
        }
        Ok(Block::If(If {
            branches,
            otherwise,
        }))
    }

    /// An `else` may repeat the name of its `if`, and no other.
    fn check_else(&self, last: &Section<'a>, name: &str, open: &Tag<'a>) -> Result<(), Error> {
        let parameters = Parameters::parse(&last.arguments, &[("name", "")])
            .map_err(|message| self.fail(parse_error(message), open))?;
        if parameters.len() == 0 {
            return Ok(());
        }
        match parameters.subject() {
            Ok(Subject::Name(repeated)) if repeated == name => Ok(()),
            Ok(_) => Err(self.fail(parse_error("name in else does not match if"), open)),
            Err(message) => Err(self.fail(parse_error(message), open)),
        }
    }

    /// The name that a branch depends on.
    fn condition(&self, section: &Section<'a>) -> Result<String, Error> {
        let subject = Parameters::parse(&section.arguments, &[("name", ""), ("expr", "")])
            .and_then(|parameters| parameters.subject())
            .map_err(|message| self.error(parse_error(message), &section.at))?;
        match subject {
            Subject::Name(name) if name.is_empty() => {
                let what = ErrorKind::NotSupported("an empty name".to_owned());
                Err(self.error(what, &section.at))
            }
            Subject::Name(name) => Ok(name),
            Subject::Expression(expression) => {
                let what = format!("the Python expression {expression:?}");
                Err(self.error(ErrorKind::NotSupported(what), &section.at))
            }
        }
    }

    fn search(&self, end: usize, start: usize) -> Result<Option<Tag<'a>>, Error> {
        lexer::search(&self.source[..end], start).map_err(|ends| {
            let kind = ErrorKind::Raised {
                class: "IndexError",
                message: "string index out of range".to_owned(),
            };
            self.error(kind, &(ends.start..end))
        })
    }

    /// A line break right after a block's tag belongs to the tag.
    fn skip_line_end(&self, end: usize, at: usize) -> usize {
        let rest = &self.source[at..end];
        let line_end = rest.trim_start_matches([' ', '\t']);
        if line_end.starts_with('\n') {
            end - line_end.len() + 1
        } else {
            at
        }
    }

    fn fail(&self, kind: ErrorKind, tag: &Tag<'_>) -> Error {
        self.error(kind, &(tag.start..tag.end))
    }

    fn error(&self, kind: ErrorKind, at: &Range<usize>) -> Error {
        Error::new(kind, locate(self.source, self.name, at))
    }
}

pub(crate) fn parse_error(message: impl Into<String>) -> ErrorKind {
    ErrorKind::Parse(message.into())
}

/// Whether an `else` with these arguments continues the block: without any, with those of the
/// opening tag, or with their beginning. Otherwise it is the old block command `else`.
fn continues(opened_with: &str, arguments: &str) -> bool {
    arguments.is_empty()
        || opened_with
            .strip_prefix(arguments)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n']))
}

/// Each level is scanned once more for every level above it, and rendered by recursion.
const BLOCK_DEPTH_MAX: usize = 50;
