//! Logs: what ZConfig 4.3's `components/logger` describes.

use super::LOG_HANDLER;
use crate::datatype::Datatype;
use crate::log_format::LogFormat;
use crate::schema::{Child, SectionType, key, required, slot, some, with_default};
use crate::section::Section;
use crate::world::World;

/// What `<runner>` may hold.
pub(super) const LOG: &str = "zconfig.logger.log";

const LOGGER_CHILDREN: &[Child] = &[
    with_default("level", Datatype::LoggingLevel, "info"),
    slot(LOG_HANDLER, false, true),
];

pub(super) static EVENT_LOG: SectionType =
    SectionType::new("eventlog", LOGGER_CHILDREN).implements(LOG);

pub(super) static LOGGER: SectionType = SectionType::new(
    "logger",
    &[
        with_default("propagate", Datatype::Boolean, "true"),
        key("name", Datatype::DottedName),
    ],
)
.extends(LOGGER_CHILDREN)
.implements(LOG);

const HANDLER_CHILDREN: &[Child] = &[
    key("formatter", Datatype::DottedName),
    with_default("dateformat", Datatype::Text, "%Y-%m-%dT%H:%M:%S"),
    with_default("level", Datatype::LoggingLevel, "notset"),
    with_default("style", Datatype::LogFormatStyle, "classic"),
    with_default("arbitrary-fields", Datatype::Boolean, "false"),
];

pub(super) static LOG_FILE: SectionType = SectionType::new(
    "logfile",
    &[
        required("path", Datatype::Text),
        with_default("old-files", Datatype::Integer, "0"),
        with_default("max-size", Datatype::ByteSize, "0"),
        with_default("when", Datatype::Text, ""),
        with_default("interval", Datatype::Integer, "0"),
        with_default(
            "format",
            Datatype::EscapedText,
            "------\\n%(asctime)s %(levelname)s %(name)s %(message)s",
        ),
        key("encoding", Datatype::Text),
        with_default("delay", Datatype::Boolean, "false"),
    ],
)
.extends(HANDLER_CHILDREN)
.implements(LOG_HANDLER)
.with_rule(check_log_file);

pub(super) static SYSLOG: SectionType = SectionType::new(
    "syslog",
    &[
        with_default("facility", Datatype::SyslogFacility, "user"),
        with_default("address", Datatype::BindingAddress, "localhost:514"),
        with_default("format", Datatype::EscapedText, "%(name)s %(message)s"),
    ],
)
.extends(HANDLER_CHILDREN)
.implements(LOG_HANDLER)
.with_rule(check_format);

pub(super) static WIN32_EVENT_LOG: SectionType = SectionType::new(
    "win32-eventlog",
    &[
        with_default("appname", Datatype::Text, "Zope"),
        with_default(
            "format",
            Datatype::EscapedText,
            "%(levelname)s %(name)s %(message)s",
        ),
    ],
)
.extends(HANDLER_CHILDREN)
.implements(LOG_HANDLER)
.with_rule(check_format);

pub(super) static HTTP_LOGGER: SectionType = SectionType::new(
    "http-logger",
    &[
        with_default("url", Datatype::HttpUrl, "http://localhost/"),
        with_default("method", Datatype::GetOrPost, "GET"),
        with_default("format", Datatype::EscapedText, LONG_FORMAT),
    ],
)
.extends(HANDLER_CHILDREN)
.implements(LOG_HANDLER)
.with_rule(check_format);

pub(super) static EMAIL_NOTIFIER: SectionType = SectionType::new(
    "email-notifier",
    &[
        required("from", Datatype::Text),
        some("to", Datatype::Text),
        with_default("subject", Datatype::Text, "Message from Zope"),
        with_default("smtp-server", Datatype::InetAddress, "localhost"),
        with_default("smtp-username", Datatype::Text, ""),
        with_default("smtp-password", Datatype::Text, ""),
        with_default("format", Datatype::EscapedText, LONG_FORMAT),
    ],
)
.extends(HANDLER_CHILDREN)
.implements(LOG_HANDLER)
.with_rule(check_mail);

const LONG_FORMAT: &str = "%(asctime)s %(levelname)s %(name)s %(message)s";

/// The formatters that differ from ours, if at all, only in how they print Python's tracebacks.
const FORMATTERS: [&str; 2] = ["logging.Formatter", "zope.exceptions.log.Formatter"];

type Checked = Result<(), (&'static str, String)>;

fn check_format(section: &Section, _world: &dyn World) -> Checked {
    if let Some(formatter) = section.text("formatter")
        && !FORMATTERS.contains(&formatter)
    {
        let known = FORMATTERS.join(" and ");
        let message = format!("formatter {formatter} is code of Python; only {known} are known");
        return Err(("formatter", message));
    }
    match section.text("style") {
        Some("classic") | None => {}
        Some(style) => {
            let message = format!("style {style} is not understood; only classic is");
            return Err(("style", message));
        }
    }
    let format = section.text("format").unwrap_or_default();
    LogFormat::parse(format)
        .map(drop)
        .map_err(|message| ("format", message))
}

fn check_log_file(section: &Section, world: &dyn World) -> Checked {
    check_format(section, world)?;
    let path = section.text("path").unwrap_or_default();
    let number = |key| section.integer(key).unwrap_or(0);
    let is_timed = section.text("when").is_some_and(|when| !when.is_empty());
    let (max_size, old_files, interval) =
        (number("max-size"), number("old-files"), number("interval"));
    if matches!(path, "STDOUT" | "STDERR") {
        if max_size != 0 || old_files != 0 || is_timed {
            return Err(("path", format!("{path} cannot be rotated")));
        }
        if section.boolean("delay") == Some(true) {
            return Err(("delay", format!("{path} cannot be opened later")));
        }
        if section
            .text("encoding")
            .is_some_and(|encoding| !encoding.is_empty())
        {
            return Err(("encoding", format!("{path} takes no encoding")));
        }
    } else if is_timed || max_size != 0 || old_files != 0 || interval != 0 {
        if old_files == 0 {
            let message = "\"old-files\" must say how many old files are kept";
            return Err(("path", message.to_owned()));
        }
        if is_timed && max_size != 0 {
            let message = "\"when\" and \"max-size\" cannot both be set";
            return Err(("when", message.to_owned()));
        }
        if !is_timed && max_size == 0 {
            let message = "\"max-size\" or \"when\" must say when a new file is begun";
            return Err(("old-files", message.to_owned()));
        }
    }
    Ok(())
}

fn check_mail(section: &Section, world: &dyn World) -> Checked {
    check_format(section, world)?;
    let is_set = |key| section.text(key).is_some_and(|text| !text.is_empty());
    if is_set("smtp-username") != is_set("smtp-password") {
        let message = "\"smtp-username\" and \"smtp-password\" are needed both, or neither";
        return Err(("smtp-username", message.to_owned()));
    }
    Ok(())
}
