//! Keys of BTrees, and their order as Python has it.

use std::cmp::Ordering;
use std::fmt;

use pickle::{Kind, Value};

/// What the keys or values of a family are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Domain {
    /// Anything.
    Object,
    /// Whole numbers of so many bits.
    Int { bits: u32, is_signed: bool },
    /// Floating point numbers.
    Float,
    /// So many bytes.
    Bytes(usize),
}

impl Domain {
    /// From the letter in the name of the family.
    pub(super) fn of(letter: u8) -> Option<Self> {
        let int = |bits, is_signed| Some(Self::Int { bits, is_signed });
        match letter {
            b'O' => Some(Self::Object),
            b'I' => int(32, true),
            b'L' => int(64, true),
            b'U' => int(32, false),
            b'Q' => int(64, false),
            b'F' => Some(Self::Float),
            _ => None,
        }
    }

    pub(super) fn holds(self, value: Value<'_>) -> bool {
        match self {
            Self::Object => true,
            Self::Float => matches!(
                value.kind(),
                Kind::Float(_) | Kind::Int(_) | Kind::BigInt(_) | Kind::Bool(_)
            ),
            Self::Int { bits, is_signed } => int(value).is_some_and(|number| {
                let (low, high) = if is_signed {
                    (-(1i128 << (bits - 1)), 1i128 << (bits - 1))
                } else {
                    (0, 1i128 << bits)
                };
                (low..high).contains(&number)
            }),
            Self::Bytes(length) => value.as_bytes().is_some_and(|bytes| bytes.len() == length),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object => f.write_str("an object"),
            Self::Float => f.write_str("a number"),
            Self::Int { bits, is_signed } => {
                let sign = if *is_signed {
                    "a signed"
                } else {
                    "an unsigned"
                };
                write!(f, "{sign} int of {bits} bits")
            }
            Self::Bytes(length) => write!(f, "{length} bytes"),
        }
    }
}

/// A key whose order is known without running Python, as far as it is.
#[derive(Clone, Debug)]
pub(super) enum Key {
    None,
    Int(i128),
    Float(f64),
    /// UTF-8, except for lone surrogates.
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Tuple(Vec<Self>),
    /// Only its class knows.
    Unknown,
}

impl Key {
    pub(super) fn read(value: Value<'_>) -> Self {
        Self::read_within(value, TUPLE_DEPTH_MAX)
    }

    fn read_within(value: Value<'_>, depth: u32) -> Self {
        if let Some(number) = int(value) {
            return Self::Int(number);
        }
        match value.kind() {
            Kind::None => Self::None,
            Kind::Float(number) => Self::Float(number),
            Kind::Str(text) => Self::Text(text.as_bytes().to_owned()),
            Kind::Surrogates(bytes) => Self::Text(bytes.to_owned()),
            // Python 3 reads the `str` of Python 2 as text where it is ASCII.
            Kind::ByteString(bytes) if bytes.is_ascii() => Self::Text(bytes.to_owned()),
            Kind::Bytes(bytes) => Self::Bytes(bytes.to_owned()),
            Kind::Tuple(items) if depth > 0 => Self::Tuple(
                items
                    .map(|item| Self::read_within(item, depth - 1))
                    .collect(),
            ),
            _ => Self::Unknown,
        }
    }

    /// How Python compares the two; nothing where only their classes know, or it cannot.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            // The C code of BTrees has `None` before everything.
            (Self::None, Self::None) => Some(Ordering::Equal),
            (Self::None, Self::Unknown) => Some(Ordering::Less),
            (Self::Unknown, Self::None) => Some(Ordering::Greater),
            (Self::None, _) => Some(Ordering::Less),
            (_, Self::None) => Some(Ordering::Greater),
            _ => self.compare_in_python(other),
        }
    }

    fn compare_in_python(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::None, Self::None) => Some(Ordering::Equal),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Int(a), Self::Float(b)) => exact(*a)?.partial_cmp(b),
            (Self::Float(a), Self::Int(b)) => a.partial_cmp(&exact(*b)?),
            // Code points have the order of their UTF-8.
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Tuple(a), Self::Tuple(b)) => {
                for (a, b) in a.iter().zip(b) {
                    match a.compare_in_python(b)? {
                        Ordering::Equal => {}
                        order => return Some(order),
                    }
                }
                Some(a.len().cmp(&b.len()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::None => "None".to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            Self::Bytes(bytes) => format!("b\"{}\"", bytes.escape_ascii()),
            Self::Tuple(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                format!("({})", items.join(", "))
            }
            Self::Unknown => "(of a class)".to_owned(),
        };
        match text.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => write!(f, "{}...", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

fn int(value: Value<'_>) -> Option<i128> {
    match value.kind() {
        Kind::Bool(value) => Some(i128::from(value)),
        Kind::Int(value) => Some(i128::from(value)),
        Kind::BigInt(bytes) if bytes.len() <= 16 => {
            let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut wide = [if is_negative { 0xff } else { 0 }; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            Some(i128::from_le_bytes(wide))
        }
        _ => None,
    }
}

/// The same number as a float, where that has all its digits.
fn exact(number: i128) -> Option<f64> {
    // 53 bits and the sign: 32 and 22.
    let high = i32::try_from(number >> 22).ok()?;
    let low = u32::try_from(number & 0x3f_ffff).ok()?;
    Some(f64::from(high) * 4_194_304.0 + f64::from(low))
}

const TUPLE_DEPTH_MAX: u32 = 16;
const SHOWN_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use pickle::Pickles;

    use super::*;

    fn text(text: &str) -> Key {
        Key::Text(text.as_bytes().to_owned())
    }

    #[test]
    fn the_order_is_that_of_python() {
        let rising = [
            vec![
                Key::None,
                Key::Float(-1.5),
                Key::Int(-1),
                Key::Int(0),
                Key::Float(0.5),
                Key::Int(1 << 52),
            ],
            vec![Key::None, text("a"), text("ab"), text("z"), text("ä")],
            vec![
                Key::Tuple(vec![]),
                Key::Tuple(vec![text("a")]),
                Key::Tuple(vec![text("a"), Key::Int(2)]),
                Key::Tuple(vec![text("b"), Key::Bytes(vec![1])]),
            ],
        ];
        for keys in &rising {
            for (at, a) in keys.iter().enumerate() {
                for (other, b) in keys.iter().enumerate() {
                    assert_eq!(a.compare(b), Some(at.cmp(&other)), "{a} {b}");
                }
            }
        }
        let tuple = |key| Key::Tuple(vec![key]);
        for (a, b) in [
            (text("a"), Key::Int(1)),
            (text("a"), Key::Bytes(b"a".to_vec())),
            (Key::Unknown, Key::Unknown),
            (Key::Float(f64::NAN), Key::Float(1.0)),
            (Key::Int(1 << 100), Key::Float(1.0)),
            (tuple(Key::None), tuple(Key::Int(1))),
        ] {
            assert_eq!(a.compare(&b), None, "{a} {b}");
        }
    }

    #[test]
    fn domains_hold_what_their_c_types_hold() {
        let holds = |letter, make: &dyn Fn(&mut Pickles) -> pickle::NodeId| {
            let mut pickles = Pickles::new();
            let id = make(&mut pickles);
            Domain::of(letter).unwrap().holds(pickles.value(id))
        };
        assert!(holds(b'I', &|p| p.int(i64::from(i32::MIN))));
        assert!(!holds(b'I', &|p| p.int(1 << 31)));
        assert!(holds(b'U', &|p| p.int(1 << 31)));
        assert!(!holds(b'U', &|p| p.int(-1)));
        assert!(holds(b'L', &|p| p.int(i64::MIN)));
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert!(holds(b'Q', &|p| p.big_int(&largest)));
        assert!(!holds(b'L', &|p| p.big_int(&largest)));
        assert!(!holds(b'L', &|p| p.str("1")));
        assert!(holds(b'F', &|p| p.float(0.5)));
        assert!(!holds(b'F', &|p| p.none()));
    }
}
