//! Values that a namespace gives.

use std::fmt::Write as _;

/// A Python value that a tag can work on.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int` of 64 bits.
    Int(i64),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Text(String),
    /// A `bytes`.
    Bytes(Vec<u8>),
    /// A form value that looks like HTML (`TaintedString`): quoted wherever it is inserted.
    Tainted(String),
    /// A value of any other type: rendering it is refused. Holds the type's name.
    Other(String),
}

impl Value {
    /// Python's `bool(value)`; `None` where it cannot be told.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Self::None => Some(false),
            Self::Bool(value) => Some(*value),
            Self::Int(value) => Some(*value != 0),
            Self::Float(value) => Some(*value != 0.0),
            Self::Text(text) | Self::Tainted(text) => Some(!text.is_empty()),
            Self::Bytes(bytes) => Some(!bytes.is_empty()),
            Self::Other(_) => None,
        }
    }

    /// How long it is, where it has a length.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Tainted(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Other(_) => 0,
        }
    }

    /// The name of its Python type.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::Tainted(_) => "TaintedString",
            Self::Other(name) => name,
        }
    }

    /// Python's `str(value)` for what has a plain one.
    pub(crate) fn plain_text(self) -> Result<String, Self> {
        match self {
            Self::None => Ok("None".to_owned()),
            Self::Bool(value) => Ok(if value { "True" } else { "False" }.to_owned()),
            Self::Int(value) => Ok(value.to_string()),
            Self::Float(value) => Ok(float_text(value)),
            Self::Text(text) => Ok(text),
            Self::Bytes(_) | Self::Tainted(_) | Self::Other(_) => Err(self),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Python's `repr(float)`: the shortest digits that read back alike, with an exponent below 1e-4
/// and from 1e16 on.
fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("the e format writes an exponent");
    let exponent: i32 = exponent.parse().expect("the e format writes a number");
    if (-4..16).contains(&exponent) {
        let mut text = value.to_string();
        if !text.contains('.') {
            text.push_str(".0");
        }
        return text;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let mut text = mantissa.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(text, "e{sign}{:02}", exponent.unsigned_abs());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `repr` in CPython 3.11.
    #[test]
    fn floats_are_written_as_by_python() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1_234_567.891, "1234567.891"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
