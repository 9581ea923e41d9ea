//! The objects that are read: mappings of a few values, each with its id as its number.

use std::path::{Path, PathBuf};

use anyhow::Result;
use pickle::Pickles;

use crate::choice::Scale;
use crate::storage::RawWriter;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// What people call it.
    pub(super) name: &'static str,
    /// Their ids are from 1 on.
    pub(super) objects: u64,
    /// How long a rate is measured, in seconds.
    pub(super) seconds: f64,
    /// How often each side is measured; the best round counts.
    pub(super) rounds: usize,
}

impl Scale for Size {
    const ALL: [Self; 3] = [
        Self {
            name: "full",
            objects: 100_000,
            seconds: 2.0,
            rounds: 2,
        },
        Self {
            name: "small",
            objects: 20_000,
            seconds: 0.7,
            rounds: 1,
        },
        Self {
            name: "tiny",
            objects: 300,
            seconds: 0.05,
            rounds: 1,
        },
    ];

    fn name(self) -> &'static str {
        self.name
    }
}

/// A Data.fs with that many objects.
pub(super) fn make(size: Size, directory: &Path) -> Result<PathBuf> {
    let path = directory.join("Data.fs");
    let mut file = RawWriter::create(&path, size.objects + 1)?;
    let oids: Vec<u64> = (0..=size.objects).collect();
    for oids in oids.chunks(TRANSACTION_RECORDS) {
        let records = oids.iter().map(|oid| Ok((*oid, record(*oid)?)));
        file.transaction(&records.collect::<Result<Vec<_>>>()?)?;
    }
    file.finish()?;
    Ok(path)
}

/// About 450 bytes, as an object of a few attributes has. The root, 0, is such a one, too.
fn record(oid: u64) -> Result<Vec<u8>> {
    let mut pickles = Pickles::new();
    let class = pickles.global("persistent.mapping", "PersistentMapping");
    pickles.push_root(class);
    let number = pickles.int(i64::try_from(oid)?);
    let title = pickles.str(&format!("Document number {oid}"));
    let text = pickles.str(&"Once upon a time there was a document. ".repeat(6));
    let price = pickles.float(2.5);
    let words = ["red", "green", "blue"].map(|word| pickles.str(word));
    let tags = pickles.list(words.to_vec());
    let owner = ["acl_users", "admin"].map(|word| pickles.str(word));
    let owner = pickles.tuple(owner.to_vec());
    let values = [
        ("number", number),
        ("title", title),
        ("text", text),
        ("price", price),
        ("tags", tags),
        ("owner", owner),
    ];
    let values = values.map(|(key, value)| (pickles.str(key), value));
    let data = pickles.dict(values.to_vec());
    let key = pickles.str("data");
    let state = pickles.dict(vec![(key, data)]);
    pickles.push_root(state);
    Ok(pickles.encode())
}

const TRANSACTION_RECORDS: usize = 100;
