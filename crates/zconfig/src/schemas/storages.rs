//! Storages: ZODB 6.4's `component.xml`, zc.zlibstorage's and tempstorage's.

use super::STORAGE;
use crate::datatype::Datatype;
use crate::schema::{Child, SectionType, key, required, slot, some, with_default};

pub(super) static FILE_STORAGE: SectionType = SectionType::new(
    "filestorage",
    &[
        required("path", Datatype::ExistingDirpath),
        key("blob-dir", Datatype::ExistingDirpath),
        key("create", Datatype::Boolean),
        key("read-only", Datatype::Boolean),
        key("quota", Datatype::ByteSize),
        key("packer", Datatype::Text),
        with_default("pack-gc", Datatype::Boolean, "true"),
        with_default("pack-keep-old", Datatype::Boolean, "true"),
    ],
)
.implements(STORAGE);

pub(super) static MAPPING_STORAGE: SectionType = SectionType::new(
    "mappingstorage",
    &[with_default("name", Datatype::Text, "Mapping Storage")],
)
.implements(STORAGE);

pub(super) static DEMO_STORAGE: SectionType = SectionType::new(
    "demostorage",
    &[key("name", Datatype::Text), slot(STORAGE, false, true)],
)
.implements(STORAGE);

pub(super) static BLOB_STORAGE: SectionType = SectionType::new(
    "blobstorage",
    &[
        required("blob-dir", Datatype::Text),
        slot(STORAGE, false, false),
    ],
)
.implements(STORAGE);

const ZLIB_CHILDREN: &[Child] = &[
    slot(STORAGE, true, false),
    key("compress", Datatype::Boolean),
];

pub(super) static ZLIB_STORAGE: SectionType =
    SectionType::new("zlibstorage", ZLIB_CHILDREN).implements(STORAGE);

pub(super) static SERVER_ZLIB_STORAGE: SectionType =
    SectionType::new("serverzlibstorage", ZLIB_CHILDREN).implements(STORAGE);

pub(super) static TEMPORARY_STORAGE: SectionType = SectionType::new(
    "temporarystorage",
    &[with_default("name", Datatype::Text, "Temporary Storage")],
)
.implements(STORAGE);

pub(super) static ZEO_CLIENT: SectionType = SectionType::new(
    "zeoclient",
    &[
        some("server", Datatype::ConnectionAddress),
        key("blob-dir", Datatype::Text),
        with_default("shared-blob-dir", Datatype::Boolean, "no"),
        key("blob-cache-size", Datatype::ByteSize),
        key("blob-cache-size-check", Datatype::Integer),
        with_default("storage", Datatype::Text, "1"),
        with_default("cache-size", Datatype::ByteSize, "20MB"),
        with_default("name", Datatype::Text, ""),
        key("client", Datatype::Text),
        key("var", Datatype::Text),
        with_default("min-disconnect-poll", Datatype::Integer, "5"),
        with_default("max-disconnect-poll", Datatype::Integer, "300"),
        with_default("wait", Datatype::Boolean, "on"),
        with_default("read-only", Datatype::Boolean, "off"),
        with_default("read-only-fallback", Datatype::Boolean, "off"),
        key("username", Datatype::Text),
        key("password", Datatype::Text),
        key("realm", Datatype::Text),
        with_default("drop-cache-rather-verify", Datatype::Boolean, "off"),
        key("client-label", Datatype::Text),
    ],
)
.implements(STORAGE);

const BERKELEY_CHILDREN: &[Child] = &[
    required("envdir", Datatype::Text),
    with_default("interval", Datatype::TimeInterval, "2m"),
    with_default("kbyte", Datatype::Integer, "0"),
    with_default("min", Datatype::Integer, "0"),
    key("logdir", Datatype::Text),
    with_default("cachesize", Datatype::ByteSize, "128MB"),
    with_default("frequency", Datatype::TimeInterval, "0"),
    with_default("packtime", Datatype::TimeInterval, "4h"),
    with_default("gcpack", Datatype::Integer, "0"),
    with_default("read-only", Datatype::Boolean, "off"),
];

pub(super) static FULL_STORAGE: SectionType =
    SectionType::new("fullstorage", BERKELEY_CHILDREN).implements(STORAGE);

pub(super) static MINIMAL_STORAGE: SectionType =
    SectionType::new("minimalstorage", BERKELEY_CHILDREN).implements(STORAGE);
