//! The objects of the file that is measured: a site of documents in folders whose content is in
//! BTrees, written as ZODB pickles them.

use pickle::{NodeId, Pickles};

/// Where each object of the site is. One group is a folder, its tree, the tree's buckets and the
/// documents in them; shelves are plain folders of groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    groups: u64,
    shelves: u64,
}

impl Layout {
    /// At least so many objects.
    pub(crate) fn of(objects: u64) -> Self {
        let groups = objects.div_ceil(GROUP);
        Self {
            groups,
            shelves: groups.div_ceil(SHELF),
        }
    }

    /// How many objects there are, from 0 on.
    pub(crate) fn objects(self) -> u64 {
        self.first_group() + self.groups * GROUP
    }

    fn first_group(self) -> u64 {
        2 + self.shelves
    }

    fn group(self, group: u64) -> u64 {
        self.first_group() + group * GROUP
    }

    /// The object with that number when `present` tells which groups are still in their shelves.
    pub(crate) fn record(self, oid: u64, text: &str, present: impl Fn(u64) -> bool) -> Vec<u8> {
        if oid == 0 {
            return root();
        }
        if oid == 1 {
            let shelves = (0..self.shelves).map(|shelf| (format!("shelf-{shelf:04}"), 2 + shelf));
            return folder(("OFS.Application", "Application"), "", shelves, FOLDER);
        }
        if oid < self.first_group() {
            let shelf = oid - 2;
            let groups = shelf * SHELF..self.groups.min((shelf + 1) * SHELF);
            let groups = groups
                .filter(|group| present(*group))
                .map(|group| (format!("group-{group:05}"), self.group(group)));
            return folder(FOLDER, &format!("shelf-{shelf:04}"), groups, BIG_FOLDER);
        }
        let group = (oid - self.first_group()) / GROUP;
        let first = self.group(group);
        match oid - first {
            0 => big_folder(group, first + 1),
            1 => tree(first),
            place if place < FIRST_DOCUMENT => bucket(first, place - 2),
            place => document(place - FIRST_DOCUMENT, text),
        }
    }

    /// The documents are the objects that change; this is one of them, the first for 0.
    pub(crate) fn document(self, number: u64) -> u64 {
        let group = number / DOCUMENTS % self.groups;
        self.group(group) + FIRST_DOCUMENT + number % DOCUMENTS
    }

    /// How many documents there are.
    pub(crate) fn documents(self) -> u64 {
        self.groups * DOCUMENTS
    }

    /// The shelves, by their objects.
    pub(crate) fn shelf_oids(self) -> impl Iterator<Item = u64> {
        2..2 + self.shelves
    }
}

type Class = (&'static str, &'static str);

fn reference(pickles: &mut Pickles, oid: u64, class: Class) -> NodeId {
    let oid = pickles.bytes(&oid.to_be_bytes());
    let class = pickles.global(class.0, class.1);
    let id = pickles.tuple(vec![oid, class]);
    pickles.persistent(id)
}

/// A record: the class, then the state that `state` makes.
fn record(class: Class, state: impl FnOnce(&mut Pickles) -> NodeId) -> Vec<u8> {
    let mut pickles = Pickles::new();
    let class = pickles.global(class.0, class.1);
    pickles.push_root(class);
    let state = state(&mut pickles);
    pickles.push_root(state);
    pickles.encode()
}

fn dict(pickles: &mut Pickles, items: Vec<(&str, NodeId)>) -> NodeId {
    let items = items
        .into_iter()
        .map(|(key, value)| (pickles.str(key), value))
        .collect();
    pickles.dict(items)
}

fn root() -> Vec<u8> {
    record(("persistent.mapping", "PersistentMapping"), |pickles| {
        let site = reference(pickles, 1, ("OFS.Application", "Application"));
        let data = dict(pickles, vec![("Application", site)]);
        dict(pickles, vec![("data", data)])
    })
}

fn folder(
    class: Class,
    id: &str,
    members: impl Iterator<Item = (String, u64)>,
    member_class: Class,
) -> Vec<u8> {
    record(class, |pickles| {
        let (mut objects, mut items) = (Vec::new(), Vec::new());
        for (name, oid) in members {
            let key = pickles.str(&name);
            let member = reference(pickles, oid, member_class);
            let kind = pickles.str("Folder");
            objects.push(dict(pickles, vec![("id", key), ("meta_type", kind)]));
            items.push((key, member));
        }
        let objects = pickles.tuple(objects);
        for (key, value) in [("id", pickles.str(id)), ("title", pickles.str(""))] {
            items.push((pickles.str(key), value));
        }
        items.push((pickles.str("_objects"), objects));
        pickles.dict(items)
    })
}

fn big_folder(group: u64, tree: u64) -> Vec<u8> {
    record(BIG_FOLDER, |pickles| {
        let id = pickles.str(&format!("group-{group:05}"));
        let title = pickles.str("Documents of a group");
        let tree = reference(pickles, tree, TREE);
        dict(pickles, vec![("id", id), ("title", title), ("_tree", tree)])
    })
}

fn tree(first: u64) -> Vec<u8> {
    record(TREE, |pickles| {
        let mut children = Vec::new();
        for number in 0..BUCKETS {
            if number > 0 {
                children.push(pickles.str(&document_id(number * BUCKET)));
            }
            children.push(reference(pickles, first + 2 + number, BUCKET_CLASS));
        }
        let children = pickles.tuple(children);
        let first = reference(pickles, first + 2, BUCKET_CLASS);
        pickles.tuple(vec![children, first])
    })
}

fn bucket(first: u64, number: u64) -> Vec<u8> {
    record(BUCKET_CLASS, |pickles| {
        let mut items = Vec::new();
        for place in number * BUCKET..(number + 1) * BUCKET {
            items.push(pickles.str(&document_id(place)));
            items.push(reference(pickles, first + FIRST_DOCUMENT + place, DOCUMENT));
        }
        let mut state = vec![pickles.tuple(items)];
        if number + 1 < BUCKETS {
            state.push(reference(pickles, first + 3 + number, BUCKET_CLASS));
        }
        pickles.tuple(state)
    })
}

fn document_id(place: u64) -> String {
    format!("document-{place:04}")
}

fn document(place: u64, text: &str) -> Vec<u8> {
    record(DOCUMENT, |pickles| {
        let id = pickles.str(&document_id(place));
        let title = pickles.str(&format!("Document number {place}"));
        let raw = pickles.str(text);
        let folder = pickles.str("acl_users");
        let path = pickles.list(vec![folder]);
        let admin = pickles.str("admin");
        let owner = pickles.tuple(vec![path, admin]);
        let role = pickles.str("Owner");
        let roles = pickles.list(vec![role]);
        let roles = pickles.dict(vec![(admin, roles)]);
        dict(
            pickles,
            vec![
                ("__name__", id),
                ("title", title),
                ("raw", raw),
                ("_owner", owner),
                ("__ac_local_roles__", roles),
            ],
        )
    })
}

const FOLDER: Class = ("OFS.Folder", "Folder");
const BIG_FOLDER: Class = ("Products.BTreeFolder2.BTreeFolder2", "BTreeFolder2");
const TREE: Class = ("BTrees.OOBTree", "OOBTree");
const BUCKET_CLASS: Class = ("BTrees.OOBTree", "OOBucket");
const DOCUMENT: Class = ("OFS.DTMLDocument", "DTMLDocument");

/// Documents in a bucket, as a BTree that grew has them.
const BUCKET: u64 = 20;
const BUCKETS: u64 = 24;
const DOCUMENTS: u64 = BUCKETS * BUCKET;
const FIRST_DOCUMENT: u64 = 2 + BUCKETS;
const GROUP: u64 = FIRST_DOCUMENT + DOCUMENTS;
const SHELF: u64 = 32;
