//! The format of log lines: Python's `%(levelname)-8s`.

use std::borrow::Cow;

/// What a record of a log is made of, as Python's `logging` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in the format.
    pub name: &'static str,
    is_number: bool,
}

const fn text(name: &'static str) -> Field {
    Field {
        name,
        is_number: false,
    }
}

const fn number(name: &'static str) -> Field {
    Field {
        name,
        is_number: true,
    }
}

const FIELDS: [Field; 18] = [
    text("asctime"),
    number("created"),
    text("filename"),
    text("funcName"),
    text("levelname"),
    number("levelno"),
    number("lineno"),
    text("message"),
    text("module"),
    number("msecs"),
    text("msg"),
    text("name"),
    text("pathname"),
    number("process"),
    text("processName"),
    number("relativeCreated"),
    number("thread"),
    text("threadName"),
];

/// What a field of one record is.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
}

/// A format that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFormat {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Field(Spec),
}

#[derive(Clone, Debug, PartialEq)]
struct Spec {
    field: Field,
    left: bool,
    zeros: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    conversion: u8,
}

/// The widest field.
const WIDTH_MAX: usize = 1_000;

impl LogFormat {
    /// Reads a format with `%(field)s` in it.
    ///
    /// # Errors
    /// Names the field or the conversion that cannot be.
    pub fn parse(format: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            push_literal(&mut parts, before);
            if let Some(after) = after.strip_prefix('%') {
                push_literal(&mut parts, "%");
                rest = after;
            } else {
                let (spec, after) = Spec::parse(after)?;
                parts.push(Part::Field(spec));
                rest = after;
            }
        }
        push_literal(&mut parts, rest);
        Ok(Self { parts })
    }

    /// A line for a record whose fields are these.
    pub fn render<'a>(&self, value: impl Fn(&'static str) -> FieldValue<'a>) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => line.push_str(text),
                Part::Field(spec) => line.push_str(&spec.render(&value(spec.field.name))),
            }
        }
        line
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(literal)) => literal.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

impl Spec {
    /// What stands between a `%` and the letter that ends it; and what follows.
    fn parse(text: &str) -> Result<(Self, &str), String> {
        let named = text.strip_prefix('(').and_then(|text| text.split_once(')'));
        let Some((name, mut rest)) = named else {
            return Err("\"%\" is not followed by a field such as \"(message)s\"; write \"%%\" for the sign itself".to_owned());
        };
        let Some(field) = FIELDS.into_iter().find(|field| field.name == name) else {
            let names = FIELDS.map(|field| field.name).join(", ");
            return Err(format!(
                "a log record has no field {name:?}; there are {names}"
            ));
        };
        let mut spec = Self {
            field,
            left: false,
            zeros: false,
            plus: false,
            space: false,
            alternate: false,
            width: 0,
            precision: None,
            conversion: b's',
        };
        while let Some(flag) = rest.bytes().next() {
            match flag {
                b'-' => spec.left = true,
                b'0' => spec.zeros = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                b'#' => spec.alternate = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        (spec.width, rest) = digits(rest)?;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = digits(after)?;
            spec.precision = Some(precision);
            rest = after;
        }
        rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
        spec.conversion = rest.bytes().next().unwrap_or(b' ');
        spec.check()?;
        Ok((spec, &rest[1..]))
    }

    fn check(&self) -> Result<(), String> {
        let name = self.field.name;
        let is_whole = !matches!(name, "created" | "msecs" | "relativeCreated");
        match self.conversion {
            b's' => Ok(()),
            b'd' | b'i' | b'u' | b'f' | b'F' if self.field.is_number => Ok(()),
            b'x' | b'X' | b'o' if self.field.is_number && is_whole => Ok(()),
            b'd' | b'i' | b'u' | b'f' | b'F' | b'x' | b'X' | b'o' => {
                Err(format!("%({name}) is written with \"s\" after it"))
            }
            _ => Err(format!(
                "%({name}) is followed by neither \"s\", nor \"d\", \"f\", \"x\" or \"o\" of a number"
            )),
        }
    }

    fn render(&self, value: &FieldValue<'_>) -> String {
        let (sign, body) = match (self.conversion, value) {
            (b's', value) => ("", self.shortened(value)),
            (_, FieldValue::Text(text)) => ("", text.to_string()),
            (b'f' | b'F', value) => self.float(value),
            (_, value) => self.whole(value),
        };
        let length = sign.len() + body.chars().count();
        let padding = self.width.saturating_sub(length);
        let is_text = self.conversion == b's';
        if self.left {
            format!("{sign}{body}{}", " ".repeat(padding))
        } else if self.zeros && !is_text {
            format!("{sign}{}{body}", "0".repeat(padding))
        } else {
            format!("{}{sign}{body}", " ".repeat(padding))
        }
    }

    fn shortened(&self, value: &FieldValue<'_>) -> String {
        let text = match value {
            FieldValue::Text(text) => text.to_string(),
            FieldValue::Integer(number) => number.to_string(),
            FieldValue::Float(number) => format!("{number:?}"),
        };
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        }
    }

    fn sign(&self, is_negative: bool) -> &'static str {
        match (is_negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        }
    }

    fn float(&self, value: &FieldValue<'_>) -> (&'static str, String) {
        let number = match value {
            #[allow(clippy::cast_precision_loss, reason = "so does Python")]
            FieldValue::Integer(number) => *number as f64,
            FieldValue::Float(number) => *number,
            FieldValue::Text(_) => 0.0,
        };
        let digits = self.precision.unwrap_or(6);
        (
            self.sign(number < 0.0),
            format!("{:.digits$}", number.abs()),
        )
    }

    fn whole(&self, value: &FieldValue<'_>) -> (&'static str, String) {
        let number = match value {
            FieldValue::Integer(number) => *number,
            #[allow(
                clippy::cast_possible_truncation,
                reason = "times and milliseconds fit"
            )]
            FieldValue::Float(number) => *number as i64,
            FieldValue::Text(_) => 0,
        };
        let size = number.unsigned_abs();
        let least = self.precision.unwrap_or(0);
        let (prefix, digits) = match self.conversion {
            b'x' => ("0x", format!("{size:0least$x}")),
            b'X' => ("0X", format!("{size:0least$X}")),
            b'o' => ("0o", format!("{size:0least$o}")),
            _ => ("", format!("{size:0least$}")),
        };
        let prefix = if self.alternate { prefix } else { "" };
        (self.sign(number < 0), format!("{prefix}{digits}"))
    }
}

fn digits(text: &str) -> Result<(usize, &str), String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((0, rest));
    }
    let number = digits.parse().ok().filter(|width| *width <= WIDTH_MAX);
    number
        .map(|number| (number, rest))
        .ok_or_else(|| format!("a field of a log line is {WIDTH_MAX} wide at most, not {digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(format: &str) -> String {
        LogFormat::parse(format)
            .unwrap()
            .render(|field| match field {
                "levelname" => FieldValue::Text("INFO".into()),
                "levelno" => FieldValue::Integer(20),
                "msecs" => FieldValue::Float(7.9),
                "created" => FieldValue::Float(1_700_000_000.25),
                _ => FieldValue::Text(Cow::Borrowed("größe")),
            })
    }

    #[test]
    fn formats_give_what_python_gives() {
        // Each right side was printed by Python 3.11.
        for (format, line) in [
            ("------\n%(asctime)s %(levelname)s", "------\ngröße INFO"),
            ("[%(levelname)-8s]", "[INFO    ]"),
            ("[%(levelname)8.2s]", "[      IN]"),
            ("[%(levelname)08s]", "[    INFO]"),
            ("[%(message)7s]", "[  größe]"),
            ("%(msecs)03d", "007"),
            ("%(msecs)s", "7.9"),
            ("%(msecs).1f", "7.9"),
            ("%(created)f", "1700000000.250000"),
            ("[%(levelno)+5d]", "[  +20]"),
            ("[%(levelno)+05d]", "[+0020]"),
            ("[%(levelno)-5d]", "[20   ]"),
            ("[%(levelno) d]", "[ 20]"),
            ("[%(levelno).4d]", "[0020]"),
            ("%(levelno)x %(levelno)#x %(levelno)o", "14 0x14 24"),
            ("%(levelno)ld 100%%", "20 100%"),
        ] {
            assert_eq!(rendered(format), line, "{format}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        for (format, part) in [
            ("%", "not followed by a field"),
            ("%s", "not followed by a field"),
            ("%(levelname", "not followed by a field"),
            ("%(levelname)", "neither"),
            ("%(levelname)d", "with \"s\""),
            ("%(created)x", "with \"s\""),
            ("%(levelname)q", "neither"),
            ("%(levelname)é", "neither"),
            ("%(nobody)s", "no field \"nobody\""),
            ("%(levelname)99999999999s", "wide"),
        ] {
            let error = LogFormat::parse(format).unwrap_err();
            assert!(error.contains(part), "{format}: {error}");
        }
    }
}
