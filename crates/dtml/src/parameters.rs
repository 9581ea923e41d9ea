//! The arguments of a tag: a name or expression, and attributes with or without values.

use crate::lexer::{is_blank, strip};

/// Parsed arguments in order. The unnamed one has the name `""`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

/// What a tag works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Name(String),
    Expression(String),
}

impl Parameters {
    /// Parses `text`. `known` are the attributes that the tag takes, each with the value it has
    /// when none is written.
    pub(crate) fn parse(text: &str, known: &[(&str, &str)]) -> Result<Self, String> {
        let mut found = Self::default();
        let mut rest = text;
        loop {
            let word_at = rest.trim_start_matches(is_blank);
            let word_len = word_at.find(is_word_end).unwrap_or(word_at.len());
            let (word, after) = word_at.split_at(word_len);
            if !word.is_empty() {
                if let Some((value, after)) = value(after) {
                    found.add_named(word.to_lowercase(), value, known)?;
                    rest = strip(after);
                    continue;
                }
                found.add_bare(word, known)?;
                rest = after;
            } else if let Some((quoted, after)) = quoted(word_at) {
                if !found.0.is_empty() {
                    return Err(format!("Invalid attribute name, \"{quoted}\""));
                }
                found.0.push((String::new(), quoted.to_owned()));
                rest = after;
            } else if strip(rest).is_empty() {
                return Ok(found);
            } else {
                return Err(format!("invalid parameter: \"{rest}\""));
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The name or expression that the tag is about, which may be written in three ways.
    pub(crate) fn subject(&self) -> Result<Subject, String> {
        let (name, expression) = (self.get("name"), self.get("expr"));
        if let Some(unnamed) = self.get("") {
            let inner = unnamed
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            return match (inner, name, expression) {
                (Some(_), Some(_), _) => Err("name and expr given".to_owned()),
                (Some(_), None, Some(_)) => Err("two exprs given".to_owned()),
                (Some(inner), None, None) => Ok(Subject::Expression(inner.to_owned())),
                (None, Some(_), _) => Err("Two name values were given".to_owned()),
                (None, None, Some(_)) => Err("name and expr given".to_owned()),
                (None, None, None) => Ok(Subject::Name(unnamed.to_owned())),
            };
        }
        match (name, expression) {
            (Some(_), Some(_)) => Err("name and expr given".to_owned()),
            (Some(name), None) => Ok(Subject::Name(name.to_owned())),
            (None, Some(expression)) => Ok(Subject::Expression(expression.to_owned())),
            (None, None) => Err("No name given".to_owned()),
        }
    }

    fn add_named(
        &mut self,
        name: String,
        value: &str,
        known: &[(&str, &str)],
    ) -> Result<(), String> {
        if !known.iter().any(|(known, _)| *known == name) {
            return Err(format!("Invalid attribute name, \"{name}\""));
        }
        if self.has(&name) {
            return Err(format!("Duplicate values for attribute \"{name}\""));
        }
        self.0.push((name, value.to_owned()));
        Ok(())
    }

    /// A word alone: the subject when it comes first, an attribute afterwards.
    fn add_bare(&mut self, word: &str, known: &[(&str, &str)]) -> Result<(), String> {
        if self.0.is_empty() {
            self.0.push((String::new(), word.to_owned()));
            return Ok(());
        }
        let Some((name, default)) = known.iter().find(|(known, _)| *known == word) else {
            return Err(format!("Invalid attribute name, \"{word}\""));
        };
        // Unlike one with a value, a bare attribute may be repeated: the last one counts.
        self.0.retain(|(known, _)| known != name);
        self.0.push(((*name).to_owned(), (*default).to_owned()));
        Ok(())
    }
}

/// `=word` or `="text"`: the value, and what follows it.
fn value(after: &str) -> Option<(&str, &str)> {
    let after = after.strip_prefix('=')?;
    if let Some((quoted, rest)) = quoted(after) {
        return Some((&quoted[1..quoted.len() - 1], rest));
    }
    let len = after.find(is_word_end).unwrap_or(after.len());
    (len > 0).then(|| after.split_at(len))
}

/// `"text"` with its quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    Some(text.split_at(inner.find('"')? + 2))
}

fn is_word_end(c: char) -> bool {
    is_blank(c) || matches!(c, '=' | '"')
}
