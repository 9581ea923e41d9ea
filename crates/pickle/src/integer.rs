//! Python's unbounded integers as two's complement, little-endian.

/// Cuts bytes at the end that only repeat the sign: the form in which Python writes them.
pub(crate) fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let [head @ .., before, last] = bytes {
        let negative = before & 0x80 != 0;
        if (*last == 0 && !negative) || (*last == 0xff && negative) {
            bytes = &bytes[..=head.len()];
        } else {
            break;
        }
    }
    bytes
}

/// The number if it fits 64 bits.
pub(crate) fn to_i64(bytes: &[u8]) -> Option<i64> {
    let bytes = shortest(bytes);
    let mut wide = [if bytes.last().is_some_and(|last| last & 0x80 != 0) {
        0xff
    } else {
        0
    }; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

/// Reads an optional sign and decimal digits.
pub(crate) fn from_decimal(text: &[u8]) -> Option<Vec<u8>> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut bytes = vec![0u8];
    for digit in digits {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
        }
    }
    bytes.push(0);
    if negative {
        negate(&mut bytes);
    }
    let len = shortest(&bytes).len();
    bytes.truncate(len);
    Some(bytes)
}

/// Writes the number in decimal digits.
pub(crate) fn to_decimal(bytes: &[u8]) -> String {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut rest = bytes.to_vec();
    if negative {
        rest.push(0xff);
        negate(&mut rest);
    }
    let mut digits = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let mut remainder = 0u32;
        for byte in rest.iter_mut().rev() {
            remainder = remainder << 8 | u32::from(*byte);
            *byte = (remainder / 10).to_le_bytes()[0];
            remainder %= 10;
        }
        digits.push(char::from(b'0' + remainder.to_le_bytes()[0]));
    }
    if digits.is_empty() {
        digits.push('0');
    }
    if negative {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_fit_64_bits() {
        assert_eq!(to_i64(&[]), Some(0));
        assert_eq!(to_i64(&[0xff]), Some(-1));
        assert_eq!(to_i64(&[0xff, 0]), Some(255));
        assert_eq!(to_i64(&i64::MIN.to_le_bytes()), Some(i64::MIN));
        assert_eq!(to_i64(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0]), None);
        assert_eq!(to_i64(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(1));
    }

    #[test]
    fn decimal_goes_there_and_back() {
        for text in [
            "0",
            "-1",
            "255",
            "256",
            "-128",
            "-129",
            "18446744073709551616",
        ] {
            let bytes = from_decimal(text.as_bytes()).unwrap();
            assert_eq!(to_decimal(&bytes), text);
            assert_eq!(shortest(&bytes).len(), bytes.len());
        }
        let power = format!("-1{}", "0".repeat(60));
        assert_eq!(to_decimal(&from_decimal(power.as_bytes()).unwrap()), power);
        assert_eq!(from_decimal(b"-"), None);
        assert_eq!(from_decimal(b"1_0"), None);
    }
}
