//! Values of protocol 0, written out in a line of text.

use crate::error::Reason;
use crate::integer;
use crate::limits::LONG_DIGITS_MAX;
use crate::text;

/// An integer: two's complement, little-endian, shortest form.
pub(crate) fn integer(line: &[u8]) -> Result<Vec<u8>, Reason> {
    let text = line.strip_suffix(b"L").unwrap_or(line).trim_ascii();
    if text.len() > LONG_DIGITS_MAX {
        let limit = LONG_DIGITS_MAX;
        return Err(Reason::LimitReached {
            what: "digits of an integer",
            limit,
        });
    }
    integer::from_decimal(text).ok_or(Reason::BadText("an integer"))
}

pub(crate) fn float(line: &[u8]) -> Result<f64, Reason> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or(Reason::BadText("a float"))
}

/// A string literal of Python 2.
pub(crate) fn quoted(line: &[u8]) -> Result<Vec<u8>, Reason> {
    let bad = || Reason::BadText("a quoted string");
    let literal = line.trim_ascii_end();
    let (open, rest) = literal.split_first().ok_or_else(bad)?;
    let (close, inside) = rest.split_last().ok_or_else(bad)?;
    if open != close || !matches!(open, b'\'' | b'"') {
        return Err(bad());
    }
    let mut bytes = Vec::with_capacity(inside.len());
    text::unescape_string(inside, &mut bytes).ok_or_else(bad)?;
    Ok(bytes)
}

/// Text with escapes; nothing where it stands in the input as it is.
pub(crate) fn escaped(line: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(line.len() * 2);
    text::unescape_unicode(line, &mut bytes).ok_or(Reason::BadText("escaped text"))?;
    Ok(Some(bytes))
}
