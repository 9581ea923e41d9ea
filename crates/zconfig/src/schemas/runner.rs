//! `<runner>`: what zdaemon, which starts and watches servers, is told in their configuration.

use super::logging::LOG;
use crate::datatype::Datatype;
use crate::schema::{SectionType, key, required, slot, with_default};

pub(super) static RUNNER: SectionType = SectionType::new(
    "runner",
    &[
        slot(LOG, false, false),
        required("program", Datatype::Words),
        key("python", Datatype::ExistingPath),
        key("zdrun", Datatype::ExistingPath),
        with_default("socket-name", Datatype::ExistingParentDirpath, "zdsock"),
        with_default("daemon", Datatype::Boolean, "on"),
        key("directory", Datatype::ExistingParentDirectory),
        with_default("backoff-limit", Datatype::Integer, "10"),
        with_default("forever", Datatype::Boolean, "false"),
        with_default("exit-codes", Datatype::Integers, "0,2"),
        key("start-test-program", Datatype::Words),
        with_default("start-timeout", Datatype::Integer, "300"),
        with_default("stop-timeout", Datatype::Integer, "300"),
        key("user", Datatype::Text),
        with_default("umask", Datatype::Octal, "022"),
        with_default("hang-around", Datatype::Boolean, "false"),
        with_default("default-to-interactive", Datatype::Boolean, "true"),
        key("logfile", Datatype::ExistingDirpath),
        key("transcript", Datatype::ExistingDirpath),
        key("prompt", Datatype::Text),
    ],
);
