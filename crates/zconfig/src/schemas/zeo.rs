//! The configuration of a ZEO server, as `runzeo` reads it: ZEO 6.2's `schema.xml` and `server.xml`.

use super::{logging, runner, storages};
use crate::datatype::Datatype;
use crate::schema::{Child, Package, Schema, SectionType, key, required, slot, with_default};

/// What `runzeo -C` reads.
pub static ZEO_SERVER: Schema = Schema {
    root: SectionType::new(
        "",
        &[
            slot("zeo", true, false),
            slot("runner", false, false),
            slot(super::STORAGE, true, true),
            slot("eventlog", false, false),
        ],
    ),
    types: &[
        &ZEO,
        &SSL,
        &runner::RUNNER,
        &storages::FILE_STORAGE,
        &storages::MAPPING_STORAGE,
        &storages::DEMO_STORAGE,
        &storages::BLOB_STORAGE,
        &storages::ZEO_CLIENT,
        &storages::FULL_STORAGE,
        &storages::MINIMAL_STORAGE,
        &logging::EVENT_LOG,
        &logging::LOGGER,
        &logging::LOG_FILE,
        &logging::SYSLOG,
        &logging::WIN32_EVENT_LOG,
        &logging::HTTP_LOGGER,
        &logging::EMAIL_NOTIFIER,
    ],
    packages: &[
        known("ZODB"),
        known("zdaemon"),
        known("ZConfig.components.logger"),
        known("ZConfig.components.basic"),
        Package {
            name: "zc.zlibstorage",
            types: &[&storages::ZLIB_STORAGE, &storages::SERVER_ZLIB_STORAGE],
        },
        Package {
            name: "tempstorage",
            types: &[&storages::TEMPORARY_STORAGE],
        },
    ],
    refused: &[
        (
            "ZEO",
            "its <ssl> for clients collides with the server's; runzeo refuses it as well",
        ),
        ("relstorage", RELSTORAGE),
        ("RelStorage", RELSTORAGE),
        (
            "zc.beforestorage",
            "storages that show an earlier time cannot be served yet",
        ),
        (
            "cipher.encryptingstorage",
            "encrypted storages cannot be served",
        ),
    ],
};

const RELSTORAGE: &str =
    "storages in SQL databases cannot be served; RelStorage's clients need no ZEO server";

/// A package whose sections are known without it.
const fn known(name: &'static str) -> Package {
    Package { name, types: &[] }
}

static SSL: SectionType = SectionType::new(
    "ssl",
    &[
        required("certificate", Datatype::ExistingDirpath),
        key("key", Datatype::ExistingDirpath),
        key("password-function", Datatype::Text),
        required("authenticate", Datatype::Text),
    ],
);

static ZEO: SectionType = SectionType::new("zeo", ZEO_CHILDREN);

const ZEO_CHILDREN: &[Child] = &[
    slot("ssl", false, false),
    required("address", Datatype::BindingAddress),
    with_default("read-only", Datatype::Boolean, "false"),
    with_default("invalidation-queue-size", Datatype::Integer, "100"),
    key("invalidation-age", Datatype::Float),
    key("transaction-timeout", Datatype::Integer),
    key("pid-filename", Datatype::ExistingDirpath),
    with_default("client-conflict-resolution", Datatype::Boolean, "false"),
    key("msgpack", Datatype::Boolean),
];
