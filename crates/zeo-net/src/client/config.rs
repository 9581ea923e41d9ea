//! Options as the originals spell them: sections of a `zope.conf`, and the URIs of zodburi.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zconfig::{ConfigError, Document, Section, SocketAddress, Value, World, schemas};

use super::options::{BlobOptions, ClientOptions, DiskCache};
use crate::tls::{KeyPassword, TlsClientOptions};

/// A database of a `zope.conf` that is in a ZEO server.
#[derive(Clone, Debug)]
pub struct ZeoDatabase {
    /// The name of its `<zodb_db>` or `<zodb>`.
    pub name: Option<String>,
    /// How its server is reached.
    pub client: ClientOptions,
    /// All that the section says.
    pub section: Section,
}

impl ClientOptions {
    /// The databases of a `zope.conf` that are in ZEO servers; what else the text has is passed over.
    /// Where an `<ssl>` names a Python function for the password of a key, `password` stands for it.
    ///
    /// ```
    /// use zconfig::{Document, Machine};
    /// use zeo_net::ClientOptions;
    ///
    /// let text = "
    /// instancehome /srv/zope
    /// <zodb_db main>
    ///   mount-point /
    ///   <zeoclient>
    ///     server db1:8100
    ///     server db2:8100
    ///     cache-size 64MB
    ///   </zeoclient>
    /// </zodb_db>";
    /// let document = Document::parse(text, "zope.conf", &Machine)?;
    /// let databases = ClientOptions::from_zope_conf(&document, &Machine, None)?;
    /// assert_eq!(databases[0].name.as_deref(), Some("main"));
    /// assert_eq!(databases[0].client.servers, ["db1:8100", "db2:8100"]);
    /// # Ok::<(), zconfig::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Names file and line of what is wrong.
    pub fn from_zope_conf(
        document: &Document,
        world: &dyn World,
        password: Option<&KeyPassword>,
    ) -> Result<Vec<ZeoDatabase>, ConfigError> {
        let databases = schemas::DATABASES.check(&schemas::databases(document), world)?;
        let mut found = Vec::new();
        for section in databases.sections() {
            let storage = section.implementing(schemas::STORAGE).next();
            let client = storage.filter(|storage| CLIENTS.contains(&storage.kind()));
            if let Some(client) = client {
                found.push(ZeoDatabase {
                    name: section.name().map(str::to_owned),
                    client: Self::from_section(client, password)?,
                    section: section.clone(),
                });
            }
        }
        Ok(found)
    }

    /// What a `<zeoclient>` or a `<clientstorage>` says. As with ZEO 6, without effect: `name`,
    /// `min-disconnect-poll`, `max-disconnect-poll`, `drop-cache-rather-verify`, `username`, `password`,
    /// `realm`.
    ///
    /// # Errors
    /// Names file and line of what is wrong.
    pub fn from_section(
        section: &Section,
        password: Option<&KeyPassword>,
    ) -> Result<Self, ConfigError> {
        let keys = Keys(section);
        let mut options = Self {
            servers: keys.servers()?,
            read_only: keys.is("read-only"),
            read_only_fallback: keys.is("read-only-fallback"),
            label: keys.text("client-label"),
            blobs: keys.blobs()?,
            ..Self::default()
        };
        if let Some(storage) = keys.text("storage") {
            options.storage = storage;
        }
        options.cache_bytes = usize::try_from(keys.size("cache-size")?.unwrap_or_default())
            .map_err(|_| section.error("cache-size", "it is larger than the memory"))?;
        if section.kind() == ZEO_CLIENT {
            options.wait_at_start = keys.is("wait");
            if let Some(client) = keys.text("client") {
                let var = keys.text("var").unwrap_or_default();
                options.keep_cache(&cache_file(&var, &client, &options.storage));
            }
            return Ok(options);
        }
        if let Some(file) = keys.text("cache-path") {
            options.keep_cache(Path::new(&file));
        }
        options.server_sync = keys.is("server-sync");
        match keys.size("wait-timeout")? {
            // The original takes 0 for "not set".
            None | Some(0) => {}
            Some(seconds) => options.wait = Duration::from_secs(seconds),
        }
        let ssl = section.section("ssl");
        options.tls = ssl.map(|ssl| tls(ssl, password)).transpose()?;
        Ok(options)
    }

    /// What a URI of zodburi says, `zeo://host:port?wait_timeout=10` or `zeo:///path/of/socket`, and its
    /// parameters that are for the database. Several servers may be named, with commas between.
    ///
    /// ```
    /// use zeo_net::ClientOptions;
    ///
    /// let uri = "zeo://db1:8100,db2:8100?storage=main&wait_timeout=5&connection_pool_size=3";
    /// let (options, rest) = ClientOptions::from_uri(uri)?;
    /// assert_eq!(options.servers, ["db1:8100", "db2:8100"]);
    /// assert_eq!(options.wait.as_secs(), 5);
    /// assert_eq!(rest, [("connection_pool_size".to_owned(), "3".to_owned())]);
    /// # Ok::<(), zeo_net::UriError>(())
    /// ```
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub fn from_uri(uri: &str) -> Result<(Self, Vec<(String, String)>), UriError> {
        let rest = uri.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let mut options = Self::default();
        if hosts.is_empty() {
            if path.len() < 2 {
                return Err(UriError::NoServer);
            }
            options.servers = vec![path.to_owned()];
        } else {
            let servers = hosts.split(',').map(uri_server);
            options.servers = servers.collect::<Result<_, _>>()?;
            let storage = path.trim_matches('/');
            if !storage.is_empty() {
                options.storage = storage.to_owned();
            }
        }
        let mut rest = Vec::new();
        let (mut client, mut var) = (None, String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "client" => client = Some(value.into_owned()),
                "var" => var = value.into_owned(),
                _ if options.set(&name, &value)? => {}
                _ => rest.push((name.into_owned(), value.into_owned())),
            }
        }
        if let Some(client) = client {
            options.keep_cache(&cache_file(&var, &client, &options.storage));
        }
        Ok((options, rest))
    }

    /// Sets what a parameter of a URI says. Whether it is a client's.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, UriError> {
        let wrong = |expected| UriError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let is = || flag(value).ok_or_else(|| wrong("a flag: 1, 0, true, false, yes, no, on, off"));
        let size = || byte_size(value).ok_or_else(|| wrong("a size: a number, KB, MB or GB"));
        match name {
            "storage" => value.clone_into(&mut self.storage),
            "wait" | "wait_for_server_on_startup" => self.wait_at_start = is()?,
            "wait_timeout" => {
                let seconds = value.parse().map_err(|_| wrong("whole seconds"))?;
                self.wait = Duration::from_secs(seconds);
            }
            "read_only" => self.read_only = is()?,
            "read_only_fallback" => self.read_only_fallback = is()?,
            "server_sync" => self.server_sync = is()?,
            "cache_size" => {
                self.cache_bytes = usize::try_from(size()?).map_err(|_| wrong("a size"))?;
            }
            "client_label" => self.label = Some(value.to_owned()),
            "blob_dir" => self.blobs_mut().directory = value.into(),
            "shared_blob_dir" => self.blobs_mut().is_shared = is()?,
            "blob_cache_size" => self.blobs_mut().bytes_max = Some(size()?),
            "blob_cache_size_check" => {
                let percent = value.parse().ok().filter(|percent| *percent < 100);
                self.blobs_mut().check_percent = percent.ok_or_else(|| wrong("0 to 99"))?;
            }
            name if WITHOUT_EFFECT.contains(&name) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A cache on disk, as large as that in memory, in a directory beside where the original has a file.
    fn keep_cache(&mut self, file: &Path) {
        let mut directory = file.as_os_str().to_owned();
        directory.push(".zodiac");
        self.disk_cache = Some(DiskCache {
            directory: directory.into(),
            bytes_max: self.cache_bytes as u64,
        });
    }

    fn blobs_mut(&mut self) -> &mut BlobOptions {
        self.blobs
            .get_or_insert_with(|| BlobOptions::cache(PathBuf::new()))
    }
}

/// What is wrong with a URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It is no ZEO server's.
    #[error("a ZEO server's URI begins with zeo://")]
    Scheme,
    /// It names none.
    #[error("the URI names no server: zeo://host:port or zeo:///path/of/socket")]
    NoServer,
    /// A server's port is none.
    #[error("{server:?} is no server; it needs the form host:port")]
    Server {
        /// What stands there.
        server: String,
    },
    /// A parameter has a value that it cannot have.
    #[error("{name}={value}: expected {expected}")]
    Value {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// A server of a URI, with zodburi's port where there is none.
fn uri_server(text: &str) -> Result<String, UriError> {
    let error = || UriError::Server {
        server: text.to_owned(),
    };
    let address = zconfig::InetAddress::parse(text, "").map_err(|_| error())?;
    if address.host.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error());
    }
    let port = address.port.or(Some(URI_PORT));
    Ok(zconfig::InetAddress { port, ..address }.to_string())
}

/// Where the original keeps its cache.
fn cache_file(var: &str, client: &str, storage: &str) -> PathBuf {
    Path::new(var).join(format!("{client}-{storage}.zec"))
}

fn flag(text: &str) -> Option<bool> {
    match &*text.to_lowercase() {
        "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "n" | "no" | "off" | "" => Some(false),
        _ => None,
    }
}

fn byte_size(text: &str) -> Option<u64> {
    let text = text.to_lowercase();
    let units = [("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("", 1)];
    let found = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = found?;
    number.trim().parse::<u64>().ok()?.checked_mul(*factor)
}

/// The keys of a section.
struct Keys<'a>(&'a Section);

impl Keys<'_> {
    fn has(&self, key: &str) -> bool {
        self.0.section_type().keys().any(|known| known.name == key)
    }

    fn is(&self, key: &str) -> bool {
        self.has(key) && self.0.boolean(key) == Some(true)
    }

    fn text(&self, key: &str) -> Option<String> {
        let text = self.0.text(key).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    }

    /// A number that cannot be negative.
    fn size(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        let number = self.0.integer(key).map(u64::try_from).transpose();
        number.map_err(|_| self.0.error(key, "it cannot be negative"))
    }

    fn servers(&self) -> Result<Vec<String>, ConfigError> {
        let settings = self.0.settings("server");
        let server = |value: &Value| match value {
            Value::Socket(SocketAddress::Inet(address)) if address.port.is_none() => {
                let message = format!("{address} needs a port");
                Err(self.0.error("server", message))
            }
            Value::Socket(address) => Ok(address.to_string()),
            _ => Err(self.0.error("server", "it is no address")),
        };
        settings.map(|setting| server(&setting.value)).collect()
    }

    fn blobs(&self) -> Result<Option<BlobOptions>, ConfigError> {
        let Some(directory) = self.text("blob-dir") else {
            return Ok(None);
        };
        let mut blobs = BlobOptions::cache(directory);
        blobs.is_shared = self.is("shared-blob-dir");
        blobs.bytes_max = self.size("blob-cache-size")?;
        if let Some(percent) = self.size("blob-cache-size-check")? {
            let percent = u8::try_from(percent).ok().filter(|percent| *percent < 100);
            blobs.check_percent = percent.ok_or_else(|| {
                self.0
                    .error("blob-cache-size-check", "it is a percentage below 100")
            })?;
        }
        Ok(Some(blobs))
    }
}

fn tls(ssl: &Section, password: Option<&KeyPassword>) -> Result<TlsClientOptions, ConfigError> {
    let path = |key| ssl.text(key).map(PathBuf::from);
    if ssl.text("password-function").is_some() && password.is_none() {
        let message = "functions of Python cannot be called; say elsewhere where the password is";
        return Err(ssl.error("password-function", message));
    }
    Ok(TlsClientOptions {
        certificate: path("certificate").expect("the schema requires it"),
        key: path("key"),
        password: password.cloned(),
        authenticate: path("authenticate"),
        check_hostname: ssl.boolean("check-hostname") == Some(true),
        server_hostname: ssl.text("server-hostname").map(str::to_owned),
    })
}

const ZEO_CLIENT: &str = "zeoclient";
const CLIENTS: [&str; 2] = [ZEO_CLIENT, "clientstorage"];
const SCHEME: &str = "zeo://";
/// The port of a URI that names none.
const URI_PORT: u16 = 9991;
/// Parameters of URIs that ZEO 6 takes and ignores, or that name what has no name here.
const WITHOUT_EFFECT: [&str; 8] = [
    "debug",
    "min_disconnect_poll",
    "max_disconnect_poll",
    "drop_cache_rather_verify",
    "name",
    "username",
    "password",
    "realm",
];

#[cfg(test)]
mod tests;
