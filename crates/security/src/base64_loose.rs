//! Base64 as Python's `binascii.a2b_base64` reads it: foreign characters are skipped.

/// The bytes that Python decodes from `text`; `None` where it raises `binascii.Error`.
///
/// Characters outside the alphabet are ignored. Padding that completes a group of four ends the
/// input: what follows is not looked at.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut position, mut pads, mut left) = (0u8, 0u8, 0u8);
    for &character in text {
        if character == b'=' {
            // Padding counts only where it could complete a group.
            if position >= 2 {
                pads += 1;
                if position + pads >= 4 {
                    return Some(bytes);
                }
            }
            continue;
        }
        let Some(value) = sextet(character) else {
            continue;
        };
        pads = 0;
        match position {
            0 => left = value,
            1 => {
                bytes.push((left << 2) | (value >> 4));
                left = value & 0x0f;
            }
            2 => {
                bytes.push((left << 4) | (value >> 2));
                left = value & 0x03;
            }
            _ => bytes.push((left << 6) | value),
        }
        position = (position + 1) % 4;
    }
    (position == 0).then_some(bytes)
}

fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_strict_decoder_reads_is_read_alike() {
        assert_eq!(
            decode(b"YWxhZGRpbjpvcGVu").as_deref(),
            Some(&b"aladdin:open"[..])
        );
        assert_eq!(decode(b"YTpi").as_deref(), Some(&b"a:b"[..]));
        assert_eq!(decode(b"YQ==").as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn a_missing_or_single_last_character_is_an_error() {
        assert_eq!(decode(b"YQ"), None);
        assert_eq!(decode(b"YQ="), None);
        assert_eq!(decode(b"Y"), None);
    }

    #[test]
    fn foreign_characters_are_skipped_and_complete_padding_ends_the_input() {
        assert_eq!(decode(b"Y-T.p\xffi").as_deref(), Some(&b"a:b"[..]));
        assert_eq!(decode(b"YQ==YTpi").as_deref(), Some(&b"a"[..]));
        assert_eq!(decode(b"=YTpi").as_deref(), Some(&b"a:b"[..]));
    }
}
