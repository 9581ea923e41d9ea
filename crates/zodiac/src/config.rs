//! The configuration: defaults, then `zodiac.toml`, then the environment, then flags.
//!
//! [`DEFAULTS`] documents every key; a test holds it against [`Config::default`].

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use proxy::{KeySource, Method};
use serde::{Deserialize, Deserializer};
use zeo_net::{ListenAddress, Rights};

use self::also_serve::AlsoServe;
use self::dns::Dns;
use self::members::{Member, named};
use self::rights::{RightsList, TlsClient};
use self::tcp::Tcp;

/// The documented defaults, as `zodiac config --print-defaults` prints them.
pub(crate) const DEFAULTS: &str = include_str!("defaults.toml");

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "zodiac.toml";

/// The largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All settings of all roles.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) up: Up,
    pub(crate) zeo: Zeo,
    pub(crate) storage: Storage,
    pub(crate) publish: Publish,
    pub(crate) balance: Balance,
    pub(crate) log: Log,
}

/// `[up]`: the whole cluster on one machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Up {
    pub(crate) publishers: Count,
    pub(crate) publisher_listen: SocketAddr,
    pub(crate) restart_pause: Seconds,
    pub(crate) restart_pause_max: Seconds,
    pub(crate) stop_wait: Seconds,
}

/// `[zeo]`: the storage server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Zeo {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) also_listen: Vec<ListenPlace>,
    pub(crate) pid_file: PathBuf,
    pub(crate) storage: String,
    pub(crate) also_serve: Vec<AlsoServe>,
    pub(crate) read_only: bool,
    pub(crate) encoding: Encoding,
    pub(crate) client_conflict_resolution: bool,
    pub(crate) invalidation_queue_size: usize,
    pub(crate) invalidation_age: u64,
    pub(crate) transaction_timeout: Seconds,
    pub(crate) connections_max: usize,
    pub(crate) frame_bytes_max: usize,
    pub(crate) pending_bytes_max: usize,
    pub(crate) transaction_bytes_max: usize,
    pub(crate) blob_bytes_max: u64,
    pub(crate) metrics: OptionalAddress,
    pub(crate) slow_request: Seconds,
    pub(crate) sync_patience: Seconds,
    pub(crate) tls_certificate: PathBuf,
    pub(crate) tls_key: PathBuf,
    pub(crate) tls_password_file: PathBuf,
    pub(crate) tls_password_command: String,
    pub(crate) tls_authenticate: PathBuf,
    pub(crate) tls_rights: RightsList,
    pub(crate) tls_clients: Vec<TlsClient>,
}

/// What a storage server offers its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Pickle,
    Msgpack,
}

/// `[storage]`: how the Data.fs is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Storage {
    pub(crate) compress: Compression,
    pub(crate) blob_dir: PathBuf,
    pub(crate) pack_gc: bool,
    pub(crate) pack_keep_old: bool,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Seconds,
    pub(crate) quota: u64,
}

/// What is on the disk when a commit is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Strict,
    Compat,
    Async,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    Zlib,
}

/// `[publish]`: a publisher.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Publish {
    pub(crate) listen: SocketAddr,
    pub(crate) zeo: Vec<ServerAddress>,
    pub(crate) storage: String,
    pub(crate) workers: Count,
    pub(crate) queue_max: usize,
    pub(crate) storage_wait: Seconds,
    pub(crate) server_sync: bool,
    pub(crate) conflict_retries: u32,
    pub(crate) read_only_fallback: bool,
    pub(crate) record_cache_bytes: usize,
    pub(crate) disk_cache: PathBuf,
    pub(crate) disk_cache_bytes: u64,
    pub(crate) object_cache_bytes: u64,
    pub(crate) blob_dir: PathBuf,
    pub(crate) blob_dir_shared: bool,
    pub(crate) blob_cache_bytes: u64,
    pub(crate) body_bytes_max: usize,
    pub(crate) realm: String,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) tls_certificate: PathBuf,
    pub(crate) tls_key: PathBuf,
    pub(crate) tls_password_file: PathBuf,
    pub(crate) tls_password_command: String,
    pub(crate) tls_authenticate: PathBuf,
    pub(crate) tls_check_hostname: bool,
    pub(crate) tls_server_hostname: String,
}

/// `[balance]`: the load balancer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Balance {
    pub(crate) http: bool,
    pub(crate) listen: SocketAddr,
    pub(crate) members: Vec<Member>,
    #[serde(deserialize_with = "named")]
    pub(crate) method: Method,
    #[serde(deserialize_with = "named")]
    pub(crate) key: KeySource,
    pub(crate) slow_start: Seconds,
    pub(crate) mirrors: String,
    pub(crate) redirect: u16,
    pub(crate) session_cookie: String,
    pub(crate) session_secret_file: PathBuf,
    pub(crate) threads: usize,
    pub(crate) queue_max: usize,
    pub(crate) queue_wait: Seconds,
    pub(crate) body_bytes_max: usize,
    pub(crate) health_interval: Seconds,
    pub(crate) health_timeout: Seconds,
    pub(crate) connect_timeout: Seconds,
    pub(crate) response_timeout: Seconds,
    pub(crate) upload_timeout: Seconds,
    pub(crate) idle_timeout: Seconds,
    pub(crate) slots: Count,
    pub(crate) tcp: Vec<Tcp>,
    pub(crate) dns: Dns,
}

/// `[log]`: what is logged.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Default for Up {
    fn default() -> Self {
        Self {
            publishers: Count(3),
            publisher_listen: loopback(8081),
            restart_pause: Seconds::from_millis(100),
            restart_pause_max: Seconds::from_millis(5_000),
            stop_wait: Seconds::from_millis(10_000),
        }
    }
}

impl Default for Zeo {
    fn default() -> Self {
        Self {
            data: PathBuf::from("var/Data.fs"),
            listen: loopback(8100),
            also_listen: Vec::new(),
            pid_file: PathBuf::new(),
            storage: "1".to_owned(),
            also_serve: Vec::new(),
            read_only: false,
            encoding: Encoding::Pickle,
            client_conflict_resolution: false,
            invalidation_queue_size: 10_000,
            invalidation_age: 0,
            transaction_timeout: Seconds::from_millis(20_000),
            connections_max: 1_000,
            frame_bytes_max: 256 << 20,
            pending_bytes_max: 256 << 20,
            transaction_bytes_max: 1 << 30,
            blob_bytes_max: 1 << 40,
            metrics: OptionalAddress(None),
            slow_request: Seconds::from_millis(1_000),
            sync_patience: Seconds::from_millis(10_000),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_password_file: PathBuf::new(),
            tls_password_command: String::new(),
            tls_authenticate: PathBuf::new(),
            tls_rights: RightsList(Rights::ALL),
            tls_clients: Vec::new(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            compress: Compression::None,
            blob_dir: PathBuf::new(),
            pack_gc: true,
            pack_keep_old: true,
            durability: Durability::Strict,
            sync_interval: Seconds::from_millis(1_000),
            quota: 0,
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            listen: loopback(8081),
            zeo: vec![ServerAddress("127.0.0.1:8100".to_owned())],
            storage: "1".to_owned(),
            workers: Count(4),
            queue_max: 128,
            storage_wait: Seconds::from_millis(30_000),
            server_sync: true,
            conflict_retries: 3,
            read_only_fallback: false,
            record_cache_bytes: 64 << 20,
            disk_cache: PathBuf::new(),
            disk_cache_bytes: 1 << 30,
            object_cache_bytes: 64 << 20,
            blob_dir: PathBuf::new(),
            blob_dir_shared: false,
            blob_cache_bytes: 0,
            body_bytes_max: 64 << 20,
            realm: "Zope".to_owned(),
            trusted_proxies: vec![
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ],
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_password_file: PathBuf::new(),
            tls_password_command: String::new(),
            tls_authenticate: PathBuf::new(),
            tls_check_hostname: true,
            tls_server_hostname: String::new(),
        }
    }
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            http: true,
            listen: loopback(8080),
            members: vec![loopback(8081).into()],
            method: Method::default(),
            key: KeySource::default(),
            slow_start: Seconds::from_millis(10_000),
            mirrors: String::new(),
            redirect: 0,
            session_cookie: String::new(),
            session_secret_file: PathBuf::new(),
            threads: 0,
            queue_max: 1_024,
            queue_wait: Seconds::from_millis(30_000),
            body_bytes_max: 64 << 20,
            health_interval: Seconds::from_millis(500),
            health_timeout: Seconds::from_millis(2_000),
            connect_timeout: Seconds::from_millis(2_000),
            response_timeout: Seconds::from_millis(60_000),
            upload_timeout: Seconds::from_millis(600_000),
            idle_timeout: Seconds::from_millis(60_000),
            slots: Count(4),
            tcp: Vec::new(),
            dns: Dns::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads `file`, or `zodiac.toml` where it exists, and the environment on top of it.
    ///
    /// # Errors
    /// Names the file, line and key, or the variable, that is wrong.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self> {
        let default = Path::new(DEFAULT_FILE);
        let text = match file {
            Some(path) => read(path)?,
            None if default.exists() => read(default)?,
            None => String::new(),
        };
        let path = file.unwrap_or(default).display().to_string();
        Self::from_text(&path, &text, variables()?)
    }

    fn from_text(path: &str, text: &str, mut vars: Vec<(String, String)>) -> Result<Self> {
        // The file alone first: only then do messages carry its lines.
        let mut config: Self =
            toml::from_str(text).map_err(|error| anyhow!("{path}: {}", in_plain_words(&error)))?;
        config
            .check()
            .map_err(|error| anyhow!("{path}:{} {error:#}", place(text, &error.to_string())))?;
        let mut table: toml::Table = toml::from_str(text)?;
        vars.sort();
        for (name, value) in vars {
            let Some((section, key)) = key_of_variable(&name) else {
                continue;
            };
            let value = parse_variable(&section, &key, &value)
                .with_context(|| format!("environment variable {name}"))?;
            let entry = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            if let Some(section) = entry.as_table_mut() {
                section.insert(key, value);
            }
            config = Self::deserialize(table.clone()).map_err(|error| {
                anyhow!("environment variable {name}: {}", in_plain_words(&error))
            })?;
            config
                .check()
                .with_context(|| format!("environment variable {name}"))?;
        }
        Ok(config)
    }

    /// What types alone cannot say.
    fn check(&self) -> Result<()> {
        if self.publish.zeo.is_empty() {
            bail!("publish.zeo: name at least one storage server, as in [\"127.0.0.1:8100\"]");
        }
        if self
            .publish
            .realm
            .contains(|c: char| c == '"' || c == '\\' || c.is_control())
        {
            bail!("publish.realm: quotation marks, backslashes and line breaks are not allowed");
        }
        if self.up.restart_pause.0 > self.up.restart_pause_max.0 {
            bail!("up.restart-pause is longer than up.restart-pause-max");
        }
        if self.balance.members.is_empty() {
            bail!("balance.members: name at least one publisher, as in [\"127.0.0.1:8081\"]");
        }
        tls::check(self)?;
        also_serve::check(self)?;
        members::check(&self.balance)?;
        self.check_limits()?;
        crate::logging::filter(&self.log.level)?;
        Ok(())
    }

    /// Times and sizes with which nothing could work.
    fn check_limits(&self) -> Result<()> {
        let times = [
            ("up.restart-pause", self.up.restart_pause),
            ("balance.health-interval", self.balance.health_interval),
            ("balance.health-timeout", self.balance.health_timeout),
            ("balance.connect-timeout", self.balance.connect_timeout),
            ("balance.response-timeout", self.balance.response_timeout),
            ("balance.idle-timeout", self.balance.idle_timeout),
        ];
        for (key, time) in times {
            if time.0.is_zero() {
                bail!("{key} must be longer than 0 seconds");
            }
        }
        let sizes = [
            ("zeo.connections-max", self.zeo.connections_max, 1),
            (
                "zeo.frame-bytes-max",
                self.zeo.frame_bytes_max,
                FRAME_BYTES_MIN,
            ),
            (
                "zeo.pending-bytes-max",
                self.zeo.pending_bytes_max,
                FRAME_BYTES_MIN,
            ),
            (
                "zeo.transaction-bytes-max",
                self.zeo.transaction_bytes_max,
                FRAME_BYTES_MIN,
            ),
        ];
        for (key, size, min) in sizes {
            if size < min {
                bail!("{key} is {size}; it must be {min} at least");
            }
        }
        Ok(())
    }
}

/// The least that frames of the ZEO protocol must be allowed: its own calls, and small objects.
const FRAME_BYTES_MIN: usize = 64 << 10;

/// Where the file sets the key that a message of [`Config::check`] begins with, as ` line 3:`; empty
/// where it does not.
fn place(text: &str, message: &str) -> String {
    let name: String = message
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || matches!(c, '.' | '-'))
        .collect();
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').trim().to_owned();
        } else if let Some((key, _)) = line.split_once('=')
            && format!("{section}.{}", key.trim()) == name
        {
            return format!(" line {}:", index + 1);
        }
    }
    String::new()
}

/// The environment's variables that may be ours.
fn variables() -> Result<Vec<(String, String)>> {
    env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => Ok((name, value)),
                Err(_) => bail!("environment variable {name}: its value is not UTF-8"),
            }
        })
        .collect()
}

/// The error without the names of Rust's types.
fn in_plain_words(error: &toml::de::Error) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("TOML parse error at ", ""),
        ("expected usize", "expected a whole number, not below 0"),
        ("expected u32", "expected a whole number, not below 0"),
        ("expected u64", "expected a whole number, not below 0"),
        (
            "invalid socket address syntax",
            "expected an address of the form IP:PORT",
        ),
    ];
    WORDS
        .iter()
        .fold(error.to_string(), |text, (from, to)| text.replace(from, to))
        .trim_end()
        .to_owned()
}

fn read(path: &Path) -> Result<String> {
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    if size > FILE_BYTES_MAX {
        bail!(
            "{} has {size} bytes; a configuration has {FILE_BYTES_MAX} at most",
            path.display()
        );
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `ZODIAC_ZEO_READ_ONLY` is `read-only` in `[zeo]`; `None` for variables that name no section.
fn key_of_variable(name: &str) -> Option<(String, String)> {
    let (section, key) = name.strip_prefix(ENV_PREFIX)?.split_once('_')?;
    let section = section.to_lowercase();
    ["up", "zeo", "storage", "publish", "balance", "log"]
        .contains(&section.as_str())
        .then(|| (section, key.to_lowercase().replace('_', "-")))
}

/// Gives the text of a variable the type that its key has in [`DEFAULTS`].
fn parse_variable(section: &str, key: &str, text: &str) -> Result<toml::Value> {
    let defaults: toml::Table = toml::from_str(DEFAULTS)?;
    let default = defaults.get(section).and_then(|section| section.get(key));
    let default = default.with_context(|| format!("there is no key `{key}` in [{section}]"))?;
    Ok(match default {
        toml::Value::Integer(_) => text
            .parse::<i64>()
            .map_err(|_| anyhow!("{text:?} is not a whole number"))?
            .into(),
        toml::Value::Float(_) => text
            .parse::<f64>()
            .map_err(|_| anyhow!("{text:?} is not a number"))?
            .into(),
        toml::Value::Boolean(_) => text
            .parse::<bool>()
            .map_err(|_| anyhow!("{text:?} is neither true nor false"))?
            .into(),
        toml::Value::Array(_) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            toml::Value::Array(items.map(Into::into).collect())
        }
        _ => text.into(),
    })
}

const ENV_PREFIX: &str = "ZODIAC_";

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A number of things of which there must be one at least and may not be very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl Count {
    const MAX: usize = 1_024;
}

impl std::str::FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text
            .parse::<usize>()
            .map_err(|_| "a whole number is needed".to_owned())?;
        Self::try_from(number)
    }
}

impl TryFrom<usize> for Count {
    type Error = String;

    fn try_from(number: usize) -> Result<Self, String> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("{number} is not between 1 and {}", Self::MAX))
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        usize::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

/// A span of time, written as a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Seconds {
    const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let max = 86_400.0;
        if (0.0..=max).contains(&seconds) {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err(serde::de::Error::custom(format!(
                "{seconds} is not between 0 and {max} seconds"
            )))
        }
    }
}

/// `HOST:PORT` of a server to connect to; the host may be a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress(pub(crate) String);

impl std::str::FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not an address of the form HOST:PORT"))
        }
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// `IP:PORT`, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalAddress(pub(crate) Option<SocketAddr>);

impl<'de> Deserialize<'de> for OptionalAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let wrong = |_| serde::de::Error::custom(format!("{text:?} is no address IP:PORT"));
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(wrong)
    }
}

/// `IP:PORT`, or the path of a socket: anything with a `/` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenPlace(pub(crate) ListenAddress);

impl<'de> Deserialize<'de> for ListenPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains('/') {
            return Ok(Self(ListenAddress::Unix(text.into())));
        }
        let wrong = |_| {
            let message =
                format!("{text:?} is neither an address IP:PORT nor the path of a socket");
            serde::de::Error::custom(message)
        };
        text.parse()
            .map(|address| Self(ListenAddress::Inet(address)))
            .map_err(wrong)
    }
}

pub(crate) mod also_serve;
mod dns;
pub(crate) mod members;
mod rights;
pub(crate) mod tcp;
mod tls;

#[cfg(test)]
mod tests;
