//! What a value may be: ZConfig's datatypes, and those of the packages that a ZEO server loads.

use std::path::{Path, PathBuf};

use crate::address::{InetAddress, SocketAddress, port_number};
use crate::numbers;
use crate::words::{is_name, is_space};
use crate::world::World;

/// How the text of a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    /// Any text.
    Text,
    /// Text in which `\n`, `\t`, `\b`, `\f` and `\r` are characters.
    EscapedText,
    /// Words.
    Words,
    /// Whole numbers with commas between.
    Integers,
    /// `yes`, `true`, `on`; `no`, `false`, `off`.
    Boolean,
    /// A whole number.
    Integer,
    /// A whole number of base 8.
    Octal,
    /// A number.
    Float,
    /// 0 to 65535.
    Port,
    /// A whole number, with `kb`, `mb` or `gb`.
    ByteSize,
    /// A whole number, with `s`, `m`, `h` or `d`.
    TimeInterval,
    /// Where to listen.
    BindingAddress,
    /// Where to connect; this machine where no host is given.
    ConnectionAddress,
    /// A host with a port or without.
    InetAddress,
    /// A path in a directory that exists.
    ExistingDirpath,
    /// A path at which there is something.
    ExistingPath,
    /// A directory that exists, or whose parent does.
    ExistingParentDirectory,
    /// A path whose directory's parent exists.
    ExistingParentDirpath,
    /// Names of Python with dots between.
    DottedName,
    /// The level of a logger, by name or number.
    LoggingLevel,
    /// `classic`, `format`, `template` or `safe-template`.
    LogFormatStyle,
    /// A facility of syslog.
    SyslogFacility,
    /// An `http:` URL: its host and port, then the rest.
    HttpUrl,
    /// `GET` or `POST`.
    GetOrPost,
}

/// What the text of a value means.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, names and paths; `~` is the home directory.
    Text(String),
    /// A word for yes or no.
    Boolean(bool),
    /// Numbers, bytes and seconds.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A socket's address.
    Socket(SocketAddress),
    /// A host and a port.
    Inet(InetAddress),
    /// Several texts.
    Texts(Vec<String>),
    /// Several numbers.
    Integers(Vec<i64>),
}

impl Datatype {
    /// The text as such a value.
    ///
    /// # Errors
    /// When it is none.
    pub fn convert(self, text: &str, world: &dyn World) -> Result<Value, String> {
        Ok(match self {
            Self::Text => Value::Text(text.to_owned()),
            Self::EscapedText => Value::Text(unescape(text)),
            Self::Words => Value::Texts(words(text)),
            Self::Integers => Value::Integers(integers(text)?),
            Self::Boolean => Value::Boolean(boolean(text)?),
            Self::Integer => Value::Integer(numbers::integer(text, 10)?),
            Self::Octal => Value::Integer(numbers::integer(text, 8)?),
            Self::Float => Value::Float(numbers::float(text)?),
            Self::Port => Value::Integer(port_number(text)?.into()),
            Self::ByteSize => Value::Integer(numbers::with_suffix(text, &SIZES)?),
            Self::TimeInterval => Value::Integer(numbers::with_suffix(text, &TIMES)?),
            Self::BindingAddress => Value::Socket(SocketAddress::parse(text, "")?),
            Self::ConnectionAddress => Value::Socket(SocketAddress::parse(text, LOOPBACK)?),
            Self::InetAddress => Value::Inet(InetAddress::parse(text, "")?),
            Self::ExistingDirpath
            | Self::ExistingPath
            | Self::ExistingParentDirectory
            | Self::ExistingParentDirpath => Value::Text(self.existing(text, world)?),
            Self::DottedName => Value::Text(dotted_name(text)?),
            Self::LoggingLevel => Value::Integer(logging_level(text)?),
            Self::LogFormatStyle => Value::Text(one_of(text.to_lowercase(), &STYLES)?),
            Self::SyslogFacility => Value::Text(one_of(text.to_lowercase(), &FACILITIES)?),
            Self::HttpUrl => Value::Texts(http_url(text)?),
            Self::GetOrPost => Value::Text(one_of(text.to_uppercase(), &["GET", "POST"])?),
        })
    }

    fn existing(self, text: &str, world: &dyn World) -> Result<String, String> {
        let path = expand_home(text, world);
        let directory = directory_of(&path);
        let is_dir = |path: &str| world.is_dir(Path::new(path));
        let exists = match self {
            Self::ExistingDirpath => directory.is_empty() || is_dir(directory),
            Self::ExistingPath => world.exists(Path::new(&path)),
            Self::ExistingParentDirectory => is_dir(&path) || is_dir(directory),
            _ => directory_of(directory).is_empty() || is_dir(directory_of(directory)),
        };
        match (exists, self) {
            (true, _) => Ok(path),
            (false, Self::ExistingPath) => Err(format!("there is nothing at {path}")),
            (false, _) => Err(format!(
                "the directory of {path} does not exist; make it, or correct the path"
            )),
        }
    }
}

const LOOPBACK: &str = "127.0.0.1";

const SIZES: [(&str, i64); 3] = [("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];

const TIMES: [(&str, i64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

const STYLES: [&str; 4] = ["classic", "format", "template", "safe-template"];

const FACILITIES: [&str; 20] = [
    "auth", "authpriv", "cron", "daemon", "kern", "lpr", "mail", "news", "security", "syslog",
    "user", "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

const LEVELS: [(&str, i64); 11] = [
    ("critical", 50),
    ("fatal", 50),
    ("error", 40),
    ("warn", 30),
    ("warning", 30),
    ("info", 20),
    ("blather", 15),
    ("debug", 10),
    ("trace", 5),
    ("all", 1),
    ("notset", 0),
];

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(true),
        "no" | "false" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(is_space)
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

fn integers(text: &str) -> Result<Vec<i64>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|number| numbers::integer(number, 10))
        .collect()
}

fn unescape(text: &str) -> String {
    [
        ("\\n", "\n"),
        ("\\t", "\t"),
        ("\\b", "\u{8}"),
        ("\\f", "\u{c}"),
        ("\\r", "\r"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn dotted_name(text: &str) -> Result<String, String> {
    if text.split('.').all(is_name) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no dotted name of Python"))
    }
}

fn logging_level(text: &str) -> Result<i64, String> {
    let lower = text.to_lowercase();
    if let Some((_, level)) = LEVELS.iter().find(|(name, _)| *name == lower) {
        return Ok(*level);
    }
    numbers::integer(&lower, 10)
        .ok()
        .filter(|level| (0..=50).contains(level))
        .ok_or_else(|| {
            let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            format!("{text:?} is no level; write one of {names}, or a number from 0 to 50")
        })
}

fn one_of(text: String, names: &[&str]) -> Result<String, String> {
    if names.contains(&text.as_str()) {
        Ok(text)
    } else {
        Err(format!("{text:?} is not one of {}", names.join(", ")))
    }
}

fn http_url(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{text:?} is no URL of the form http://host/path");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if !scheme.eq_ignore_ascii_case("http") || host.is_empty() || !path.starts_with('/') {
        return Err(wrong());
    }
    Ok(vec![host.to_owned(), path.to_owned()])
}

/// The path with `~` for the home directory; other people's (`~name`) are not looked up.
fn expand_home(text: &str, world: &dyn World) -> String {
    let rest = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return text.to_owned(),
    };
    let home = world.variable("HOME").map(PathBuf::from);
    match home.as_deref().and_then(Path::to_str) {
        Some(home) => {
            let path = format!("{}{rest}", home.trim_end_matches('/'));
            if path.is_empty() {
                "/".to_owned()
            } else {
                path
            }
        }
        None => text.to_owned(),
    }
}

/// Python's `os.path.dirname`.
fn directory_of(path: &str) -> &str {
    let head = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
    let trimmed = head.trim_end_matches('/');
    if trimmed.is_empty() { head } else { trimmed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Machine;

    #[test]
    fn directories_are_pythons() {
        for (path, directory) in [
            ("a/b", "a"),
            ("/x", "/"),
            ("//x", "//"),
            ("a//b", "a"),
            ("a/", "a"),
            ("a", ""),
        ] {
            assert_eq!(directory_of(path), directory, "{path}");
        }
    }

    #[test]
    fn paths_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let accepts = |datatype: Datatype, path: &str| {
            let path = format!("{folder}/{path}");
            datatype.convert(&path, &Machine).is_ok()
        };
        assert!(accepts(Datatype::ExistingDirpath, "x"));
        assert!(!accepts(Datatype::ExistingDirpath, "x/y"));
        assert!(accepts(Datatype::ExistingPath, "."));
        assert!(!accepts(Datatype::ExistingPath, "x"));
        assert!(accepts(Datatype::ExistingParentDirectory, "x"));
        assert!(!accepts(Datatype::ExistingParentDirectory, "x/y"));
        assert!(accepts(Datatype::ExistingParentDirpath, "x/y"));
        assert!(!accepts(Datatype::ExistingParentDirpath, "x/y/z"));
        assert!(
            Datatype::ExistingDirpath
                .convert("Data.fs", &Machine)
                .is_ok()
        );
    }

    #[test]
    fn words_for_levels_and_escapes() {
        let level = |text| Datatype::LoggingLevel.convert(text, &Machine);
        assert_eq!(level("WARN"), Ok(Value::Integer(30)));
        assert_eq!(level("17"), Ok(Value::Integer(17)));
        assert!(level("51").is_err() && level("loud").is_err());
        let text = Datatype::EscapedText.convert("a\\nb\\x", &Machine);
        assert_eq!(text, Ok(Value::Text("a\nb\\x".to_owned())));
    }
}
