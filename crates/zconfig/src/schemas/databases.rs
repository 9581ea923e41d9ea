//! The databases of a `zope.conf`: Zope 6.3's `<zodb_db>`, ZODB 6.4's `<zodb>`, and ZEO 6.2's
//! `<clientstorage>`.

use super::storages;
use crate::datatype::Datatype;
use crate::document::{Document, Item};
use crate::schema::{Child, Package, Schema, SectionType, key, required, slot, some, with_default};

/// The `<zodb_db>` and `<zodb>` sections of a text; what else it has is left out by [`databases`].
pub static DATABASES: Schema = Schema {
    root: SectionType::new(
        "",
        &[slot("zodb_db", false, true), slot("zodb", false, true)],
    ),
    types: &[
        &ZODB_DB,
        &ZODB,
        &storages::FILE_STORAGE,
        &storages::MAPPING_STORAGE,
        &storages::DEMO_STORAGE,
        &storages::BLOB_STORAGE,
        &storages::ZEO_CLIENT,
        &storages::TEMPORARY_STORAGE,
    ],
    packages: &[
        Package {
            name: "ZEO",
            types: &[&CLIENT_STORAGE, &CLIENT_SSL],
        },
        Package {
            name: "ZODB",
            types: &[],
        },
        Package {
            name: "zc.zlibstorage",
            types: &[&storages::ZLIB_STORAGE, &storages::SERVER_ZLIB_STORAGE],
        },
        Package {
            name: "tempstorage",
            types: &[],
        },
    ],
    refused: &[],
};

/// The part of a document that [`DATABASES`] is about: the sections of databases, and the imports that
/// they may need.
pub fn databases(document: &Document) -> Document {
    let is_kept = |item: &&Item| match item {
        Item::Pair(_) => false,
        Item::Section(node) => ["zodb_db", "zodb"].contains(&node.kind.as_str()),
        Item::Import(import) => {
            let mut packages = DATABASES.packages.iter();
            packages.any(|package| package.name == import.package)
        }
    };
    Document {
        items: document.items.iter().filter(is_kept).cloned().collect(),
        end: document.end.clone(),
    }
}

const ZODB_CHILDREN: &[Child] = &[
    slot(super::STORAGE, true, false),
    with_default("cache-size", Datatype::Integer, "5000"),
    with_default("cache-size-bytes", Datatype::ByteSize, "0"),
    with_default("large-record-size", Datatype::ByteSize, "16MB"),
    with_default("pool-size", Datatype::Integer, "7"),
    key("pool-timeout", Datatype::TimeInterval),
    with_default("historical-pool-size", Datatype::Integer, "3"),
    with_default("historical-cache-size", Datatype::Integer, "1000"),
    with_default("historical-cache-size-bytes", Datatype::ByteSize, "0"),
    with_default("historical-timeout", Datatype::TimeInterval, "5m"),
    key("database-name", Datatype::Text),
    key("allow-implicit-cross-references", Datatype::Boolean),
    key("class-factory", Datatype::Text),
];

static ZODB: SectionType = SectionType::new("zodb", ZODB_CHILDREN);

static ZODB_DB: SectionType = SectionType::new(
    "zodb_db",
    &[
        some("mount-point", Datatype::Text),
        key("connection-class", Datatype::Text),
        key("container-class", Datatype::Text),
    ],
)
.extends(ZODB_CHILDREN);

static CLIENT_SSL: SectionType = SectionType::new(
    "ssl",
    &[
        required("certificate", Datatype::ExistingDirpath),
        key("key", Datatype::ExistingDirpath),
        key("password-function", Datatype::Text),
        key("authenticate", Datatype::ExistingDirpath),
        with_default("check-hostname", Datatype::Boolean, "true"),
        key("server-hostname", Datatype::Text),
    ],
);

static CLIENT_STORAGE: SectionType = SectionType::new(
    "clientstorage",
    &[
        slot("ssl", false, false),
        some("server", Datatype::ConnectionAddress),
        with_default("cache-size", Datatype::ByteSize, "20MB"),
        key("cache-path", Datatype::Text),
        key("blob-dir", Datatype::Text),
        with_default("shared-blob-dir", Datatype::Boolean, "no"),
        key("blob-cache-size", Datatype::ByteSize),
        key("blob-cache-size-check", Datatype::Integer),
        with_default("read-only", Datatype::Boolean, "off"),
        with_default("read-only-fallback", Datatype::Boolean, "off"),
        with_default("server-sync", Datatype::Boolean, "off"),
        with_default("wait-timeout", Datatype::Integer, "30"),
        key("client-label", Datatype::Text),
        with_default("storage", Datatype::Text, "1"),
        with_default("name", Datatype::Text, ""),
    ],
)
.implements(super::STORAGE);
