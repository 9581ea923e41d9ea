//! Both encodings: what is written is read back, and nothing that arrives does harm.

use proptest::prelude::*;

use super::*;

const BOTH: [Encoding; 2] = [Encoding::Pickle, Encoding::Msgpack];

fn encoded(encoding: Encoding, value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encoding.encode(value, &mut out);
    out
}

/// Values without lists, which msgpack cannot tell from tuples.
fn values() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-70_000i64..70_000).prop_map(Value::Int),
        any::<u32>().prop_map(|value| Value::Float(f64::from(value) / 7.0)),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|b| Value::Bytes(Cow::Owned(b))),
        ".{0,20}".prop_map(|text| Value::Text(Cow::Owned(text))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = ".{0,5}".prop_map(|text| Value::Text(Cow::Owned(text)));
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Tuple),
            proptest::collection::vec((key, inner), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in values()) {
        for encoding in BOTH {
            let bytes = encoded(encoding, &value);
            prop_assert_eq!(encoding.decode(&bytes), Ok(value.clone()));
            for cut in 0..bytes.len() {
                prop_assert!(encoding.decode(&bytes[..cut]).is_err(), "cut at {}", cut);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        for encoding in BOTH {
            let _either = encoding.decode(&bytes);
            let _either = encoding.decode(&[b"\x80\x03", &bytes[..]].concat());
        }
    }

    #[test]
    fn one_wrong_byte_never_panics(value in values(), at: prop::sample::Index, byte: u8) {
        for encoding in BOTH {
            let mut bytes = encoded(encoding, &value);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _either = encoding.decode(&bytes);
        }
    }
}

#[test]
fn lists_stay_lists_in_pickles() {
    let many = (0..2345).map(Value::Int).collect();
    for list in [Value::List(vec![Value::None]), Value::List(many)] {
        let bytes = encoded(Encoding::Pickle, &list);
        assert_eq!(Encoding::Pickle.decode(&bytes), Ok(list));
    }
}

#[test]
fn too_deep_values_are_refused_without_a_deep_stack() {
    let mut pickle = b"\x80\x03)".to_vec();
    pickle.extend(std::iter::repeat_n(0x85, 1_000_000));
    pickle.push(b'.');
    assert!(Encoding::Pickle.decode(&pickle).is_err());
    let packed = vec![0x91; 1_000_000];
    assert!(Encoding::Msgpack.decode(&packed).is_err());
}

#[test]
fn too_many_values_are_refused() {
    let mut pickle = b"\x80\x03(".to_vec();
    pickle.extend(std::iter::repeat_n(b'N', WIRE_VALUES_MAX + 1));
    pickle.extend(b"t.");
    assert!(Encoding::Pickle.decode(&pickle).is_err());
    let mut packed = vec![0xdd, 0x01, 0, 0, 0];
    packed.extend(std::iter::repeat_n(0xc0, 1 << 24));
    assert!(Encoding::Msgpack.decode(&packed).is_err());
}

/// `pickle.dumps((1, False, "loadBefore", (b"a" * 8, [])), 3)`, with its memo.
#[test]
fn a_pickle_with_a_memo_is_read_as_well() {
    let pickle = b"\x80\x03(K\x01\x89X\x0a\x00\x00\x00loadBeforeq\x00C\x08aaaaaaaaq\x01]q\x02\x86q\x03tq\x04.";
    let expected = Value::Tuple(vec![
        Value::Int(1),
        Value::Bool(false),
        Value::text("loadBefore"),
        Value::Tuple(vec![Value::bytes(b"aaaaaaaa"), Value::List(vec![])]),
    ]);
    assert_eq!(Encoding::Pickle.decode(pickle), Ok(expected));
}

#[test]
fn names_of_classes_are_refused_but_for_the_one_the_protocol_has() {
    for pickle in [
        &b"\x80\x03cos\nsystem\nX\x02\x00\x00\x00ls\x85R."[..],
        b"\x80\x03cos\nsystem\n.",
        b"\x80\x03cdatetime\ndatetime\n)\x81.",
    ] {
        assert!(Encoding::Pickle.decode(pickle).is_err());
    }
    let prefix = b"\x80\x03cZopeUndo.Prefix\nPrefix\n)\x81}X\x06\x00\x00\x00lengthK\x01sb.";
    let state = Value::Map(vec![(Value::text("length"), Value::Int(1))]);
    assert_eq!(Encoding::Pickle.decode(prefix), Ok(state));
}

/// Ten lists, each holding the one before ten times: a few bytes that stand for 10**10 values.
#[test]
fn a_memo_cannot_make_a_small_pickle_huge() {
    let mut pickle = b"\x80\x03(]q\x00".to_vec();
    for level in 0u8..10 {
        pickle.push(b']');
        pickle.push(b'(');
        for _ in 0..10 {
            pickle.extend([b'h', level]);
        }
        pickle.extend([b'e', b'q', level + 1]);
    }
    pickle.extend([b't', b'.']);
    let Err(error) = Encoding::Pickle.decode(&pickle) else {
        panic!("decoded");
    };
    assert!(error.to_string().contains("larger than"), "{error}");
}

/// One text of 32 KB, and references to it: 65 KB that stood for half a gigabyte.
#[test]
fn a_memo_cannot_make_a_small_pickle_large_in_bytes() {
    for opcode in [b'B', b'X'] {
        let mut pickle = b"\x80\x03(".to_vec();
        pickle.push(opcode);
        pickle.extend(32_000u32.to_le_bytes());
        pickle.resize(pickle.len() + 32_000, b'x');
        pickle.extend(b"q\0");
        pickle.extend(b"h\0".repeat(16_000));
        pickle.extend(b"t.");
        let Err(error) = Encoding::Pickle.decode(&pickle) else {
            panic!("decoded");
        };
        assert!(error.to_string().contains("larger than"), "{error}");
    }
}

/// Two levels of a hundred references each: a kilobyte that stood for ten thousand lists.
#[test]
fn a_memo_cannot_make_a_small_pickle_many_values() {
    let mut pickle = b"\x80\x03(]q\0".to_vec();
    for level in 0u8..3 {
        pickle.extend(b"](");
        pickle.extend([b'h', level].repeat(100));
        pickle.extend([b'e', b'q', level + 1]);
    }
    pickle.extend(b"t.");
    let Err(error) = Encoding::Pickle.decode(&pickle) else {
        panic!("decoded");
    };
    assert!(error.to_string().contains("larger than"), "{error}");
}

/// A `bytearray`, which no message holds.
#[test]
fn what_is_not_allowed_is_told_in_brief() {
    let mut pickle = b"\x80\x05\x96\x20\xa1\x07\0\0\0\0\0".to_vec();
    pickle.resize(pickle.len() + 500_000, b'x');
    pickle.extend(b".");
    let Err(error) = Encoding::Pickle.decode(&pickle) else {
        panic!("decoded");
    };
    let text = error.to_string();
    assert!(text.contains("not allowed: bytearray"), "{error}");
    assert!(text.len() < 1000, "{error}");
}

/// A pickler with a memo writes an equal long text once.
#[test]
fn an_ordinary_use_of_the_memo_is_within_bounds() {
    let mut pickle = b"\x80\x03(X\x10\x27\0\0".to_vec();
    pickle.resize(pickle.len() + 10_000, b'x');
    pickle.extend(b"q\0h\0h\0h\0t.");
    let text = "x".repeat(10_000);
    let expected = Value::Tuple(vec![Value::text(&text); 4]);
    assert_eq!(Encoding::Pickle.decode(&pickle), Ok(expected));
}

/// A subclass of `dict` whose `__reduce__` says `dict, (tuple(self.items()),)`.
#[test]
fn a_call_of_dict_is_the_dict() {
    let pickle = b"\x80\x03cbuiltins\ndict\nX\x03\x00\x00\x00fooK\x01\x86\x85\x85R.";
    let expected = Value::Map(vec![(Value::text("foo"), Value::Int(1))]);
    assert_eq!(Encoding::Pickle.decode(pickle), Ok(expected));
    let wrong = b"\x80\x03cbuiltins\ndict\nK\x01\x85R.";
    assert!(Encoding::Pickle.decode(wrong).is_err());
}

/// `zodbpickle.pickle.dumps({"k": "v", "n": 7, "kk": "k"}, 3)` after a round trip.
#[test]
fn an_extension_is_pickled_as_zodb_does() {
    let extension = Value::Map(vec![
        (Value::text("k"), Value::text("v")),
        (Value::text("n"), Value::Int(7)),
        (Value::text("kk"), Value::text("k")),
    ]);
    let expected = b"\x80\x03}q\x00(X\x01\x00\x00\x00kq\x01X\x01\x00\x00\x00vq\x02X\x01\x00\x00\x00nq\x03K\x07X\x02\x00\x00\x00kkq\x04h\x01u.";
    assert_eq!(encode_extension(&extension), expected);
    assert_eq!(decode_extension(expected), Ok(extension));
    assert_eq!(encode_extension(&Value::Map(vec![])), b"");
}
