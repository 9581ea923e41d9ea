//! The command line. Flags that are absent leave the configuration as it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::beside_zeo::nagios::ZeoNagios;
use crate::beside_zeo::pack::Zeopack;
use crate::beside_zeo::zeoctl::Zeoctl;
use crate::config::{Config, Count, LogFormat, OptionalAddress, Seconds, ServerAddress};
use crate::roles::zeo::certs::Certs;

/// Runs a Zope site as a cluster: a load balancer that users see, publishers that compute pages,
/// and a storage server that keeps the object database (Data.fs).
#[derive(Debug, Parser)]
#[command(name = "zodiac", version = VERSION, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

pub(crate) const VERSION: &str = "0.1.0-dev";

const EXAMPLES: &str = "\
Examples:
  zodiac up                                   a sample portal on http://127.0.0.1:8080
  zodiac up --data /srv/site/Data.fs          the same cluster for a site you have
  zodiac zeo --data Data.fs --listen 10.0.0.1:8100
  zodiac zeo -C etc/zeo.conf                  in the place of runzeo
  zodiac publish --zeo 10.0.0.1:8100 --listen 10.0.0.2:8081
  zodiac balance --listen 10.0.0.4:80 --member 10.0.0.2:8081 --member 10.0.0.3:8081
  zodiac config --print-defaults > zodiac.toml
  zodiac fs info var/Data.fs                  look into a Data.fs, also while it is served";

/// The roles of a cluster, and its tools.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole cluster on this machine: storage server, publishers, load balancer
    Up(Up),
    /// Run the storage server: a Data.fs for ZEO clients, ours and Python's
    Zeo(Zeo),
    /// Run a publisher: a ZEO client that answers HTTP requests from the site's objects
    Publish(Publish),
    /// Run the load balancer: the one address that users see
    Balance(Balance),
    /// Watch a running storage server: calls, latencies, commits, clients
    Top(crate::top::Top),
    /// Print or check the configuration
    Config(ConfigCommand),
    /// Tools for a Data.fs: look into it, check it, change it
    Fs(crate::fs::Fs),
    /// Ask ZEO servers to pack, in the place of the script zeopack
    Zeopack(Zeopack),
    /// Ask a ZEO server how it is, in the place of the Nagios plugin zeo-nagios
    ZeoNagios(ZeoNagios),
    /// Start, stop and watch over a storage server, in the place of the script zeoctl
    Zeoctl(Box<Zeoctl>),
}

/// What every role takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The configuration file [default: zodiac.toml where it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How log lines on standard error look
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a list such as "info,zeo=debug"
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Report on standard output as one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Stop when standard input ends: set by a supervisor
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
    /// The name in log lines: set by a supervisor
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) log_name: Option<String>,
}

impl Common {
    /// The configuration with the flags of this struct applied.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        set(&mut config.log.format, self.log_format);
        set(&mut config.log.level, self.log_level.clone());
        Ok(config)
    }
}

/// `zodiac up`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zodiac up
  zodiac up --data /srv/site/Data.fs --publishers 4 --listen 0.0.0.0:80")]
pub(crate) struct Up {
    /// The Data.fs; created with a sample portal where it does not exist [default: var/Data.fs]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// How many publishers [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) publishers: Option<Count>,
    /// Where users connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where ZEO clients connect, ours and others [default: 127.0.0.1:8100]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) zeo_listen: Option<SocketAddr>,
    /// The first publisher's address; the others take the next ports [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) publisher_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Up {
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let mut config = self.common.load()?;
        set(&mut config.zeo.data, self.data.clone());
        set(&mut config.up.publishers, self.publishers);
        set(&mut config.balance.listen, self.listen);
        set(&mut config.zeo.listen, self.zeo_listen);
        set(&mut config.up.publisher_listen, self.publisher_listen);
        Ok(config)
    }
}

/// `zodiac zeo`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  zodiac zeo --data Data.fs --listen 10.0.0.1:8100
  zodiac zeo -C etc/zeo.conf                  as `runzeo -C etc/zeo.conf`
  zodiac zeo -a 8100 -f var/Data.fs           as `runzeo -a 8100 -f var/Data.fs`")]
pub(crate) struct Zeo {
    /// The Data.fs; created empty where it does not exist [default: var/Data.fs]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Where ZEO clients connect [default: 127.0.0.1:8100]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Refuse every write
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Do what a zeo.conf says, in the place of runzeo
    #[arg(short = 'C', long, value_name = "FILE", conflicts_with_all = ["data", "listen"])]
    pub(crate) configure: Option<String>,
    /// Where clients connect: PORT, HOST:PORT, or a PATH with a "/" in it
    #[arg(short = 'a', long, value_name = "ADDRESS", conflicts_with_all = ["data", "listen"])]
    pub(crate) address: Option<String>,
    /// A Data.fs; repeat for storages 1, 2 and so on
    #[arg(short = 'f', long, value_name = "FILENAME", conflicts_with_all = ["data", "listen"])]
    pub(crate) filename: Vec<PathBuf>,
    /// How long a transaction may take from its vote to its finish, in seconds
    #[arg(short = 't', long, value_name = "TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// The file that holds the server's process id while it runs
    #[arg(long, value_name = "PATH")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Where Prometheus, supervisors and `zodiac top` ask how the server is
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Log calls that take this many seconds, with what they waited for; 0 for none [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none)]
    pub(crate) slow_request: Option<Seconds>,
    /// Be the container image plone-zeo: serve DIR/filestorage/Data.fs as ZEO_PORT,
    /// ZEO_READ_ONLY, ZEO_INVALIDATION_QUEUE_SIZE and ZEO_PACK_KEEP_OLD say
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        default_missing_value = "/data",
        conflicts_with_all = ["data", "listen", "configure", "filename"]
    )]
    pub(crate) container: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) instead: Option<BesideZeo>,
}

/// What can be done in the place of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum BesideZeo {
    /// Make certificates for servers and clients, and an authority that signs them
    Certs(Certs),
}

impl Zeo {
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let mut config = self.common.load()?;
        set(&mut config.zeo.data, self.data.clone());
        set(&mut config.zeo.listen, self.listen);
        config.zeo.read_only |= self.read_only;
        if self.metrics.is_some() {
            config.zeo.metrics = OptionalAddress(self.metrics);
        }
        set(&mut config.zeo.slow_request, self.slow_request);
        Ok(config)
    }

    /// Whether it is asked to be what runzeo is with these options.
    pub(crate) fn is_runzeo(&self) -> bool {
        self.configure.is_some() || self.address.is_some() || !self.filename.is_empty()
    }
}

/// `zodiac publish`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  zodiac publish --zeo 10.0.0.1:8100 --listen 10.0.0.2:8081")]
pub(crate) struct Publish {
    /// A storage server; repeat for servers to turn to when it fails [default: 127.0.0.1:8100]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) zeo: Vec<ServerAddress>,
    /// Where the balancer connects [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Requests computed at a time [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<Count>,
    /// While no storage server takes commits, read from one that takes none
    #[arg(long)]
    pub(crate) read_only_fallback: bool,
    /// Keep records in this directory, too, and have them when starting again
    #[arg(long, value_name = "DIR")]
    pub(crate) disk_cache: Option<PathBuf>,
    /// Keep files of blobs in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) blob_dir: Option<PathBuf>,
    /// The directory of blobs is the storage server's own
    #[arg(long)]
    pub(crate) blob_dir_shared: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Publish {
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let mut config = self.common.load()?;
        if !self.zeo.is_empty() {
            config.publish.zeo.clone_from(&self.zeo);
        }
        set(&mut config.publish.listen, self.listen);
        set(&mut config.publish.workers, self.workers);
        set(&mut config.publish.disk_cache, self.disk_cache.clone());
        set(&mut config.publish.blob_dir, self.blob_dir.clone());
        config.publish.read_only_fallback |= self.read_only_fallback;
        config.publish.blob_dir_shared |= self.blob_dir_shared;
        Ok(config)
    }
}

/// `zodiac balance`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  zodiac balance --listen 10.0.0.4:80 --member 10.0.0.2:8081 --member 10.0.0.3:8081")]
pub(crate) struct Balance {
    /// Where users connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// A publisher; repeat for each [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) member: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl Balance {
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let mut config = self.common.load()?;
        if !self.member.is_empty() {
            config.balance.members = self.member.iter().copied().map(Into::into).collect();
        }
        set(&mut config.balance.listen, self.listen);
        Ok(config)
    }
}

/// `zodiac config`
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
#[group(required = true, multiple = false)]
#[command(after_help = "\
Examples:
  zodiac config --print-defaults > zodiac.toml
  zodiac config --check zodiac.toml
  zodiac config --check etc/zeo.conf          whether `zodiac zeo -C` can follow it")]
pub(crate) struct ConfigCommand {
    /// Print every key with its default and its meaning
    #[arg(long)]
    pub(crate) print_defaults: bool,
    /// Check a configuration file and the environment: a zeo.conf, where its name ends in .conf
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

/// A time, or none at all.
fn seconds_or_none(text: &str) -> Result<Seconds, String> {
    let seconds = text.parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.map(Seconds)
        .ok_or_else(|| "a number of seconds is needed".to_owned())
}

/// A time longer than none.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "a number of seconds above 0 is needed".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an address has the form IP:PORT, such as 127.0.0.1:8080".to_owned())
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
