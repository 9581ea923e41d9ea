//! The scanner finds what the decoder finds, and refuses what it refuses.

use std::cell::RefCell;

use pickle::{Kind, Limits, Part, Pickles, Reason, Scanner, UnpickleError, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::golden::{cases, records};

/// A persistent id with what either side knows of it.
#[derive(Clone, PartialEq, Debug)]
enum Id {
    None,
    Bytes(Vec<u8>),
    ByteString(Vec<u8>),
    Str(String),
    Tuple(usize, Vec<Self>),
    List(usize, Vec<Self>),
    Global(String, String),
    Other,
}

const FEW: usize = 3;
/// Values may contain themselves: they are compared to this depth.
const DEPTH: usize = 5;

fn scanned(part: Part<'_>, depth: usize) -> Id {
    let few = |parts: pickle::Parts<'_>| {
        let few = (0..FEW).map_while(|n| parts.get(n));
        few.map(|part| match depth {
            0 => Id::Other,
            _ => scanned(part, depth - 1),
        })
        .collect()
    };
    match part {
        Part::None => Id::None,
        Part::Bytes(bytes) => Id::Bytes(bytes.to_vec()),
        Part::ByteString(bytes) => Id::ByteString(bytes.to_vec()),
        Part::Str(text) => Id::Str(text.to_owned()),
        Part::Tuple(parts) => Id::Tuple(parts.len(), few(parts)),
        Part::List(parts) => Id::List(parts.len(), few(parts)),
        Part::Global { module, name } => Id::Global(module.to_owned(), name.to_owned()),
        _ => Id::Other,
    }
}

fn decoded(value: Value<'_>, depth: usize) -> Id {
    let few = |elements: pickle::Elements<'_>| {
        let elements: Vec<_> = elements.collect();
        let few = elements.iter().take(FEW).map(|value| match depth {
            0 => Id::Other,
            _ => decoded(*value, depth - 1),
        });
        (elements.len(), few.collect())
    };
    match value.kind() {
        Kind::None => Id::None,
        Kind::Bytes(bytes) => Id::Bytes(bytes.to_vec()),
        Kind::ByteString(bytes) => Id::ByteString(bytes.to_vec()),
        Kind::Str(text) => Id::Str(text.to_owned()),
        Kind::Tuple(elements) => {
            let (len, few) = few(elements);
            Id::Tuple(len, few)
        }
        Kind::List(elements) => {
            let (len, few) = few(elements);
            Id::List(len, few)
        }
        Kind::Global { module, name } => Id::Global(module.to_owned(), name.to_owned()),
        _ => Id::Other,
    }
}

/// Whether they are the same, except that a list may have grown since the scanner saw it.
fn agree(scanned: &Id, decoded: &Id) -> bool {
    match (scanned, decoded) {
        (Id::Tuple(len, few), Id::Tuple(decoded_len, decoded_few)) => {
            len == decoded_len && few.iter().zip(decoded_few).all(|(a, b)| agree(a, b))
        }
        (Id::List(len, few), Id::List(decoded_len, decoded_few)) => {
            len <= decoded_len && few.iter().zip(decoded_few).all(|(a, b)| agree(a, b))
        }
        (scanned, decoded) => scanned == decoded,
    }
}

fn scan(bytes: &[u8]) -> (Result<usize, UnpickleError>, Vec<Id>) {
    thread_local! {
        // One for all records, so that what one leaves behind cannot change the next.
        static SCANNER: RefCell<Scanner> = RefCell::default();
    }
    let mut found = Vec::new();
    let result =
        SCANNER.with_borrow_mut(|scanner| scanner.scan(bytes, |id| found.push(scanned(id, DEPTH))));
    (result, found)
}

/// Says whether the bytes were accepted.
fn check(bytes: &[u8]) -> bool {
    let (result, found) = scan(bytes);
    match Pickles::decode(bytes) {
        Ok(pickles) => {
            assert_eq!(result, Ok(pickles.roots().len()), "{bytes:?}");
            let expected: Vec<_> = pickles.persistent_ids().collect();
            assert_eq!(found.len(), expected.len(), "{bytes:?}");
            for (found, expected) in found.iter().zip(expected) {
                let expected = decoded(expected, DEPTH);
                assert!(agree(found, &expected), "{found:?} {expected:?} {bytes:?}");
            }
            true
        }
        Err(error) => {
            assert_eq!(result, Err(error), "{bytes:?}");
            false
        }
    }
}

#[test]
fn golden_pickles_are_scanned_as_they_are_decoded() {
    let mut references = 0;
    for bytes in cases().iter().map(|case| &*case.pickle).chain(records()) {
        if check(bytes) {
            references += scan(bytes).1.len();
        }
    }
    assert!(references > 50, "{references}");
}

#[test]
fn a_persistent_id_may_contain_itself() {
    assert!(check(b"]q\x00h\x00aQ."));
}

/// Pieces of pickles, most of which fit behind each other.
const PIECES: &[&[u8]] = &[
    b"N",
    b"\x88",
    b"K\x07",
    b"M\x01\x02",
    b"J\x01\x02\x03\x04",
    b"G\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x8a\x01\x05",
    b"I01\n",
    b"I12\n",
    b"L99L\n",
    b"F1.5\n",
    b"S'a\\x00b'\n",
    b"Vsn\\u00f6w\n",
    b"Vplain\n",
    b"X\x01\x00\x00\x00w",
    b"X\x01\x00\x00\x00\xff",
    b"X\x03\x00\x00\x00\xed\xa0\x80",
    b"\x8c\x02ab",
    b"U\x01m",
    b"U\x08\0\0\0\0\0\0\0\x01",
    b"C\x08\0\0\0\0\0\0\0\x02",
    b"B\x01\x00\x00\x00x",
    b"\x96\x01\0\0\0\0\0\0\0z",
    b"cmod\nName\n",
    b"\x93",
    b"(imod\nOld\n",
    b"o",
    b"\x82\x01",
    b"Pname\n",
    b"]",
    b"}",
    b")",
    b"\x8f",
    b"(",
    b"(",
    b"t",
    b"l",
    b"d",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x91",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x90",
    b"R",
    b"\x81",
    b"\x92",
    b"b",
    b"Q",
    b"Q",
    b"Q",
    b"q\x00",
    b"q\x01",
    b"r\x02\0\0\0",
    b"p3\n",
    b"\x94",
    b"h\x00",
    b"h\x01",
    b"j\x02\0\0\0",
    b"g3\n",
    b"0",
    b"1",
    b"2",
    b".",
    b"\x80\x03",
    b"\x95\x01\0\0\0\0\0\0\0",
    b"\x97",
    b"?",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_programs_are_scanned_as_they_are_decoded(picks in vec(any::<Index>(), 0..60)) {
        // What can be run so far is kept, so that long programs are valid ones.
        let mut program = Vec::new();
        for pick in picks {
            let piece = pick.get(PIECES);
            let with = [&program[..], *piece, b"N."].concat();
            if check(&with) {
                program.extend_from_slice(piece);
            }
        }
        prop_assert!(check(&[&program[..], b"N."].concat()));
    }

    #[test]
    fn damaged_pickles_are_scanned_as_they_are_decoded(
        pick in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
    ) {
        let mut all: Vec<Vec<u8>> = cases().into_iter().map(|case| case.pickle).collect();
        all.extend(records().into_iter().map(<[u8]>::to_vec));
        let mut bytes = pick.get(&all).clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        check(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        check(&bytes);
    }

    #[test]
    fn random_bytes_are_scanned_as_they_are_decoded(bytes in vec(any::<u8>(), 0..60)) {
        check(&bytes);
    }
}

#[test]
fn limits_are_those_of_the_decoder() {
    let limits = Limits {
        input_bytes: 100,
        nodes: 5,
        stack_depth: 6,
        mark_depth: 3,
        memo_entries: 4,
        long_bytes: 2,
    };
    let mut scanner = Scanner::new(limits);
    let mut reason = |bytes: &[u8]| scanner.scan(bytes, |_| {}).expect_err("too much").reason;
    let nodes = Reason::LimitReached {
        what: "nodes",
        limit: 5,
    };
    assert_eq!(reason(b"]0]0]0]0]0]0."), nodes);
    assert_eq!(reason(b")0)0)0)0)0)0."), nodes);
    assert_eq!(reason(b"\x8f0\x8f0\x8f0\x8f0\x8f0\x8f0."), nodes);
    assert_eq!(reason(&[&b"ca\nb\n0".repeat(6)[..], b"."].concat()), nodes);
    for bytes in [
        &[b'N'; 101][..],
        b"NNNNNNN.",
        b"((((.",
        b"Nq\x00q\x01q\x02q\x03q\x04.",
        b"\x8a\x03\x01\x02\x03.",
    ] {
        let expected = Pickles::decode_with(bytes, &limits)
            .expect_err("too much")
            .reason;
        assert_eq!(reason(bytes), expected);
    }
}
