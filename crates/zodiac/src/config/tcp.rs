//! `[[balance.tcp]]`: connections that are carried whatever is spoken over them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use anyhow::{Result, bail};
use health::Check;
use proxy::Method;
use relay::Options;
use serde::{Deserialize, Deserializer};

use super::members::{Member, named};
use super::{Balance, Seconds};

/// A port, and who is behind it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tcp {
    pub(crate) listen: SocketAddr,
    members: Vec<Member>,
    #[serde(default, deserialize_with = "method")]
    method: Option<Method>,
    #[serde(default, deserialize_with = "named")]
    check: Check,
    connect_timeout: Option<Seconds>,
    idle_timeout: Option<Seconds>,
    connections_max: Option<usize>,
    #[serde(default)]
    threads: usize,
}

fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Method>, D::Error> {
    named(deserializer).map(Some)
}

impl Tcp {
    /// What the relay is told.
    pub(crate) fn relay(&self, balance: &Balance) -> Options {
        let defaults = Options::default();
        Options {
            members: self.members.iter().map(Member::joining).collect(),
            method: self.method.unwrap_or(defaults.method),
            check: balance.check_rules(&self.check),
            threads: NonZeroUsize::new(self.threads).unwrap_or(defaults.threads),
            connections_max: self.connections_max.unwrap_or(defaults.connections_max),
            connect_wait: self.connect_timeout.unwrap_or(balance.connect_timeout).0,
            idle_wait: match self.idle_timeout {
                Some(time) => Some(time.0).filter(|time| !time.is_zero()),
                None => defaults.idle_wait,
            },
            ..defaults
        }
    }

    fn check(&self) -> Result<()> {
        let key = format!("balance.tcp: {}", self.listen);
        if self.members.is_empty() {
            bail!("{key} has no members");
        }
        if self.connections_max == Some(0) {
            bail!("{key}: connections-max must be 1 at least");
        }
        if self.connect_timeout.is_some_and(|time| time.0.is_zero()) {
            bail!("{key}: connect-timeout must be longer than 0 seconds");
        }
        Ok(())
    }
}

/// What could never carry anything.
pub(super) fn check(balance: &Balance) -> Result<()> {
    balance.tcp.iter().try_for_each(Tcp::check)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::Config;

    const WHOLE: &str = "
[[balance.tcp]]
listen = '0.0.0.0:8100'
members = ['10.0.0.2:8100', { address = '10.0.0.3:8100', tier = 1, slots = 100 }]

[[balance.tcp]]
listen = '0.0.0.0:993'
members = ['10.0.0.4:993']
method = 'hash'
idle-timeout = 0
connect-timeout = 0.5
check = '/status'
";

    #[test]
    fn ports_have_members_of_their_own() {
        let config = Config::from_text("zodiac.toml", WHOLE, Vec::new()).unwrap();
        let [first, second] = &config.balance.tcp[..] else {
            panic!("two are there")
        };
        let (first, second) = (first.relay(&config.balance), second.relay(&config.balance));
        assert_eq!(first.members[1].tier, 1);
        assert_eq!(first.method, proxy::Method::LeastConnections);
        assert_eq!(first.idle_wait, Some(Duration::from_secs(3600)));
        assert_eq!(first.connect_wait, Duration::from_secs(2));
        assert_eq!(
            (second.idle_wait, second.method),
            (None, proxy::Method::Hash)
        );
        assert_eq!(second.connect_wait, Duration::from_millis(500));
    }

    #[test]
    fn what_could_never_carry_anything_is_refused() {
        for (from, to, said) in [
            ("['10.0.0.4:993']", "[]", "0.0.0.0:993 has no members"),
            ("'hash'", "'any'", "no way to choose"),
            ("idle-timeout", "idle", "unknown field"),
            ("= 0.5", "= 0", "connect-timeout"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            let error = Config::from_text("zodiac.toml", &text, Vec::new()).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
    }
}
