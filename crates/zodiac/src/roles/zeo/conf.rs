//! A `zeo.conf`, as runzeo reads it. What cannot be done is refused by name, with file and line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use zconfig::{ConfigError, Document, InetAddress, Machine, Section, SocketAddress, schemas};
use zeo_net::{Encoding, ListenAddress, TlsServerOptions};

use super::plan::{EventLogPlan, FilePlan, Listen, Plan, StoragePlan, shared_blobs};
use crate::config::{self, Config};
use crate::event_log::{HandlerPlan, Target};
use crate::roles::Misuse;

/// Puts what a text says into the plan.
pub(super) fn apply(text: &str, name: &str, config: &Config, plan: &mut Plan) -> Result<()> {
    apply_document(Document::parse(text, name, &Machine), config, plan)
}

/// Puts what a document says into the plan.
pub(super) fn apply_document(
    document: Result<Document, ConfigError>,
    config: &Config,
    plan: &mut Plan,
) -> Result<()> {
    let applied = document.and_then(|document| {
        let root = schemas::ZEO_SERVER.check(&document, &Machine)?;
        apply_root(&root, config, plan)
    });
    applied.map_err(Misuse::error)
}

fn apply_root(root: &Section, config: &Config, plan: &mut Plan) -> Result<(), ConfigError> {
    let zeo = root.section("zeo").expect("the schema requires it");
    apply_zeo(zeo, config, plan)?;
    plan.storages = storages(root, config)?;
    plan.event_log = root.section("eventlog").map(event_log).transpose()?;
    // A <runner> is what zdaemon reads of this file: nothing for us.
    Ok(())
}

fn apply_zeo(zeo: &Section, config: &Config, plan: &mut Plan) -> Result<(), ConfigError> {
    // A zeo.conf without <ssl> means a server without, whatever else is configured.
    let ssl = zeo.section("ssl");
    plan.server.tls = ssl.map(|ssl| tls(ssl, &config.zeo)).transpose()?;
    let place = zeo.address("address").expect("the schema requires it");
    plan.listen = resolve(place).map_err(|message| zeo.error("address", message))?;
    plan.server.read_only = zeo.boolean("read-only") == Some(true);
    if zeo.is_set("invalidation-queue-size") {
        let size = zeo.integer("invalidation-queue-size").unwrap_or_default();
        plan.server.invalidations_max = usize::try_from(size).map_err(|_| {
            zeo.error(
                "invalidation-queue-size",
                "a queue cannot have less than 0 places",
            )
        })?;
    }
    if let Some(seconds) = zeo.integer("transaction-timeout") {
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        let Some(seconds) = seconds else {
            let message =
                "with a transaction-timeout below 1 no transaction could end; leave it out";
            return Err(zeo.error("transaction-timeout", message));
        };
        plan.server.transaction_timeout = Some(Duration::from_secs(seconds));
    }
    plan.merges = zeo.boolean("client-conflict-resolution") != Some(true);
    if let Some(age) = zeo.float("invalidation-age").filter(|age| *age > 0.0) {
        let age = Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX);
        plan.server.invalidation_age = Some(age);
    }
    let pid_file = zeo.text("pid-filename").filter(|path| !path.is_empty());
    plan.pid_file = pid_file.map(PathBuf::from);
    apply_environment(zeo.boolean("msgpack"), plan);
    Ok(())
}

/// What an `<ssl>` says. Where a Python function has the password of the key, the configuration says
/// where else it is.
fn tls(ssl: &Section, config: &config::Zeo) -> Result<TlsServerOptions, ConfigError> {
    let password = config.tls_password();
    if ssl.text("password-function").is_some() && password.is_none() {
        let message = "there is no Python here to call it; set ZODIAC_ZEO_TLS_PASSWORD_FILE or \
            ZODIAC_ZEO_TLS_PASSWORD_COMMAND, or the same keys in zodiac.toml";
        return Err(ssl.error("password-function", message));
    }
    // The schema requires both.
    let [certificate, authenticate] =
        ["certificate", "authenticate"].map(|key| ssl.text(key).unwrap_or_default());
    let options = TlsServerOptions {
        key: ssl.text("key").map(PathBuf::from),
        password,
        rights: config.client_rights(),
        ..TlsServerOptions::new(certificate, authenticate)
    };
    let checked = options.check();
    checked.map_err(|error| ConfigError::new(ssl.place(), format!("<ssl>: {error}")))?;
    Ok(options)
}

/// What runzeo takes from the environment where its configuration does not say it.
pub(super) fn apply_environment(msgpack: Option<bool>, plan: &mut Plan) {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    plan.server.encoding = if msgpack.unwrap_or_else(|| is_set("ZEO_MSGPACK")) {
        Encoding::Msgpack
    } else {
        Encoding::Pickle
    };
    if plan.pid_file.is_none()
        && let Some(home) = std::env::var_os("INSTANCE_HOME").filter(|home| !home.is_empty())
    {
        plan.pid_file = Some(Path::new(&home).join("var").join("ZEO.pid"));
    }
}

/// An address of the command line: `PORT`, `HOST:PORT` or a path.
pub(super) fn address(text: &str) -> Result<Listen, String> {
    SocketAddress::parse(text, "").and_then(|place| resolve(&place))
}

fn resolve(place: &SocketAddress) -> Result<Listen, String> {
    let InetAddress { host, port } = match place {
        SocketAddress::Path(path) => {
            return Ok(Listen {
                addresses: vec![ListenAddress::Unix(path.into())],
                is_anywhere: false,
            });
        }
        SocketAddress::Inet(inet) => inet,
    };
    let port = port.unwrap_or(0); // any free one
    if host.is_empty() {
        let anywhere = [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        // Of any free port there is to be one.
        let count = if port == 0 { 1 } else { anywhere.len() };
        let addresses = anywhere.into_iter().take(count);
        let addresses = addresses.map(|ip| SocketAddr::new(ip, port)).collect();
        return Ok(Listen::inet(addresses, true));
    }
    if host.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{host} is no port; ports are 0 to 65535"));
    }
    let found = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| format!("the host {host:?} is not known: {error}"))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if port == 0 {
        addresses.truncate(1);
    }
    if addresses.is_empty() {
        return Err(format!("the host {host:?} has no address"));
    }
    Ok(Listen::inet(addresses, false))
}

/// All storages with their names. One may be without: it is storage 1.
fn storages(root: &Section, config: &Config) -> Result<Vec<(String, StoragePlan)>, ConfigError> {
    let mut plans: Vec<(String, StoragePlan)> = Vec::new();
    let mut unnamed: Option<&Section> = None;
    for section in root.implementing(schemas::STORAGE) {
        let place = section.place();
        if section.name().is_none() {
            if let Some(other) = unnamed {
                let other = other.place();
                let message = format!("no more than one storage may be unnamed; one is at {other}");
                return Err(ConfigError::new(place, message));
            }
            unnamed = Some(section);
        }
        let name = section.name().unwrap_or("1");
        if plans.iter().any(|(other, _)| other == name) {
            let message = "there cannot be an unnamed storage and a storage named 1";
            return Err(ConfigError::new(place, message));
        }
        let plan = storage(section, config)?;
        let others = plans.iter().flat_map(|(_, other)| other.files());
        if let Some(directory) = shared_blobs(&others.chain(plan.files()).collect::<Vec<_>>()) {
            let message = format!(
                "blob-dir: {} is another storage's as well; a pack of one would remove the blobs of \
                 the other: give each a directory of its own",
                directory.display()
            );
            return Err(ConfigError::new(place, message));
        }
        plans.push((name.to_owned(), plan));
    }
    Ok(plans)
}

fn storage(section: &Section, config: &Config) -> Result<StoragePlan, ConfigError> {
    let refuse = |message: &str| Err(ConfigError::new(section.place(), message));
    match section.kind() {
        "filestorage" => file_storage(section, config).map(StoragePlan::File),
        "mappingstorage" => Ok(StoragePlan::Memory),
        "demostorage" => demo_storage(section, config),
        "blobstorage" => blob_storage(section, config),
        "zlibstorage" => {
            let mut plan = storage(base(section)?, config)?;
            compress(&mut plan, section.boolean("compress") != Some(false));
            Ok(plan)
        }
        // What clients compressed is read by every Data.fs of ours; it is stored as it comes.
        "serverzlibstorage" => {
            let mut plan = storage(base(section)?, config)?;
            compress(&mut plan, false);
            Ok(plan)
        }
        "temporarystorage" => refuse(
            "<temporarystorage>: storages that forget what is old cannot be served yet; sessions can \
             live in a <mappingstorage>, which keeps everything until it is packed",
        ),
        "zeoclient" => refuse(
            "<zeoclient>: a server cannot serve what another server has; let the clients connect there",
        ),
        kind => refuse(&format!(
            "<{kind}>: the BerkeleyDB storages are gone, here as in ZODB"
        )),
    }
}

fn file_storage(section: &Section, config: &Config) -> Result<FilePlan, ConfigError> {
    let path = Path::new(section.text("path").expect("the schema requires it"));
    if section
        .text("packer")
        .is_some_and(|packer| !packer.is_empty())
    {
        let message = "packer names code of Python; take the line out, Zodiac packs by itself";
        return Err(section.error("packer", message));
    }
    if section.boolean("create") == Some(true) && path.exists() {
        let message = "create would empty this Data.fs at every start; Zodiac never does that: \
                       take the line out, a file that is missing is made anyway";
        return Err(section.error("create", message));
    }
    let mut plan = FilePlan::new(config, path);
    let blob_dir = section.text("blob-dir").filter(|path| !path.is_empty());
    plan.blob_dir = blob_dir.map(PathBuf::from);
    plan.read_only = section.boolean("read-only") == Some(true);
    if section.is_set("pack-gc") {
        plan.pack_gc = section.boolean("pack-gc") == Some(true);
    }
    if section.is_set("pack-keep-old") {
        plan.pack_keep_old = section.boolean("pack-keep-old") == Some(true);
    }
    if let Some(quota) = section.integer("quota") {
        let quota = u64::try_from(quota).ok().filter(|quota| *quota > 0);
        let message = "with a quota below 1 nothing could be stored; leave it out";
        plan.quota = Some(quota.ok_or_else(|| section.error("quota", message))?);
    }
    Ok(plan)
}

/// Changes over a base; either is kept in memory where it is not said. Changes of blobs need files.
fn demo_storage(section: &Section, config: &Config) -> Result<StoragePlan, ConfigError> {
    let (mut base, mut changes) = (None, None);
    for inner in section.sections() {
        let part = if inner.name() == Some("changes") {
            &mut changes
        } else {
            &mut base
        };
        if part.is_some() {
            let message = "<demostorage> has place for one base, and one storage named \"changes\"";
            return Err(ConfigError::new(inner.place(), message));
        }
        *part = Some(storage(inner, config)?);
    }
    let base = base.unwrap_or(StoragePlan::Memory);
    let has_blobs = base.files().iter().any(|file| file.blob_dir.is_some());
    let changes = changes.unwrap_or(if has_blobs {
        StoragePlan::Temporary
    } else {
        StoragePlan::Memory
    });
    Ok(StoragePlan::Overlay {
        base: Box::new(base),
        changes: Box::new(changes),
    })
}

/// The old way to give a FileStorage a directory of blobs.
fn blob_storage(section: &Section, config: &Config) -> Result<StoragePlan, ConfigError> {
    let mut plan = storage(base(section)?, config)?;
    let blob_dir = section.text("blob-dir").filter(|path| !path.is_empty());
    match (&mut plan, blob_dir) {
        (StoragePlan::File(file), Some(path)) if file.blob_dir.is_none() => {
            file.blob_dir = Some(path.into());
            Ok(plan)
        }
        _ => {
            let message = "<blobstorage> needs a blob-dir and a <filestorage> in it that has none";
            Err(ConfigError::new(section.place(), message))
        }
    }
}

fn base(section: &Section) -> Result<&Section, ConfigError> {
    section.sections().next().ok_or_else(|| {
        let message = format!("<{}> needs a storage in it", section.kind());
        ConfigError::new(section.place(), message)
    })
}

/// Lets a storage compress what it writes. Memory is not written.
fn compress(plan: &mut StoragePlan, is_wanted: bool) {
    match plan {
        StoragePlan::File(file) => file.compress = is_wanted,
        StoragePlan::Memory | StoragePlan::Temporary => {}
        StoragePlan::Overlay { changes, .. } => compress(changes, is_wanted),
    }
}

fn event_log(section: &Section) -> Result<EventLogPlan, ConfigError> {
    let handlers = section.implementing(schemas::LOG_HANDLER).map(handler);
    Ok(EventLogPlan {
        level: section.integer("level").unwrap_or_default(),
        handlers: handlers.collect::<Result<_, _>>()?,
    })
}

fn handler(section: &Section) -> Result<HandlerPlan, ConfigError> {
    if section.kind() != "logfile" {
        let message = format!(
            "<{}>: logs go to files and standard streams only; let the system's log collect these",
            section.kind()
        );
        return Err(ConfigError::new(section.place(), message));
    }
    let text = |key| section.text(key).unwrap_or_default();
    if !text("when").is_empty() {
        let message = "logs are not rotated by time; use max-size, or logrotate and SIGUSR2";
        return Err(section.error("when", message));
    }
    let encoding = text("encoding").to_lowercase().replace(['-', '_'], "");
    if !matches!(encoding.as_str(), "" | "utf8" | "ascii" | "usascii") {
        return Err(section.error("encoding", "logs are written as UTF-8; take the line out"));
    }
    let format = zconfig::LogFormat::parse(text("format"));
    let number = |key| u64::try_from(section.integer(key).unwrap_or_default()).unwrap_or_default();
    Ok(HandlerPlan {
        level: section.integer("level").unwrap_or_default(),
        format: format.map_err(|message| section.error("format", message))?,
        date_format: crate::event_log::date_format(text("dateformat"))
            .map_err(|message| section.error("dateformat", message))?,
        target: match text("path") {
            "STDOUT" => Target::Stdout,
            "STDERR" => Target::Stderr,
            path => Target::File {
                path: path.into(),
                bytes_max: number("max-size"),
                old_files: number("old-files"),
                is_late: section.boolean("delay") == Some(true),
            },
        },
    })
}

#[cfg(test)]
mod tests;
