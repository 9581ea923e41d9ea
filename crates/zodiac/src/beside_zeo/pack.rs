//! `zodiac zeopack`: asks ZEO servers to pack their storages.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory};
use storage::Tid;
use zeo::Request;
use zeo_net::TlsClientOptions;

use super::address::ServerAddress;
use super::caller::{CallError, Caller};
use super::python;
use crate::cli::Cli;
use crate::clock;
use crate::tls_arguments::TlsArguments;

/// `zodiac zeopack`
#[derive(Debug, Args)]
#[command(disable_help_flag = true, after_help = HELP)]
pub(crate) struct Zeopack {
    /// A server, and the name of the storage in it [default name: 1]
    #[arg(value_name = "HOST:PORT[:NAME]")]
    servers: Vec<String>,
    /// Keep the history of the last DAYS days
    #[arg(short, long, value_name = "DAYS", allow_negative_numbers = true)]
    days: Option<i64>,
    /// Pack to this time of the day, local time, instead of now
    #[arg(short, long, value_name = "HH[:MM[:SS]]")]
    time: Option<String>,
    /// A server at a Unix socket; repeat for several
    #[arg(short, long, value_name = "PATH[:NAME]")]
    unix: Vec<String>,
    /// How many seconds to wait for each server
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u32,
    /// Deprecated: a host, with -p and -S
    #[arg(short = 'h', value_name = "HOST")]
    host: Option<String>,
    /// Deprecated: a port, with -h and -S
    #[arg(short = 'p', value_name = "PORT")]
    port: Option<u16>,
    /// Deprecated: the name of the storage, with -h and -p, or with -U
    #[arg(short = 'S', value_name = "NAME", default_value = "1")]
    name: String,
    /// Deprecated: a Unix socket, with -S
    #[arg(short = 'U', value_name = "PATH")]
    socket: Option<String>,
    #[command(flatten)]
    tls: TlsArguments,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

const HELP: &str = "\
The program zeopack of ZEO, with its options; the servers may be genuine ones. It waits for the end of each
pack. Exit status 0: packed; 1: a pack failed, or no server was reached. As with the original, servers
that are not reached beside others that are count for nothing but a line on standard error.

Examples:
  zodiac zeopack localhost:8100
  zodiac zeopack -d 7 -t 02:00 10.0.0.1:8100:main 10.0.0.1:8100:catalog
  zodiac zeopack -u /run/zeo.sock";

/// A server and the name of a storage in it.
type Target = (ServerAddress, String);

/// Packs what the command line names.
pub(crate) fn run(arguments: &Zeopack) -> io::Result<ExitCode> {
    if arguments.is_empty() {
        let mut command = Cli::command();
        let zeopack = command
            .find_subcommand_mut("zeopack")
            .expect("this subcommand is there");
        zeopack.print_long_help()?;
        return Ok(ExitCode::SUCCESS);
    }
    match arguments
        .plan()
        .and_then(|(to, targets)| pack_all(to, &targets, arguments))
    {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(message) => {
            writeln!(io::stderr(), "Error:\n{message}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// How long to wait before a server that cannot be reached is tried again.
const PAUSE: Duration = Duration::from_secs(1);

fn pack_all(to: Tid, targets: &[Target], arguments: &Zeopack) -> Result<(), String> {
    let (wait, tls) = (arguments.wait, arguments.tls.options());
    let mut is_found = false;
    for (address, name) in targets {
        let mut caller = match connect(address, tls.as_ref(), name, wait) {
            Ok(caller) => caller,
            Err(error) => {
                let shown = python::quoted(name);
                eprintln!("{error}\nCouldn't connect to: ({address}, {shown})");
                continue;
            }
        };
        is_found = true;
        let request = Request::Pack { to, wait: true };
        if let Err(error) = caller.call("pack", &request, None) {
            eprintln!("{error}");
            return Err(format!("Error packing storage {name} in {address}"));
        }
    }
    if is_found {
        Ok(())
    } else {
        Err("Cannot connect to any of the configured ZEO servers.".to_owned())
    }
}

/// Tries for so many seconds; what a server refuses, it would refuse again.
fn connect(
    address: &ServerAddress,
    tls: Option<&TlsClientOptions>,
    name: &str,
    wait: u32,
) -> Result<Caller, CallError> {
    let deadline = clock::now() + Duration::from_secs(wait.into());
    loop {
        match Caller::connect(address, tls, name) {
            Err(error)
                if !matches!(error, CallError::Refused { .. }) && clock::now() < deadline =>
            {
                clock::pause(PAUSE.min(deadline.saturating_duration_since(clock::now())));
            }
            outcome => return outcome,
        }
    }
}

impl Zeopack {
    fn is_empty(&self) -> bool {
        let named = self.servers.len() + self.unix.len();
        let is_named = named > 0 || self.host.is_some() || self.socket.is_some();
        !is_named && self.port.is_none() && self.days.is_none() && self.time.is_none()
    }

    fn plan(&self) -> Result<(Tid, Vec<Target>), String> {
        let now = clock::since_1970();
        let to = self.pack_time(now, clock::local_offset_seconds())?;
        let targets = self.targets()?;
        if targets.is_empty() {
            return Err("No servers specified.".to_owned());
        }
        Ok((to, targets))
    }

    /// The pack time, where the clock on the wall is `offset` seconds before UTC.
    fn pack_time(&self, now: Duration, offset: i64) -> Result<Tid, String> {
        let mut seconds = now.as_secs_f64();
        if let Some(time) = &self.time {
            let since_midnight = time_of_day(time)
                .ok_or_else(|| format!("Invalid time value: {}", python::quoted(time)))?;
            let local = seconds_of(now).saturating_add(offset);
            let midnight = local - local.rem_euclid(DAY_SECONDS);
            seconds = float(
                midnight
                    .saturating_add(since_midnight)
                    .saturating_sub(offset),
            );
        }
        seconds -= float(self.days.unwrap_or(0)) * float(DAY_SECONDS);
        // What is before 1970 is before every transaction.
        let since_1970 = Duration::try_from_secs_f64(seconds.max(0.0));
        let since_1970 = since_1970.map_err(|_| "The pack time is out of range.".to_owned())?;
        Ok(Tid::from_unix_time(since_1970))
    }

    fn targets(&self) -> Result<Vec<Target>, String> {
        let mut targets = Vec::new();
        match (&self.host, self.port.filter(|port| *port > 0)) {
            (Some(host), Some(port)) => {
                targets.push((ServerAddress::Inet(host.clone(), port), self.name.clone()));
            }
            (Some(_), None) => {
                return Err(
                    "If host (-h) is specified then a port (-p) must be specified as well."
                        .to_owned(),
                );
            }
            (None, Some(port)) => {
                targets.push((ServerAddress::Inet(host_name(), port), self.name.clone()));
            }
            (None, None) => {}
        }
        if let Some(path) = &self.socket {
            targets.push((ServerAddress::Unix(path.clone()), self.name.clone()));
        }
        for server in &self.servers {
            targets.push(inet_target(server)?);
        }
        for server in &self.unix {
            targets.push(unix_target(server)?);
        }
        Ok(targets)
    }
}

/// `HOST:PORT[:NAME]`
fn inet_target(server: &str) -> Result<Target, String> {
    let words: Vec<&str> = server.split(':').collect();
    let (host, port, name) = match words[..] {
        [host, port] => (host, port, "1"),
        [host, port, name] => (host, port, name),
        _ => return Err(invalid_server(server)),
    };
    let port = port.trim().parse();
    let port = port.map_err(|_| {
        format!(
            "Invalid port in server specification: {}",
            python::quoted(server)
        )
    })?;
    Ok((ServerAddress::Inet(host.to_owned(), port), name.to_owned()))
}

/// `PATH[:NAME]`
fn unix_target(server: &str) -> Result<Target, String> {
    let words: Vec<&str> = server.split(':').collect();
    let (path, name) = match words[..] {
        [path] => (path, "1"),
        [path, name] => (path, name),
        _ => return Err(invalid_server(server)),
    };
    Ok((ServerAddress::Unix(path.to_owned()), name.to_owned()))
}

fn invalid_server(server: &str) -> String {
    format!("Invalid server specification: {}", python::quoted(server))
}

/// Seconds since midnight; as with the original, 25 o'clock is one hour into tomorrow.
fn time_of_day(text: &str) -> Option<i64> {
    let words: Vec<i64> = text
        .split(':')
        .map(|word| word.trim().parse().ok())
        .collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match words[..] {
        [hours] => (hours, 0, 0),
        [hours, minutes] => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    minutes.checked_mul(60)?.checked_add(seconds)
}

/// The name of this machine, as the kernel knows it.
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn seconds_of(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Exact for the seconds of the next hundred million years.
#[allow(clippy::cast_precision_loss, reason = "such times are far below 2^53")]
fn float(seconds: i64) -> f64 {
    seconds as f64
}

const DAY_SECONDS: i64 = 86_400;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        zeopack: Zeopack,
    }

    fn parsed(words: &[&str]) -> Zeopack {
        let words = std::iter::once(&"zeopack").chain(words);
        Alone::try_parse_from(words).unwrap().zeopack
    }

    fn time(words: &[&str], offset: i64) -> Duration {
        let now = Duration::from_secs(1_790_000_000); // 2026-09-21 14:13:20 UTC
        parsed(words).pack_time(now, offset).unwrap().to_unix_time()
    }

    fn near(time: Duration, seconds: u64) {
        let difference = time.abs_diff(Duration::from_secs(seconds));
        assert!(difference < Duration::from_millis(1), "{time:?}");
    }

    /// What Python's `zeopack` computes, in UTC and in two other places.
    #[test]
    fn the_pack_time_is_counted_back_from_a_time_of_the_day() {
        near(time(&["-d", "0"], 0), 1_790_000_000);
        near(time(&["-d2"], 0), 1_790_000_000 - 2 * 86_400);
        near(time(&["-t", "02:00"], 0), 1_789_948_800 + 2 * 3600);
        near(time(&["-t", "02:00"], 7200), 1_789_948_800);
        near(
            time(&["-t", "23"], 10 * 3600),
            1_789_948_800 + 86_400 + 13 * 3600,
        );
        near(
            time(&["-t", "2:03:04", "--days", "1"], 0),
            1_789_948_800 - 86_400 + 7384,
        );
        near(time(&["-d", "100000"], 0), 0);
        for wrong in ["", "x", "1:2:3:4", "1:"] {
            let refused = parsed(&["-t", wrong]).pack_time(Duration::ZERO, 0);
            assert!(
                refused.unwrap_err().starts_with("Invalid time value: '"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn servers_are_named_in_every_way_of_the_original() {
        let all = parsed(&[
            "a:1", "b:2:two", "-h", "h", "-p", "3", "-S", "name", "-U", "/s", "-u", "/t", "-u",
            "/u:v",
        ]);
        let inet = |host: &str, port, name: &str| {
            (ServerAddress::Inet(host.to_owned(), port), name.to_owned())
        };
        let unix = |path: &str, name: &str| (ServerAddress::Unix(path.to_owned()), name.to_owned());
        let expected = vec![
            inet("h", 3, "name"),
            unix("/s", "name"),
            inet("a", 1, "1"),
            inet("b", 2, "two"),
            unix("/t", "1"),
            unix("/u", "v"),
        ];
        assert_eq!(all.targets().unwrap(), expected);
        for (words, message) in [
            (&["a"][..], "Invalid server specification: 'a'"),
            (&["a:b"], "Invalid port in server specification: 'a:b'"),
            (&["-u", "a:b:c"], "Invalid server specification: 'a:b:c'"),
            (
                &["-h", "a"],
                "If host (-h) is specified then a port (-p) must be specified as well.",
            ),
        ] {
            assert_eq!(parsed(words).targets().unwrap_err(), message);
        }
        assert_eq!(
            parsed(&["-d", "1"]).plan().unwrap_err(),
            "No servers specified."
        );
    }
}
