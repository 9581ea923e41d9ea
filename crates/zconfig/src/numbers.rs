//! Numbers as Python's `int` and `float` read them.

use crate::words::is_space;

/// Python's `int(text, radix)`, of what fits 64 bits. `radix` is 8 or 10.
pub(crate) fn integer(text: &str, radix: u32) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a whole number");
    let trimmed = text.trim_matches(is_space);
    let (sign, mut digits) = match trimmed.as_bytes().first() {
        Some(b'-') => ("-", &trimmed[1..]),
        Some(b'+') => ("", &trimmed[1..]),
        _ => ("", trimmed),
    };
    if radix == 8
        && let Some(rest) = digits
            .strip_prefix("0o")
            .or_else(|| digits.strip_prefix("0O"))
    {
        digits = rest.strip_prefix('_').unwrap_or(rest);
    }
    let digits = without_underscores(digits).ok_or_else(wrong)?;
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(wrong());
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix)
        .map_err(|_| format!("{text:?} is larger than any number here may be"))
}

/// Python's `float(text)`.
pub(crate) fn float(text: &str) -> Result<f64, String> {
    without_underscores(text.trim_matches(is_space))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{text:?} is not a number"))
}

/// A number with one of these suffixes, each of the same length, in either case; or with none.
pub(crate) fn with_suffix(text: &str, suffixes: &[(&str, i64)]) -> Result<i64, String> {
    let lower = text.to_lowercase();
    let suffix = suffixes
        .iter()
        .find_map(|(suffix, factor)| Some((lower.strip_suffix(suffix)?, *factor)));
    let (digits, factor) = suffix.unwrap_or((&lower, 1));
    let number = integer(digits, 10).map_err(|_| {
        let names: Vec<&str> = suffixes.iter().map(|(suffix, _)| *suffix).collect();
        let names = names.join(", ");
        format!("{text:?} is not a whole number, with or without one of {names} after it")
    })?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is larger than any number here may be"))
}

/// The text without underscores, each of which must stand between two digits.
fn without_underscores(text: &str) -> Option<String> {
    if !text.contains('_') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let digit_at = |index: Option<usize>| {
        index
            .and_then(|index| bytes.get(index))
            .is_some_and(u8::is_ascii_digit)
    };
    let stands_well = |index: usize| digit_at(index.checked_sub(1)) && digit_at(Some(index + 1));
    let mut places = text.match_indices('_');
    places
        .all(|(index, _)| stands_well(index))
        .then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_pythons() {
        for (text, number) in [("7", 7), (" -007 ", -7), ("+1_000", 1000), ("-0", 0)] {
            assert_eq!(integer(text, 10), Ok(number), "{text}");
        }
        for text in [
            "",
            "-",
            "1_",
            "_1",
            "1__0",
            "0x10",
            "1.0",
            "1e3",
            "--1",
            "9223372036854775808",
        ] {
            assert!(integer(text, 10).is_err(), "{text}");
        }
        for (text, number) in [("022", 18), ("0o22", 18), ("0o_22", 18), ("-7", -7)] {
            assert_eq!(integer(text, 8), Ok(number), "{text}");
        }
        assert!(integer("8", 8).is_err() && integer("0o", 8).is_err());
    }

    #[test]
    fn floats_are_pythons() {
        for (text, number) in [("1", 1.0), ("-.5", -0.5), ("5.", 5.0), ("1_0e1_0", 1e11)] {
            assert_eq!(float(text), Ok(number), "{text}");
        }
        assert_eq!(float("INFINITY"), Ok(f64::INFINITY));
        for text in ["", ".", "1_", "0x1", "1,5", "infinit"] {
            assert!(float(text).is_err(), "{text}");
        }
    }

    #[test]
    fn suffixes_multiply() {
        let sizes = [("kb", 1 << 10), ("mb", 1 << 20)];
        for (text, number) in [("5", 5), ("5KB", 5120), ("2 mb", 2 << 20), ("-1kb", -1024)] {
            assert_eq!(with_suffix(text, &sizes), Ok(number), "{text}");
        }
        for text in ["", "kb", "5k", "5.5mb", "9223372036854775807kb"] {
            assert!(with_suffix(text, &sizes).is_err(), "{text}");
        }
    }
}
