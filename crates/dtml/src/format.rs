//! The `fmt` attribute of `var`: a method of the value, a special format, or a C-style one.

use crate::ErrorKind;
use crate::text;
use crate::value::Value;
use crate::var::{not_supported, unsupported_type};

/// Applies a format to a value.
pub(crate) fn apply(fmt: &str, value: Value) -> Result<Value, ErrorKind> {
    if let Value::Other(_) | Value::Tainted(_) = value {
        // It may have a method of that name.
        return Err(unsupported_type(&value));
    }
    if is_attribute(fmt) {
        return call_method(fmt, &value);
    }
    if let Some(result) = special(fmt, &value) {
        return result.map(Value::Text);
    }
    if fmt.is_empty() {
        return Ok(Value::Text(String::new()));
    }
    percent(fmt, &value).map(Value::Text)
}

/// Every public attribute of the types that values have here (CPython 3.11).
const ATTRIBUTES: [&str; 61] = [
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "capitalize",
    "casefold",
    "center",
    "conjugate",
    "count",
    "decode",
    "denominator",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "from_bytes",
    "fromhex",
    "hex",
    "imag",
    "index",
    "is_integer",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "numerator",
    "partition",
    "real",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "to_bytes",
    "translate",
    "upper",
    "zfill",
];

fn is_attribute(fmt: &str) -> bool {
    fmt.starts_with('_') || ATTRIBUTES.contains(&fmt)
}

fn call_method(fmt: &str, value: &Value) -> Result<Value, ErrorKind> {
    match (value, fmt) {
        (Value::Text(text), "upper") => Ok(Value::Text(text.to_uppercase())),
        (Value::Text(text), "lower") => Ok(Value::Text(text.to_lowercase())),
        (Value::Text(text), "capitalize") => text::capitalize(text).map(Value::Text),
        _ => {
            let what = format!("the method {fmt} of a value of type {}", value.type_name());
            Err(not_supported(what))
        }
    }
}

/// The formats with a name; `None` where it is not one of them.
fn special(fmt: &str, value: &Value) -> Option<Result<String, ErrorKind>> {
    let as_text = || {
        let plain = value.clone().plain_text();
        plain.map_err(|other| unsupported_type(&other))
    };
    Some(match fmt {
        "whole-dollars" => or_nothing(percent("$%d", value)),
        "dollars-and-cents" => or_nothing(percent("$%.2f", value)),
        "dollars-with-commas" => {
            or_nothing(percent("$%d", value)).map(|text| text::thousands_commas(&text))
        }
        "dollars-and-cents-with-commas" => {
            or_nothing(percent("$%.2f", value)).map(|text| text::thousands_commas(&text))
        }
        "comma-numeric" => as_text().map(|text| text::thousands_commas(&text)),
        "collection-length" => length(value).map(|length| length.to_string()),
        "html-quote" => as_text().map(|text| text::html_quote(&text)),
        "url-quote" => as_text().map(|text| text::url_quote(&text)),
        "url-quote-plus" => as_text().map(|text| text::url_quote_plus(&text)),
        "url-unquote" => as_text().map(|text| text::url_unquote(&text)),
        "url-unquote-plus" => as_text().map(|text| text::url_unquote_plus(&text)),
        "multi-line" => as_text().map(|text| text::newline_to_br(&text)),
        "sql-quote" => match value {
            Value::Text(text) => Ok(text::sql_quote(text)),
            Value::Bytes(_) => Err(unsupported_type(value)),
            other => Err(raised(
                "AttributeError",
                format!("'{}' object has no attribute 'replace'", other.type_name()),
            )),
        },
        "structured-text" | "restructured-text" => Err(not_supported(format!("the format {fmt}"))),
        _ => return None,
    })
}

/// The money formats give nothing for what is no number.
fn or_nothing(result: Result<String, ErrorKind>) -> Result<String, ErrorKind> {
    match result {
        Err(ErrorKind::Raised { .. }) => Ok(String::new()),
        other => other,
    }
}

fn length(value: &Value) -> Result<usize, ErrorKind> {
    match value {
        Value::Text(text) => Ok(text.chars().count()),
        Value::Bytes(bytes) => Ok(bytes.len()),
        other => Err(raised(
            "TypeError",
            format!("object of type '{}' has no len()", other.type_name()),
        )),
    }
}

/// A format with one conversion.
struct Conversion<'a> {
    before: String,
    is_left: bool,
    is_zero: bool,
    sign: &'static str,
    width: usize,
    precision: Option<usize>,
    kind: char,
    after: &'a str,
}

/// Python's `fmt % value` for the formats people write: `d`, `i`, `f` and `s`.
fn percent(fmt: &str, value: &Value) -> Result<String, ErrorKind> {
    if let Value::Bytes(_) | Value::Other(_) | Value::Tainted(_) = value {
        return Err(unsupported_type(value));
    }
    let Some(conversion) = parse(fmt)? else {
        return Err(raised(
            "TypeError",
            "not all arguments converted during string formatting".to_owned(),
        ));
    };
    let text = match conversion.kind {
        'd' | 'i' => integer(&conversion, value)?,
        'f' => fixed(&conversion, value)?,
        _ => plain(&conversion, value)?,
    };
    let after = conversion.after.replace("%%", "%");
    Ok(format!("{}{text}{after}", conversion.before))
}

/// Splits a format at its conversion; `None` where there is none.
fn parse(fmt: &str) -> Result<Option<Conversion<'_>>, ErrorKind> {
    let refuse = || not_supported(format!("the format {fmt:?}"));
    let mut before = String::new();
    let mut rest = fmt;
    loop {
        let Some((literal, conversion)) = rest.split_once('%') else {
            return Ok(None);
        };
        before.push_str(literal);
        rest = conversion;
        match rest.strip_prefix('%') {
            Some(after) => {
                before.push('%');
                rest = after;
            }
            None => break,
        }
    }
    let flags_len = rest.find(|c| !"-+ 0".contains(c)).ok_or_else(refuse)?;
    let (flags, rest) = rest.split_at(flags_len);
    let (width, rest) = number(rest).ok_or_else(refuse)?;
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let (precision, rest) = number(rest).ok_or_else(refuse)?;
            (Some(precision), rest)
        }
        None => (None, rest),
    };
    let kind = rest.chars().next().filter(|c| "difs".contains(*c));
    let kind = kind.ok_or_else(refuse)?;
    let after = &rest[1..];
    if after.replace("%%", "").contains('%') {
        return Err(refuse());
    }
    let has = |flag: char| flags.contains(flag);
    Ok(Some(Conversion {
        before,
        is_left: has('-'),
        is_zero: has('0') && !has('-'),
        sign: if has('+') {
            "+"
        } else if has(' ') {
            " "
        } else {
            ""
        },
        width,
        precision,
        kind,
        after,
    }))
}

/// Leading digits as a number, zero where there are none; `None` over [`WIDTH_MAX`].
fn number(text: &str) -> Option<(usize, &str)> {
    let len = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = text.split_at(len);
    let number = if digits.is_empty() {
        0
    } else {
        digits.parse().ok().filter(|number| *number <= WIDTH_MAX)?
    };
    Some((number, rest))
}

/// The widest field, and the longest fraction, that a format may ask for.
const WIDTH_MAX: usize = 1000;

fn integer(conversion: &Conversion<'_>, value: &Value) -> Result<String, ErrorKind> {
    let digits = match value {
        Value::Int(value) => value.to_string(),
        Value::Bool(value) => i32::from(*value).to_string(),
        Value::Float(value) if value.is_finite() => match value.trunc() {
            0.0 => "0".to_owned(),
            whole => format!("{whole:.0}"),
        },
        Value::Float(value) => {
            let class = if value.is_nan() {
                "ValueError"
            } else {
                "OverflowError"
            };
            return Err(raised(
                class,
                format!("cannot convert float {value} to integer"),
            ));
        }
        other => {
            let kind = conversion.kind;
            let found = other.type_name();
            return Err(raised(
                "TypeError",
                format!("%{kind} format: a real number is required, not {found}"),
            ));
        }
    };
    if conversion.precision.is_some() {
        return Err(not_supported("an integer format with a precision"));
    }
    Ok(pad_number(conversion, &digits))
}

fn fixed(conversion: &Conversion<'_>, value: &Value) -> Result<String, ErrorKind> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "Python rounds an int to the nearest float here, too"
    )]
    let number = match value {
        Value::Int(value) => *value as f64,
        Value::Bool(value) => f64::from(*value),
        Value::Float(value) => *value,
        other => {
            let found = other.type_name();
            return Err(raised(
                "TypeError",
                format!("must be real number, not {found}"),
            ));
        }
    };
    if !number.is_finite() {
        return Err(not_supported("a format of a number that is not finite"));
    }
    let precision = conversion.precision.unwrap_or(6);
    Ok(pad_number(conversion, &format!("{number:.precision$}")))
}

fn plain(conversion: &Conversion<'_>, value: &Value) -> Result<String, ErrorKind> {
    let text = value.clone().plain_text();
    let mut text = text.map_err(|other| unsupported_type(&other))?;
    if conversion.is_zero {
        return Err(not_supported("a text format with a zero"));
    }
    if let Some(precision) = conversion.precision {
        text = text.chars().take(precision).collect();
    }
    Ok(pad(conversion, &text))
}

/// Zeros go between sign and digits.
fn pad_number(conversion: &Conversion<'_>, number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => (conversion.sign, number),
    };
    if conversion.is_zero {
        let width = conversion.width.saturating_sub(sign.len());
        return format!("{sign}{digits:0>width$}");
    }
    pad(conversion, &format!("{sign}{digits}"))
}

fn pad(conversion: &Conversion<'_>, text: &str) -> String {
    let width = conversion.width;
    if conversion.is_left {
        format!("{text:<width$}")
    } else {
        format!("{text:>width$}")
    }
}

fn raised(class: &'static str, message: String) -> ErrorKind {
    ErrorKind::Raised { class, message }
}
