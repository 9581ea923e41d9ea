//! Values as Python prints them.

use std::fmt::Write;

/// What `repr` makes of a text.
pub(super) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            letter if letter == quote => out.extend(['\\', letter]),
            letter if letter.is_ascii_control() => {
                write!(out, "\\x{:02x}", u32::from(letter)).expect("writing into memory succeeds");
            }
            letter => out.push(letter),
        }
    }
    out.push(quote);
    out
}

/// What `repr` makes of a number with a fraction.
pub(super) fn float(value: f64) -> String {
    if !value.is_finite() {
        let name = if value.is_nan() { "nan" } else { "inf" };
        return if value < 0.0 {
            format!("-{name}")
        } else {
            name.to_owned()
        };
    }
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) || value == 0.0 {
        // The same digits, laid out without an exponent.
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11 prints.
    #[test]
    fn values_look_as_in_python() {
        for (value, text) in [
            (0.0, "0.0"),
            (81.226_297_803, "81.226297803"),
            (-3.0, "-3.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (2.5e300, "2.5e+300"),
        ] {
            assert_eq!(float(value), text);
        }
        assert_eq!(quoted("main"), "'main'");
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("'\"\\\n\u{1}"), "'\\'\"\\\\\\n\\x01'");
    }
}
