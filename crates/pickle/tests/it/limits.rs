//! Hostile input is refused, or survived, without a stack overflow or a large allocation.

use pickle::{EncodeError, EncodeOptions, Limits, Pickles, Reason};

const DEEP: usize = 1_000_000;

fn reason(bytes: &[u8]) -> Reason {
    Pickles::decode(bytes).expect_err("hostile").reason
}

#[test]
fn deep_values_are_decoded_encoded_shown_copied_and_dropped() {
    let lists = [vec![b']'; DEEP], vec![b'a'; DEEP - 1], vec![b'.']].concat();
    let tuples = [vec![b')'], vec![0x85; DEEP], vec![b'.']].concat();
    for bytes in [lists, tuples] {
        let pickles = Pickles::decode(&bytes).unwrap();
        let written = pickles.encode();
        assert_eq!(Pickles::decode(&written).unwrap().encode(), written);
        assert!(pickles.encode_with(EncodeOptions::FAST).is_ok());
        assert!(pickles.root(0).unwrap().to_string().contains("..."));
        let mut other = Pickles::new();
        let copy = other.copy_from(pickles.root(0).unwrap());
        other.push_root(copy);
        assert_eq!(other.encode(), written);
    }
}

#[test]
fn nested_marks_have_a_limit() {
    let error = Pickles::decode(&vec![b'('; DEEP]).unwrap_err();
    assert_eq!(error.offset, pickle::MARK_DEPTH_MAX);
    assert_eq!(
        error.to_string(),
        "pickle refused at byte 100000 (MARK): more than 100000 nested marks; \
         raise the limit if the pickle can be trusted"
    );
}

#[test]
fn lengths_are_checked_before_anything_is_made() {
    for (bytes, needed) in [
        (&b"X\xff\xff\xff\xff"[..], u64::from(u32::MAX)),
        (b"B\xff\xff\xff\x7f.", 0x7fff_ffff),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
    ] {
        let Reason::Truncated { needed: found, .. } = reason(bytes) else {
            panic!("{bytes:?}")
        };
        assert_eq!(found, needed);
    }
    assert_eq!(reason(b"T\xff\xff\xff\xff"), Reason::OutOfRange(-1));
    assert_eq!(reason(b"\x8b\xff\xff\xff\xff"), Reason::OutOfRange(-1));
    assert!(matches!(
        reason(b"\x8b\xff\xff\xff\x7f"),
        Reason::LimitReached { .. }
    ));
}

#[test]
fn a_memo_slot_far_away_is_kept_without_the_slots_between() {
    let pickles = Pickles::decode(b"]r\xff\xff\xff\xffj\xff\xff\xff\xffa.").unwrap();
    assert_eq!(pickles.root(0).unwrap().to_string(), "[...]");
    let text = b"]p18446744073709551615\ng18446744073709551615\na.";
    assert_eq!(
        Pickles::decode(text).unwrap().root(0).unwrap().to_string(),
        "[...]"
    );
    // A slot kept aside is overwritten when the slots in order reach it.
    let mut bytes = b"K\x01q\x64".to_vec();
    for slot in 0..=100 {
        bytes.extend([b'0', b'K', 2, b'q', slot]);
    }
    // It is one slot still: MEMOIZE takes the next number.
    bytes.extend(b"K\x03\x94h\x64h\x65\x86.");
    assert_eq!(
        Pickles::decode(&bytes)
            .unwrap()
            .root(0)
            .unwrap()
            .to_string(),
        "(2, 3)"
    );
}

#[test]
fn each_limit_is_kept() {
    let limits = Limits::default();
    let refused =
        |bytes: &[u8], limits: Limits| Pickles::decode_with(bytes, &limits).unwrap_err().reason;
    let input = refused(
        b"N.",
        Limits {
            input_bytes: 1,
            ..limits
        },
    );
    assert_eq!(input, Reason::InputTooLong { limit: 1, found: 2 });
    for (what, reason) in [
        (
            "nodes",
            refused(b"K\x01K\x02K\x03\x87.", Limits { nodes: 6, ..limits }),
        ),
        (
            "values on the stack",
            refused(
                b"(NNNt.",
                Limits {
                    stack_depth: 2,
                    ..limits
                },
            ),
        ),
        (
            "memo slots in use",
            refused(
                b"]q\x00q\x01.",
                Limits {
                    memo_entries: 1,
                    ..limits
                },
            ),
        ),
        (
            "bytes of an integer",
            refused(
                b"\x8a\x02\x00\x01.",
                Limits {
                    long_bytes: 1,
                    ..limits
                },
            ),
        ),
        (
            "digits of an integer",
            reason(&[b"L", &[b'9'; 5000][..], b"\n."].concat()),
        ),
    ] {
        let Reason::LimitReached { what: found, .. } = reason else {
            panic!("{reason}")
        };
        assert_eq!(found, what);
    }
}

#[test]
fn repeated_names_cannot_grow_the_arena_without_end() {
    // A long text, then again and again a class of that name, four bytes each time.
    let mut bytes = b"\x80\x04X\x00\x00\x10\x00".to_vec();
    bytes.extend(vec![b'n'; 1 << 20]);
    bytes.extend(b"q\x000");
    for _ in 0..10_000 {
        bytes.extend(b"h\x00h\x00\x930");
    }
    bytes.extend(b"N.");
    assert!(matches!(reason(&bytes), Reason::LimitReached { .. }));
}

#[test]
fn a_list_that_grows_between_other_lists_takes_linear_time() {
    // Each item makes a run of children of its own, so the outer list can never grow in place.
    let mut bytes = b"]".to_vec();
    for _ in 0..200_000 {
        bytes.extend(b"(](NNet"); // a tuple of a list of two
        bytes.push(b'a');
    }
    bytes.push(b'.');
    let pickles = Pickles::decode(&bytes).unwrap();
    assert_eq!(pickles.root(0).unwrap().elements().len(), 200_000);
}

#[test]
fn values_without_an_end_are_refused_without_a_memo() {
    let fast = EncodeOptions::FAST;
    let list = Pickles::decode(b"]q\x00h\x00a.").unwrap();
    assert_eq!(list.encode_with(fast), Err(EncodeError::Cyclic));
    let shared = Pickles::decode(b"(]q\x00h\x00h\x00t.").unwrap();
    assert_eq!(shared.encode_with(fast).unwrap(), b"\x80\x03]]]\x87.");
    // Sharing doubled forty times would take terabytes.
    let fast = EncodeOptions {
        bytes_max: 1_000_000,
        ..fast
    };
    let doubled = [&b")"[..], &b"2\x86".repeat(40), b"."].concat();
    let doubled = Pickles::decode(&doubled).unwrap();
    assert!(matches!(
        doubled.encode_with(fast),
        Err(EncodeError::TooLong { .. })
    ));
    assert!(doubled.encode().len() < 400);
}

#[test]
fn errors_name_the_opcode_and_the_place() {
    for (bytes, expected) in [
        (
            &b""[..],
            "pickle refused at byte 0 (where an opcode is due): the input is empty",
        ),
        (
            b"N",
            "pickle refused at byte 1 (where an opcode is due): 1 more bytes are needed and 0 are left; \
             the pickle is cut off or damaged",
        ),
        (
            b"Nh\x07.",
            "pickle refused at byte 1 (BINGET): memo slot 7 is empty",
        ),
        (
            b"N\xf0.",
            "pickle refused at byte 1 (opcode 0xf0): there is no such opcode; \
             this is not a pickle, or it is damaged",
        ),
        (
            b"\x80\x09N.",
            "pickle refused at byte 0 (PROTO): protocol 9 is unknown; 0 to 5 are read",
        ),
        (
            b"NNa.",
            "pickle refused at byte 2 (APPEND): needs a list and found None",
        ),
        (
            b"]N(a.",
            "pickle refused at byte 3 (APPEND): the stack holds too few values",
        ),
        (
            b"}(Nu.",
            "pickle refused at byte 3 (SETITEMS): keys and values do not pair up",
        ),
        (
            b"cos\nsystem\n}b.",
            "pickle refused at byte 12 (BUILD): needs an instance and found a class or function",
        ),
        (
            b"cos\nsystem\n]R.",
            "pickle refused at byte 12 (REDUCE): needs a tuple of arguments and found a list",
        ),
        (
            b"cm\nC\n)\x81NbNb.",
            "pickle refused at byte 10 (BUILD): the object has its state already",
        ),
        (
            b"NQQ.",
            "pickle refused at byte 2 (BINPERSID): needs a persistent id and found a persistent reference",
        ),
        (
            b"\x8c\x03m\nx\x8c\x01C\x93.",
            "pickle refused at byte 8 (STACK_GLOBAL): the argument is not a class name",
        ),
    ] {
        assert_eq!(Pickles::decode(bytes).unwrap_err().to_string(), expected);
    }
}
