//! Text as Python spells it: UTF-8 with surrogates, and the escapes of the text protocol.

/// What bytes are, taken as Python text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TextKind {
    Utf8,
    /// UTF-8 except for lone surrogates, three bytes each.
    Surrogates,
    Invalid,
}

/// Tells UTF-8 from Python's "surrogatepass" and from anything else.
pub(crate) fn text_kind(bytes: &[u8]) -> TextKind {
    let mut rest = bytes;
    let mut kind = TextKind::Utf8;
    while let Err(error) = std::str::from_utf8(rest) {
        rest = &rest[error.valid_up_to()..];
        let [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] = rest else {
            return TextKind::Invalid;
        };
        kind = TextKind::Surrogates;
        rest = &rest[3..];
    }
    kind
}

/// Unescapes the argument of UNICODE ("raw-unicode-escape": latin-1 with `\uXXXX` and `\UXXXXXXXX`).
pub(crate) fn unescape_unicode(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = line;
    while let [first, after @ ..] = rest {
        rest = after;
        let digits = match (first, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(second)) => {
                // A backslash protects whatever follows it, itself included.
                push_code_point(u32::from(b'\\'), out)?;
                push_code_point(u32::from(*second), out)?;
                rest = &rest[1..];
                continue;
            }
            _ => {
                push_code_point(u32::from(*first), out)?;
                continue;
            }
        };
        push_code_point(hexadecimal(rest.get(1..=digits)?)?, out)?;
        rest = &rest[digits + 1..];
    }
    Some(())
}

/// Unescapes a Python 2 string literal without its quotes (the argument of STRING).
pub(crate) fn unescape_string(literal: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = literal;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'\n' => {}
            b'\\' | b'\'' | b'"' => out.push(*escape),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b'v' => out.push(0x0b),
            b'a' => out.push(0x07),
            b'0'..=b'7' => {
                let more = rest
                    .iter()
                    .take(2)
                    .take_while(|d| matches!(d, b'0'..=b'7'))
                    .count();
                let value = rest[..more]
                    .iter()
                    .fold(u32::from(escape - b'0'), |value, d| {
                        value * 8 + u32::from(d - b'0')
                    });
                out.push(value.to_le_bytes()[0]);
                rest = &rest[more..];
            }
            b'x' => {
                out.push(hexadecimal(rest.get(..2)?)?.to_le_bytes()[0]);
                rest = &rest[2..];
            }
            other => out.extend([b'\\', *other]),
        }
    }
    Some(())
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| {
        Some(value.checked_mul(16)? + char::from(*digit).to_digit(16)?)
    })
}

fn push_code_point(code: u32, out: &mut Vec<u8>) -> Option<()> {
    if let Some(character) = char::from_u32(code) {
        out.extend(character.encode_utf8(&mut [0; 4]).bytes());
        return Some(());
    }
    // Only surrogates are left below 0x110000; they take UTF-8's three-byte form.
    let low = |shift: u32| ((code >> shift) & 0x3f).to_le_bytes()[0] | 0x80;
    (code < 0x11_0000).then(|| out.extend([0xed, low(6), low(0)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unicode(line: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        unescape_unicode(line, &mut out).map(|()| out)
    }

    fn string(literal: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        unescape_string(literal, &mut out).map(|()| out)
    }

    #[test]
    fn surrogates_are_told_from_damage() {
        assert_eq!(text_kind("grün".as_bytes()), TextKind::Utf8);
        assert_eq!(text_kind(b"a\xed\xb3\xbfz"), TextKind::Surrogates);
        assert_eq!(text_kind(b"a\xed\xb3"), TextKind::Invalid);
        assert_eq!(text_kind(b"\xff"), TextKind::Invalid);
    }

    #[test]
    fn unicode_escapes() {
        assert_eq!(unicode(b"a\\u20acb\xe9").unwrap(), "a€bé".as_bytes());
        assert_eq!(unicode(b"\\U0001f600").unwrap(), "😀".as_bytes());
        assert_eq!(unicode(b"\\\\u20ac").unwrap(), b"\\\\u20ac");
        assert_eq!(unicode(b"\\n\\").unwrap(), b"\\n\\");
        assert_eq!(unicode(b"\\udcff").unwrap(), b"\xed\xb3\xbf");
        assert_eq!(unicode(b"\\u20"), None);
        assert_eq!(unicode(b"\\U00110000"), None);
    }

    #[test]
    fn string_escapes() {
        assert_eq!(
            string(b"a\\x00\\377\\n\\'\\q\\0").unwrap(),
            b"a\0\xff\n'\\q\0"
        );
        assert_eq!(string(b"\\x0"), None);
        assert_eq!(string(b"\\"), None);
    }
}
