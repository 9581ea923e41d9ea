//! `[balance.dns]`: names that are answered with the members that are well.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use dns::{DomainName, Options};
use health::{Check, Rules};
use serde::{Deserialize, Deserializer};

use super::members::{Member, named};
use super::{Balance, Count};

/// What the name server answers. It runs where it has an address to listen at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Dns {
    pub(crate) listen: Vec<SocketAddr>,
    #[serde(deserialize_with = "all_named")]
    pub(crate) zones: Vec<DomainName>,
    pub(crate) name_servers: Vec<NameServer>,
    pub(crate) contact: String,
    pub(crate) names: Vec<Site>,
    pub(crate) ttl: u32,
    pub(crate) negative_ttl: u32,
    pub(crate) answers_max: Count,
    pub(crate) responses_per_second: u32,
    pub(crate) slip: u32,
    pub(crate) threads: usize,
}

/// A server of the zones.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NameServer {
    #[serde(deserialize_with = "named")]
    name: DomainName,
    #[serde(default)]
    addresses: Vec<IpAddr>,
}

/// A name and who is behind it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Site {
    #[serde(deserialize_with = "named")]
    name: DomainName,
    members: Vec<Member>,
    #[serde(default, deserialize_with = "named")]
    check: Check,
    #[serde(default)]
    alpn: Vec<String>,
    https_port: Option<u16>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            zones: Vec::new(),
            name_servers: Vec::new(),
            contact: String::new(),
            names: Vec::new(),
            ttl: 5,
            negative_ttl: 5,
            answers_max: Count(8),
            responses_per_second: 100,
            slip: 2,
            threads: 0,
        }
    }
}

impl Balance {
    /// What the name server is told; `None` where there is none.
    pub(crate) fn dns(&self) -> Result<Option<Options>> {
        let config = &self.dns;
        if config.listen.is_empty() {
            return Ok(None);
        }
        let defaults = Options::default();
        let contact = Some(&config.contact).filter(|contact| !contact.is_empty());
        let contact = contact.map(|contact| contact.parse()).transpose();
        let options = Options {
            zones: config.zones.clone(),
            name_servers: config
                .name_servers
                .iter()
                .map(NameServer::answering)
                .collect(),
            contact: contact.context("balance.dns.contact")?,
            sites: config
                .names
                .iter()
                .map(|site| site.answering(self))
                .collect(),
            ttl: config.ttl,
            negative_ttl: config.negative_ttl,
            answers_max: config.answers_max.0,
            responses_per_second: config.responses_per_second,
            slip: config.slip,
            threads: NonZeroUsize::new(config.threads).unwrap_or(defaults.threads),
            ..defaults
        };
        options.check().context("balance.dns")?;
        Ok(Some(options))
    }

    /// How members are checked that have nothing to do with HTTP.
    pub(crate) fn check_rules(&self, check: &Check) -> Rules {
        Rules {
            check: check.clone(),
            every: self.health_interval.0,
            wait: self.health_timeout.0,
        }
    }
}

impl NameServer {
    fn answering(&self) -> dns::NameServer {
        dns::NameServer {
            name: self.name.clone(),
            addresses: self.addresses.clone(),
        }
    }
}

impl Site {
    fn answering(&self, balance: &Balance) -> dns::Site {
        dns::Site {
            name: self.name.clone(),
            members: self.members.iter().map(Member::joining).collect(),
            check: balance.check_rules(&self.check),
            alpn: self.alpn.clone(),
            https_port: self.https_port,
        }
    }
}

/// A list of values each of which is written as a word.
fn all_named<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let words = Vec::<String>::deserialize(deserializer)?;
    let values = words.iter().map(|word| word.parse());
    values
        .collect::<Result<_, T::Err>>()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const WHOLE: &str = r#"
[balance.dns]
listen = ["192.0.2.53:53"]
zones = ["example.org"]
name-servers = [{ name = "ns1.example.org", addresses = ["192.0.2.53"] }]
contact = "hostmaster@example.org"

[[balance.dns.names]]
name = "www.example.org"
members = ["192.0.2.1:80", { address = "[2001:db8::1]:80", weight = 200 }]
alpn = ["h2"]
check = "/status"
"#;

    fn error(text: &str) -> String {
        let error = Config::from_text("zodiac.toml", text, Vec::new()).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn names_have_members_of_their_own() {
        let config = Config::from_text("zodiac.toml", WHOLE, Vec::new()).unwrap();
        let options = config.balance.dns().unwrap().unwrap();
        assert_eq!(options.sites[0].members[1].weight.get(), 200);
        assert_eq!(
            options.sites[0].check.check,
            health::Check::Path("/status".to_owned())
        );
        assert!(options.contact.is_some());
        let none = Config::from_text("zodiac.toml", "", Vec::new()).unwrap();
        assert!(none.balance.dns().unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_answered_is_refused_when_the_file_is_read() {
        for (from, to, said) in [
            ("\"example.org\"", "\"a b\"", "line 4"),
            ("www.example.org", "www.example.com", "none of the zones"),
            (", addresses = [\"192.0.2.53\"]", "", "addresses are needed"),
            ("hostmaster@", "", "balance.dns.contact"),
            ("\"/status\"", "\"status\"", "is no check"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert!(error(&text).contains(said), "{}", error(&text));
        }
    }
}
