//! Packing ([`storage::Pack`]), without garbage collection: that needs records with references.

use storage::{CommitError, Oid, Pack, PackOptions, StorageError, Tid};

use super::World;

impl World {
    fn packer(&self) -> &dyn Pack {
        self.storage.packer().expect("it can pack")
    }
}

fn up_to(to: Tid) -> PackOptions {
    PackOptions {
        to,
        gc: false,
        ..PackOptions::default()
    }
}

/// What was current at the pack time is kept, and everything since.
pub fn a_pack_takes_only_what_was_replaced_before_its_time(world: &World) {
    let (one, two) = (Oid::new(1), Oid::new(2));
    world.change(Oid::ROOT, b"root");
    let replaced = world.change(one, b"replaced");
    let current = world.change(one, b"current then");
    world.change(two, b"two");
    let to = world.storage.last_tid();
    let after = world.change(one, b"later");
    world.change(one, b"now");
    assert!(!world.packer().is_packing());
    let report = world.packer().pack(&up_to(to)).unwrap();
    assert!(report.packed);
    assert_eq!(
        (report.objects_removed, report.records_dropped),
        (0, Some(1))
    );

    assert_eq!(world.now(Oid::ROOT).as_deref(), Some(&b"root"[..]));
    assert_eq!(world.now(one).as_deref(), Some(&b"now"[..]));
    assert_eq!(world.now(two).as_deref(), Some(&b"two"[..]));
    assert_eq!(
        world.seen(one, after).as_deref(),
        Some(&b"current then"[..])
    );
    assert_eq!(world.seen(one, current), None, "its revision is gone");
    let last = world.storage.last_tid();
    assert!(world.change(one, b"goes on") > last);
    if world.storage.iterate().is_some() {
        let tids: Vec<_> = world.iterated(Tid::ZERO, Tid::MAX);
        assert!(tids.iter().all(|(tid, ..)| *tid != replaced));
        let packed = tids.iter().filter(|(_, is_packed, ..)| *is_packed);
        assert!(packed.map(|(tid, ..)| *tid).all(|tid| tid <= to));
    }
}

/// Without the revisions that were replaced, nothing up to the pack time can be undone; what came
/// later can.
pub fn what_was_packed_cannot_be_undone(world: &World) {
    let oid = Oid::new(1);
    world.change(oid, b"first");
    let packed = world.change(oid, b"second");
    let later = world.change(oid, b"third");
    let last = world.change(oid, b"fourth");
    assert!(world.packer().pack(&up_to(packed)).unwrap().packed);
    let refused = world.undo(&[packed]);
    assert!(
        matches!(refused, Err(CommitError::NotUndoable { .. })),
        "{refused:?}"
    );
    let undo = world.storage.undo().unwrap();
    let log = undo.undo_log(0, 9, &mut |_| true).unwrap();
    assert_eq!(
        log.iter().map(|entry| entry.tid).collect::<Vec<_>>(),
        [last, later]
    );
    world.undo(&[last]).unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"third"[..]));
    world.undo(&[later]).unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"second"[..]));
}

/// Where nothing can be taken away, everything stays as it was: it may still be undone.
pub fn a_pack_of_what_is_all_current_changes_nothing(world: &World) {
    let tids = [0, 1, 2].map(|number| world.change(Oid::new(number), b"current"));
    let before = world.storage.stats();
    let report = world.packer().pack(&up_to(Tid::MAX)).unwrap();
    assert!(!report.packed);
    assert_eq!(
        (report.records_dropped, report.transactions_dropped),
        (Some(0), Some(0))
    );
    assert_eq!(world.storage.stats(), before);
    assert_eq!(world.storage.recent_changes(9).unwrap().len(), tids.len());
}

/// What is current stays, whatever else the storage has been told to do in a pack.
pub fn what_was_replaced_is_packed_far_away(world: &World) {
    let replaced = world.change(Oid::ROOT, ROOT);
    let current = world.change(Oid::ROOT, ROOT);
    let report = world.packer().pack(&PackOptions::default()).unwrap();
    assert!(
        report.packed && report.bytes_after < report.bytes_before,
        "{report:?}"
    );
    assert!(!world.packer().is_packing());
    assert_eq!(world.current(Oid::ROOT).unwrap().tid, current);
    // A cache may know better what the object was; the storage does not.
    let gone = world.iterate().load_serial(Oid::ROOT, replaced);
    assert!(
        matches!(gone, Err(StorageError::NotFound { .. })),
        "{gone:?}"
    );
    assert!(world.change(Oid::ROOT, ROOT) > current);
}

/// Two pickles, without references.
const ROOT: &[u8] =
    b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\x00\x00\x00data}s.";

/// There is no way to ask for it.
pub fn packing_is_not_offered(world: &World) {
    assert!(world.storage.packer().is_none());
    let missing = world.storage.load_before(Oid::ROOT, Tid::MAX);
    assert!(matches!(missing, Err(StorageError::NotFound { .. })));
}
