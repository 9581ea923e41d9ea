//! What `var` does to text: quoting, letters, commas, cutting.

use crate::ErrorKind;
use crate::lexer::strip;
use crate::var::not_supported;

pub(crate) type Modifier = fn(&str) -> Result<String, ErrorKind>;

/// The modifiers in the order in which they are applied, whatever the order in the tag. Two of
/// them are there twice, and are applied twice.
pub(crate) const MODIFIERS: [(&str, Modifier); 14] = [
    ("html_quote", |text| Ok(html_quote(text))),
    ("url_quote", |text| Ok(url_quote(text))),
    ("url_quote_plus", |text| Ok(url_quote_plus(text))),
    ("url_unquote", |text| Ok(url_unquote(text))),
    ("url_unquote_plus", |text| Ok(url_unquote_plus(text))),
    ("newline_to_br", |text| Ok(newline_to_br(text))),
    ("lower", |text| Ok(text.to_lowercase())),
    ("upper", |text| Ok(text.to_uppercase())),
    ("capitalize", capitalize),
    ("spacify", |text| Ok(text.replace('_', " "))),
    ("thousands_commas", |text| Ok(thousands_commas(text))),
    ("sql_quote", |text| Ok(sql_quote(text))),
    ("url_unquote", |text| Ok(url_unquote(text))),
    ("url_unquote_plus", |text| Ok(url_unquote_plus(text))),
];

/// Python's `html.escape(text, quote=True)`.
pub(crate) fn html_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => quoted.push_str("&amp;"),
            '<' => quoted.push_str("&lt;"),
            '>' => quoted.push_str("&gt;"),
            '"' => quoted.push_str("&quot;"),
            '\'' => quoted.push_str("&#x27;"),
            _ => quoted.push(c),
        }
    }
    quoted
}

/// Python's `urllib.parse.quote`.
pub(crate) fn url_quote(text: &str) -> String {
    percent_encode(text, "/")
}

/// Python's `urllib.parse.quote_plus`.
pub(crate) fn url_quote_plus(text: &str) -> String {
    percent_encode(text, " ").replace(' ', "+")
}

fn percent_encode(text: &str, kept: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "_.-~".contains(c) || kept.contains(c) {
            quoted.push(c);
        } else {
            quoted.push('%');
            quoted.push(char::from(HEX[usize::from(byte >> 4)]));
            quoted.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    quoted
}

/// Python's `urllib.parse.unquote`: every stretch of ASCII is decoded by itself, and what is not
/// UTF-8 then becomes U+FFFD.
pub(crate) fn url_unquote(text: &str) -> String {
    let mut unquoted = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let ascii_len = rest.find(|c: char| !c.is_ascii()).unwrap_or(rest.len());
        let (ascii, other) = rest.split_at(ascii_len);
        unquoted.push_str(&String::from_utf8_lossy(&percent_decode(ascii)));
        let other_len = other.find(|c: char| c.is_ascii()).unwrap_or(other.len());
        let (other, after) = other.split_at(other_len);
        unquoted.push_str(other);
        rest = after;
    }
    unquoted
}

/// Python's `urllib.parse.unquote_plus`.
pub(crate) fn url_unquote_plus(text: &str) -> String {
    url_unquote(&text.replace('+', " "))
}

fn percent_decode(ascii: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ascii.len());
    let mut rest = ascii.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let decoded = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    bytes
}

pub(crate) fn newline_to_br(text: &str) -> String {
    text.replace('\r', "").replace('\n', "<br />\n")
}

/// Python's `str.capitalize`, except where the first letter has a title case of its own or a
/// sigma's form depends on the letters around it.
pub(crate) fn capitalize(text: &str) -> Result<String, ErrorKind> {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return Ok(String::new());
    };
    let is_plain = first.is_ascii()
        || matches!(first, '\u{c0}'..='\u{de}' | '\u{e0}'..='\u{fe}' | '\u{391}'..='\u{3a9}' | '\u{400}'..='\u{45f}');
    if !is_plain || text.contains('Σ') {
        return Err(not_supported(format!(
            "capitalize of text that begins with {first:?}"
        )));
    }
    Ok(first
        .to_uppercase()
        .chain(characters.as_str().to_lowercase().chars())
        .collect())
}

/// Puts a comma before every third digit, from the right, of each run of digits that ends the part
/// before the first point, or that a comma follows.
pub(crate) fn thousands_commas(text: &str) -> String {
    let (whole, fraction) = match text.find('.') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut result = String::with_capacity(text.len() + text.len() / 3);
    let mut rest = whole;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits_at) = rest.split_at(at);
        let len = digits_at
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits_at.len());
        let (digits, after) = digits_at.split_at(len);
        result.push_str(before);
        // Python's `$` matches before a final line break, too.
        let ends = after.is_empty() || after == "\n" || after.starts_with(',');
        for (index, digit) in digits.chars().enumerate() {
            if ends && index > 0 && (len - index) % 3 == 0 {
                result.push(',');
            }
            result.push(digit);
        }
        rest = after;
    }
    result.push_str(rest);
    result.push_str(fraction);
    result
}

pub(crate) fn sql_quote(text: &str) -> String {
    text.replace(['\0', '\x1a', '\r'], "").replace('\'', "''")
}

/// Cuts text that is longer than `size` characters, at a space if there is one in the second half,
/// and appends `etc`.
pub(crate) fn cut(text: String, size: &str, etc: &str) -> Result<String, ErrorKind> {
    let size = parse_size(size)?;
    let Some((end, _)) = text.char_indices().nth(size) else {
        return Ok(text);
    };
    let mut kept = &text[..end];
    if let Some(space) = kept.rfind(' ')
        && kept[..space].chars().count() * 2 > size
    {
        kept = &kept[..=space];
    }
    Ok(format!("{kept}{etc}"))
}

/// The part of Python's `int(text)` that is written in practice.
fn parse_size(text: &str) -> Result<usize, ErrorKind> {
    let digits = strip(text);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits
            .parse()
            .map_err(|_| not_supported(format!("the size {text}")));
    }
    // A negative size, underscores and digits of other scripts mean something to Python.
    if digits.contains(['-', '_']) || !digits.is_ascii() {
        return Err(not_supported(format!("the size {text}")));
    }
    Err(ErrorKind::Raised {
        class: "ValueError",
        message: "a <code>size</code> attribute was used in a <code>var</code> tag with a \
                  non-integer value."
            .to_owned(),
    })
}
