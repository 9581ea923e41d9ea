//! The `var` tag.

use std::ops::Range;

use crate::ErrorKind;
use crate::format;
use crate::parameters::{Parameters, Subject};
use crate::parser::parse_error;
use crate::render::decode;
use crate::template::Encoding;
use crate::text;
use crate::value::Value;

/// A parsed `var` tag.
#[derive(Clone, Debug)]
pub(crate) struct Var {
    pub(crate) name: String,
    pub(crate) at: Range<usize>,
    form: Form,
}

/// DocumentTemplate renders the two usual forms by a short cut whose quoting differs.
#[derive(Clone, Debug)]
enum Form {
    Plain,
    Quoted,
    General(Parameters),
}

/// What a tag puts into the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Text(String),
    Bytes(Vec<u8>),
}

impl Inserted {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The attributes, each with the value it has when none is written.
const ATTRIBUTES: [(&str, &str); 20] = [
    ("name", ""),
    ("lower", "1"),
    ("upper", "1"),
    ("expr", ""),
    ("capitalize", "1"),
    ("spacify", "1"),
    ("null", ""),
    ("fmt", "s"),
    ("size", "0"),
    ("etc", "..."),
    ("thousands_commas", "1"),
    ("html_quote", "1"),
    ("url_quote", "1"),
    ("sql_quote", "1"),
    ("url_quote_plus", "1"),
    ("url_unquote", "1"),
    ("url_unquote_plus", "1"),
    ("missing", ""),
    ("newline_to_br", "1"),
    ("url", "1"),
];

impl Var {
    pub(crate) fn parse(arguments: &str, at: Range<usize>) -> Result<Self, ErrorKind> {
        let arguments = arguments.strip_prefix("var ").unwrap_or(arguments);
        let parameters = Parameters::parse(arguments, &ATTRIBUTES).map_err(parse_error)?;
        let name = match parameters.subject().map_err(parse_error)? {
            Subject::Name(name) if name.is_empty() => return Err(not_supported("an empty name")),
            Subject::Name(name) => name,
            Subject::Expression(expression) => {
                return Err(not_supported(format!(
                    "the Python expression {expression:?}"
                )));
            }
        };
        if parameters.has("url") {
            return Err(not_supported("the attribute url"));
        }
        let form = match parameters.len() {
            1 => Form::Plain,
            2 if parameters.has("html_quote") => Form::Quoted,
            _ => Form::General(parameters),
        };
        Ok(Self { name, at, form })
    }

    /// What is inserted for this value; `None` is an undefined name.
    pub(crate) fn render(
        &self,
        value: Option<Value>,
        encoding: Encoding,
    ) -> Result<Inserted, ErrorKind> {
        match &self.form {
            Form::Plain => plain(self.defined(value)?, None),
            Form::Quoted => plain(self.defined(value)?, Some(encoding)),
            Form::General(parameters) => match (value, parameters.get("missing")) {
                (None, Some(missing)) => Ok(Inserted::Text(missing.to_owned())),
                (value, _) => general(self.defined(value)?, parameters),
            },
        }
    }

    fn defined(&self, value: Option<Value>) -> Result<Value, ErrorKind> {
        value.ok_or_else(|| ErrorKind::Undefined(self.name.clone()))
    }
}

/// The short cut. With an encoding it quotes, but text in which only apostrophes could be quoted
/// stays as it is.
fn plain(value: Value, quoted: Option<Encoding>) -> Result<Inserted, ErrorKind> {
    let text = match value {
        Value::Tainted(text) => return Ok(Inserted::Text(text::html_quote(&text))),
        Value::Bytes(bytes) => {
            return match quoted {
                None => Ok(Inserted::Bytes(bytes)),
                Some(encoding) => {
                    let text = decode(bytes, encoding)?;
                    Ok(Inserted::Text(text::html_quote(&text)))
                }
            };
        }
        other => plain_text(other)?,
    };
    Ok(Inserted::Text(match quoted {
        Some(_) if text.contains(['&', '<', '>', '"']) => text::html_quote(&text),
        _ => text,
    }))
}

/// All attributes, in DocumentTemplate's order: null, fmt, then the modifiers in an order of their
/// own, then size.
fn general(value: Value, parameters: &Parameters) -> Result<Inserted, ErrorKind> {
    if let Value::Tainted(_) = value {
        return Err(not_supported("a tainted form value with attributes"));
    }
    if let Some(null) = parameters.get("null")
        && is_null(&value)?
    {
        return Ok(Inserted::Text(null.to_owned()));
    }
    let value = match parameters.get("fmt") {
        Some(fmt) => format::apply(fmt, value)?,
        None => value,
    };
    let used = |name: &str| parameters.get(name).is_some_and(|value| !value.is_empty());
    let mut modifiers = text::MODIFIERS.iter().filter(|(name, _)| used(name));
    let mut text = match value {
        Value::Bytes(bytes) => match modifiers.next() {
            None if !parameters.has("size") => return Ok(Inserted::Bytes(bytes)),
            // Quoting takes all bytes for Latin-1, whatever the template's encoding.
            Some(("html_quote", _)) => text::html_quote(&decode(bytes, Encoding::Latin1)?),
            _ => return Err(not_supported("bytes with attributes")),
        },
        other => plain_text(other)?,
    };
    for (_, modify) in modifiers {
        text = modify(&text)?;
    }
    if let Some(size) = parameters.get("size") {
        text = text::cut(text, size, parameters.get("etc").unwrap_or("..."))?;
    }
    Ok(Inserted::Text(text))
}

/// False but not zero.
fn is_null(value: &Value) -> Result<bool, ErrorKind> {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => Ok(false),
        other => other
            .truth()
            .map(|truth| !truth)
            .ok_or_else(|| unsupported_type(other)),
    }
}

fn plain_text(value: Value) -> Result<String, ErrorKind> {
    value.plain_text().map_err(|other| unsupported_type(&other))
}

pub(crate) fn unsupported_type(value: &Value) -> ErrorKind {
    not_supported(format!("a value of type {}", value.type_name()))
}

pub(crate) fn not_supported(what: impl Into<String>) -> ErrorKind {
    ErrorKind::NotSupported(what.into())
}
