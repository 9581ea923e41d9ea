//! Random values come back as they were; random bytes never do harm.

use pickle::{EncodeOptions, Kind, NodeId, Pickles, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::golden::{cases, records};

/// A value without identity, to compare with.
#[derive(Clone, PartialEq, Debug)]
enum Model {
    None,
    Bool(bool),
    Int(i64),
    Big(Vec<u8>),
    Float(u64),
    Str(String),
    Bytes(Vec<u8>),
    ByteString(Vec<u8>),
    Global(String, String),
    Tuple(Vec<Self>),
    List(Vec<Self>),
    Set(Vec<Self>),
    Dict(Vec<(Self, Self)>),
    Persistent(Box<Self>),
    New(Box<Self>, Option<Box<Self>>),
}

fn model() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        Just(Model::None),
        any::<bool>().prop_map(Model::Bool),
        any::<i64>().prop_map(Model::Int),
        (-300i64..70_000).prop_map(Model::Int),
        // A last byte of 1 is neither shortened nor does it fit 64 bits.
        vec(any::<u8>(), 8..300).prop_map(|bytes| Model::Big([&bytes[..], &[1]].concat())),
        any::<u64>().prop_map(Model::Float),
        any::<String>().prop_map(Model::Str),
        vec(any::<u8>(), 0..600).prop_map(Model::Bytes),
        vec(any::<u8>(), 0..300).prop_map(Model::ByteString),
        ("[a-z.]{1,8}", "[A-Zé]{1,8}").prop_map(|(module, name)| Model::Global(module, name)),
    ];
    leaf.prop_recursive(5, 120, 12, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Model::Tuple),
            vec(inner.clone(), 0..12).prop_map(Model::List),
            vec(inner.clone(), 0..4).prop_map(Model::Set),
            vec((inner.clone(), inner.clone()), 0..6).prop_map(Model::Dict),
            vec(inner.clone(), 0..3)
                .prop_map(|parts| Model::Persistent(Box::new(Model::Tuple(parts)))),
            (vec(inner.clone(), 0..3), proptest::option::of(inner)).prop_map(|(args, state)| {
                Model::New(Box::new(Model::Tuple(args)), state.map(Box::new))
            }),
        ]
    })
}

fn build(pickles: &mut Pickles, model: &Model) -> NodeId {
    let all = |pickles: &mut Pickles, items: &[Model]| -> Vec<NodeId> {
        items.iter().map(|item| build(pickles, item)).collect()
    };
    match model {
        Model::None => pickles.none(),
        Model::Bool(value) => pickles.bool(*value),
        Model::Int(value) => pickles.int(*value),
        Model::Big(bytes) => pickles.big_int(bytes),
        Model::Float(bits) => pickles.float(f64::from_bits(*bits)),
        Model::Str(text) => pickles.str(text),
        Model::Bytes(bytes) => pickles.bytes(bytes),
        Model::ByteString(bytes) => pickles.byte_string(bytes),
        Model::Global(module, name) => pickles.global(module, name),
        Model::Tuple(items) => {
            let items = all(pickles, items);
            pickles.tuple(items)
        }
        Model::List(items) => {
            let items = all(pickles, items);
            pickles.list(items)
        }
        Model::Set(items) => {
            let items = all(pickles, items);
            pickles.set(items)
        }
        Model::Dict(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (build(pickles, key), build(pickles, value)))
                .collect();
            pickles.dict(pairs)
        }
        Model::Persistent(id) => {
            let id = build(pickles, id);
            pickles.persistent(id)
        }
        Model::New(args, state) => {
            let class = pickles.global("module", "Class");
            let args = build(pickles, args);
            let state = state.as_ref().map(|state| build(pickles, state));
            pickles.new_object(class, args, state)
        }
    }
}

fn read(value: Value<'_>) -> Model {
    let all = |items: pickle::Elements<'_>| items.map(read).collect();
    match value.kind() {
        Kind::None => Model::None,
        Kind::Bool(value) => Model::Bool(value),
        Kind::Int(value) => Model::Int(value),
        Kind::BigInt(bytes) => Model::Big(bytes.to_vec()),
        Kind::Float(value) => Model::Float(value.to_bits()),
        Kind::Str(text) => Model::Str(text.to_owned()),
        Kind::Bytes(bytes) => Model::Bytes(bytes.to_vec()),
        Kind::ByteString(bytes) => Model::ByteString(bytes.to_vec()),
        Kind::Global { module, name } => Model::Global(module.to_owned(), name.to_owned()),
        Kind::Tuple(items) => Model::Tuple(all(items)),
        Kind::List(items) => Model::List(all(items)),
        Kind::Set(items) => Model::Set(all(items)),
        Kind::Dict(pairs) => {
            Model::Dict(pairs.map(|(key, value)| (read(key), read(value))).collect())
        }
        Kind::Persistent(id) => Model::Persistent(Box::new(read(id))),
        Kind::Instance(instance) => {
            assert_eq!(instance.class.as_global(), Some(("module", "Class")));
            let args = instance.args.map_or(Model::Tuple(Vec::new()), read);
            Model::New(Box::new(args), instance.state.map(read).map(Box::new))
        }
        other => panic!("{other:?} was never built"),
    }
}

proptest! {
    #[test]
    fn values_come_back(roots in vec(model(), 1..3)) {
        let mut pickles = Pickles::new();
        for root in &roots {
            let id = build(&mut pickles, root);
            pickles.push_root(id);
        }
        let encodings = [pickles.encode(), pickles.encode_with(EncodeOptions::FAST).unwrap()];
        for bytes in encodings {
            let decoded = Pickles::decode(&bytes).unwrap();
            let found: Vec<Model> = decoded.roots().map(read).collect();
            prop_assert_eq!(&found, &roots);
            // Reading and writing once more changes nothing; from fast mode only the memo comes on top.
            prop_assert_eq!(Pickles::decode(&decoded.encode()).unwrap().encode(), decoded.encode());
        }
        let mut copies = Pickles::new();
        for root in pickles.roots() {
            let copy = copies.copy_from(root);
            copies.push_root(copy);
        }
        let found: Vec<Model> = copies.roots().map(read).collect();
        prop_assert_eq!(&found, &roots);
    }

    #[test]
    fn a_dict_is_edited_like_a_map(edits in vec(("[a-e]", proptest::option::of(any::<i64>())), 0..40)) {
        let mut pickles = Pickles::new();
        let dict = pickles.dict(Vec::new());
        pickles.push_root(dict);
        let mut expected: Vec<(String, i64)> = Vec::new();
        for (key, value) in edits {
            let place = expected.iter().position(|(known, _)| *known == key);
            match (value, place) {
                (Some(value), place) => {
                    let id = pickles.int(value);
                    pickles.dict_set(dict, &key, id);
                    match place {
                        Some(place) => expected[place].1 = value,
                        None => expected.push((key, value)),
                    }
                }
                (None, place) => {
                    prop_assert_eq!(pickles.dict_remove(dict, &key), place.is_some());
                    place.map(|place| expected.remove(place));
                }
            }
            // Something else between edits, so that the dict cannot always grow in place.
            pickles.tuple(vec![dict]);
        }
        let decoded = Pickles::decode(&pickles.encode()).unwrap();
        let found: Vec<(String, i64)> = decoded
            .root(0)
            .unwrap()
            .entries()
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), value.as_int().unwrap()))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn random_opcodes_do_no_harm(
        picks in vec(proptest::sample::select(&b"NK\x01)]}(tlude12abosRQ.q\x00h\x00q\x01h\x01\x85\x86\x81\x8f\x90\x91\x92\x93\x94X\x01\x00\x00\x00acm\nn\n"[..]), 0..80)
    ) {
        survive(&picks);
    }

    #[test]
    fn damaged_pickles_do_no_harm(
        pick in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        let mut all: Vec<Vec<u8>> = cases().into_iter().map(|case| case.pickle).collect();
        all.extend(records().into_iter().map(<[u8]>::to_vec));
        let mut bytes = pick.get(&all).clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        survive(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        survive(&bytes);
    }
}

/// What was accepted can be shown, written, and read back as the same bytes.
fn survive(bytes: &[u8]) {
    let Ok(pickles) = Pickles::decode(bytes) else {
        return;
    };
    for root in pickles.roots() {
        assert!(root.to_string().len() < 100_000);
    }
    let written = pickles.encode();
    let again = Pickles::decode(&written).unwrap_or_else(|error| panic!("{error}: {written:?}"));
    assert_eq!(again.encode(), written);
    // May fail, but not panic.
    let _ = pickles.encode_with(EncodeOptions {
        bytes_max: 1_000_000,
        ..EncodeOptions::FAST
    });
    let mut copies = Pickles::new();
    for root in pickles.roots() {
        copies.copy_from(root);
    }
}
