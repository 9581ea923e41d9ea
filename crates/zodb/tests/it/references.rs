//! References in all the forms that ZODB has written.

use pickle::Pickles;
use proptest::prelude::*;
use storage::{Oid, Tid};
use zodb::{ClassName, Reference};

use crate::world::{commit_raw, database};

fn round_trip(reference: &Reference) -> Reference {
    let mut pickles = Pickles::new();
    let root = reference.write(&mut pickles);
    pickles.push_root(root);
    let decoded = Pickles::decode(&pickles.encode()).unwrap();
    Reference::read(decoded.root(0).unwrap()).unwrap()
}

fn references() -> impl Strategy<Value = Reference> {
    let class = prop::option::of(("[a-z.]{1,8}", "[A-Za-z]{1,8}"))
        .prop_map(|class| class.map(|(module, name)| ClassName::new(&module, &name)));
    let oid = any::<u64>().prop_map(Oid::new);
    prop_oneof![
        (oid.clone(), class.clone()).prop_map(|(oid, class)| Reference::Strong { oid, class }),
        (oid.clone(), prop::option::of("[a-z]{0,5}"))
            .prop_map(|(oid, database)| Reference::Weak { oid, database }),
        ("[a-z]{0,5}", oid, class).prop_map(|(database, oid, class)| Reference::Foreign {
            database,
            oid,
            class
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(reference in references()) {
        prop_assert_eq!(round_trip(&reference), reference);
    }
}

const OID: &[u8] = b"C\x08\x00\x00\x00\x00\x00\x00\x00\x05";

fn read(persistent_id: &[u8]) -> Option<Reference> {
    let bytes = [b"\x80\x03", persistent_id, b"Q."].concat();
    let pickles = Pickles::decode(&bytes).unwrap();
    Reference::read(pickles.root(0).unwrap())
}

#[test]
fn old_spellings_are_read() {
    let oid = Oid::new(5);
    let class = Some(ClassName::new("a.b", "C"));
    let strong = |class| Some(Reference::Strong { oid, class });
    let weak = Some(Reference::Weak {
        oid,
        database: None,
    });
    let python2: &[u8] = b"U\x08\x00\x00\x00\x00\x00\x00\x00\x05";
    let ascii: &[u8] = b"X\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05";

    for id in [OID, python2, ascii] {
        assert_eq!(read(id), strong(None));
        assert_eq!(read(&[b"]", id, b"a"].concat()), weak);
        assert_eq!(
            read(&[id, b"ca.b\nC\n\x86"].concat()),
            strong(class.clone())
        );
        let named = [id, b"X\x03\x00\x00\x00a.bX\x01\x00\x00\x00C\x86\x86"].concat();
        assert_eq!(read(&named), strong(class.clone()));
        let tagged = [b"](X\x01\x00\x00\x00w", id, b"\x85e"].concat();
        assert_eq!(read(&tagged), weak);
    }
}

#[test]
fn what_is_no_reference_is_none() {
    let short = b"C\x07\x00\x00\x00\x00\x00\x00\x00";
    for id in [
        &short[..],
        b"N",
        b"K\x05",
        b")",
        b"]",
        b"}",
        b"](K\x01K\x02e",
        b"](X\x01\x00\x00\x00z)e",
    ] {
        assert_eq!(read(id), None, "{id:?}");
    }
}

/// The bytes that ZODB 6.4's `ObjectWriter` gave for the persistent id of an `OFS.Folder.Folder`.
#[test]
fn the_usual_reference_is_spelled_as_by_zodb() {
    let mut pickles = Pickles::new();
    let reference = Reference::Strong {
        oid: Oid::new(5),
        class: Some(ClassName::new("OFS.Folder", "Folder")),
    };
    let root = reference.write(&mut pickles);
    pickles.push_root(root);
    let wanted = [
        b"\x80\x03",
        OID,
        b"q\x00cOFS.Folder\nFolder\nq\x01\x86q\x02Q.",
    ]
    .concat();
    assert_eq!(pickles.encode(), wanted);
}

#[test]
fn an_object_lists_its_references_however_deep_they_lie() {
    let database = database();
    let mut pickles = Pickles::new();
    let class = pickles.global("test", "Folder");
    let strong = Reference::Strong {
        oid: Oid::new(7),
        class: None,
    }
    .write(&mut pickles);
    let weak = Reference::Weak {
        oid: Oid::new(8),
        database: None,
    }
    .write(&mut pickles);
    let list = pickles.list(vec![strong, weak, strong]);
    let (callable, args) = (pickles.global("test", "make"), pickles.tuple(vec![strong]));
    let inner = pickles.reduce(callable, args, Some(list));
    // A list that contains itself must not catch the walk.
    pickles.list_push(list, list);
    let state = pickles.dict(Vec::new());
    pickles.dict_set(state, "inner", inner);
    pickles.push_root(class);
    pickles.push_root(state);

    commit_raw(database.storage(), Oid::ROOT, Tid::ZERO, &pickles.encode());
    let root = database.connect().root().unwrap();
    let mut found: Vec<u64> = root.references().map(|r| r.oid().number()).collect();
    found.sort_unstable();
    // Pickles keep no identity for references: each mention counts.
    assert_eq!(found, [7, 7, 7, 8]);
}
