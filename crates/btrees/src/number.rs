//! Python's numbers: comparing integers of any size with floats, and the sum of a counter.

use std::cmp::Ordering;

use pickle::{Kind, Value};

/// A number of Python. `True` and `False` are 1 and 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number<'a> {
    Int(i64),
    /// Two's complement, little-endian, shortest form, beyond 64 bits.
    Big(&'a [u8]),
    Float(f64),
}

impl<'a> Number<'a> {
    pub(crate) fn of(value: Value<'a>) -> Option<Self> {
        match value.kind() {
            Kind::Bool(value) => Some(Self::Int(i64::from(value))),
            Kind::Int(value) => Some(Self::Int(value)),
            Kind::BigInt(bytes) => Some(Self::Big(bytes)),
            Kind::Float(value) => Some(Self::Float(value)),
            _ => None,
        }
    }

    /// Exact, whatever the kinds; nothing for what is not a number.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right),
            (Self::Float(left), right) => right.compare_float(left).map(Ordering::reverse),
            (left, Self::Float(right)) => left.compare_float(right),
            (Self::Big(left), Self::Big(right)) => Some(compare_big(left, right)),
            // Beyond 64 bits the sign decides.
            (Self::Big(left), Self::Int(_)) => Some(sign(left)),
            (Self::Int(_), Self::Big(right)) => Some(sign(right).reverse()),
        }
    }

    /// An integer with a float.
    fn compare_float(self, float: f64) -> Option<Ordering> {
        if float.is_nan() {
            return None;
        }
        if float.is_infinite() {
            return 0.0.partial_cmp(&float);
        }
        match self {
            Self::Int(int) => {
                let whole = float.floor();
                // Both limits are floats: -2⁶³ and 2⁶³.
                if whole < -I64_LIMIT {
                    return Some(Ordering::Greater);
                }
                if whole >= I64_LIMIT {
                    return Some(Ordering::Less);
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a whole number within the limits of i64"
                )]
                let order = int.cmp(&(whole as i64));
                Some(if order == Ordering::Equal && float > whole {
                    Ordering::Less
                } else {
                    order
                })
            }
            Self::Big(bytes) if float.abs() < I64_LIMIT => Some(sign(bytes)),
            // From 2⁵³ on, floats are whole.
            Self::Big(bytes) => Some(compare_big(bytes, &whole_bytes(float))),
            Self::Float(other) => other.partial_cmp(&float),
        }
    }

    fn as_wide(self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(i128::from(int)),
            Self::Big(bytes) => {
                let fill = if is_negative(bytes) { 0xff } else { 0 };
                let mut wide = [fill; 16];
                wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
                Some(i128::from_le_bytes(wide))
            }
            Self::Float(_) => None,
        }
    }

    fn as_float(self) -> Option<f64> {
        match self {
            Self::Float(float) => Some(float),
            #[expect(
                clippy::cast_precision_loss,
                reason = "Python rounds likewise, to even"
            )]
            int => int.as_wide().map(|wide| wide as f64),
        }
    }
}

/// What adding and subtracting come to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Sum {
    Int(i128),
    Float(f64),
}

/// `committed + new - old`, from left to right as Python does; nothing where an integer is too large
/// for that here.
pub(crate) fn add_changes(old: Number<'_>, committed: Number<'_>, new: Number<'_>) -> Option<Sum> {
    let both = combine(committed, new, i128::checked_add, |a, b| a + b)?;
    match both {
        Sum::Float(both) => Some(Sum::Float(both - old.as_float()?)),
        Sum::Int(both) => match old {
            #[expect(
                clippy::cast_precision_loss,
                reason = "Python rounds likewise, to even"
            )]
            Number::Float(old) => Some(Sum::Float(both as f64 - old)),
            old => both.checked_sub(old.as_wide()?).map(Sum::Int),
        },
    }
}

fn combine(
    left: Number<'_>,
    right: Number<'_>,
    ints: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Option<Sum> {
    match (left, right) {
        (Number::Float(_), _) | (_, Number::Float(_)) => {
            Some(Sum::Float(floats(left.as_float()?, right.as_float()?)))
        }
        _ => ints(left.as_wide()?, right.as_wide()?).map(Sum::Int),
    }
}

const I64_LIMIT: f64 = 9_223_372_036_854_775_808.0;

fn is_negative(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|last| last & 0x80 != 0)
}

/// Of an integer that is not 0.
fn sign(bytes: &[u8]) -> Ordering {
    if is_negative(bytes) {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// Two integers in two's complement, little-endian, shortest form.
fn compare_big(left: &[u8], right: &[u8]) -> Ordering {
    let negative = is_negative(left);
    match (negative, is_negative(right)) {
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        _ => {}
    }
    let longer = left.len().cmp(&right.len());
    let longer = if negative { longer.reverse() } else { longer };
    longer.then_with(|| left.iter().rev().cmp(right.iter().rev()))
}

/// A whole float of 2⁶³ or more, or of -2⁶³ or less, in the form of big integers.
fn whole_bytes(float: f64) -> Vec<u8> {
    let bits = float.abs().to_bits();
    let exponent = usize::try_from(bits >> 52)
        .unwrap_or(0)
        .saturating_sub(1_075);
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let mut bytes = vec![0; exponent / 8];
    bytes.extend((u128::from(mantissa) << (exponent % 8)).to_le_bytes());
    bytes.push(0);
    if float < 0.0 {
        let mut carry = true;
        for byte in &mut bytes {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let fill = if float < 0.0 { 0xff } else { 0 };
    while let [.., before, last] = bytes[..]
        && last == fill
        && (before & 0x80 != 0) == (fill != 0)
    {
        bytes.pop();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2⁶⁴ + `low`.
    fn beyond(low: u64) -> Vec<u8> {
        let mut bytes = (u128::from(low) + (1 << 64)).to_le_bytes()[..9].to_vec();
        bytes[8] = 1;
        bytes
    }

    #[test]
    fn integers_and_floats_compare_exactly() {
        let big = beyond(0);
        let bigger = beyond(1);
        let order = [
            Number::Float(f64::NEG_INFINITY),
            Number::Float(-1e300),
            Number::Big(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            Number::Big(&[0, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
            Number::Big(&[1, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
            Number::Float(-18_446_744_073_709_551_616.0),
            Number::Int(i64::MIN),
            Number::Float(-1.5),
            Number::Int(-1),
            Number::Int(0),
            Number::Float(0.5),
            Number::Int(1 << 53),
            Number::Int((1 << 53) + 1),
            Number::Int(i64::MAX),
            Number::Float(I64_LIMIT),
            Number::Big(&big),
            Number::Big(&bigger),
            Number::Float(1e300),
            Number::Float(f64::INFINITY),
        ];
        for (at, left) in order.iter().enumerate() {
            for (other, right) in order.iter().enumerate() {
                assert_eq!(
                    left.compare(*right),
                    Some(at.cmp(&other)),
                    "{left:?} {right:?}"
                );
            }
        }
        let float = Number::Float(18_446_744_073_709_551_616.0);
        assert_eq!(Number::Big(&big).compare(float), Some(Ordering::Equal));
        assert_eq!(Number::Int(1).compare(Number::Float(f64::NAN)), None);
    }

    #[test]
    fn sums_keep_the_kinds_of_python() {
        let sum = add_changes(Number::Int(1), Number::Int(i64::MAX), Number::Int(3));
        assert_eq!(sum, Some(Sum::Int(i128::from(i64::MAX) + 2)));
        let sum = add_changes(Number::Float(0.5), Number::Int(2), Number::Int(3));
        assert_eq!(sum, Some(Sum::Float(4.5)));
    }
}
