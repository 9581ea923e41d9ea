//! `balance.members`: the publishers behind the balancer.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use proxy::{Joining, MirrorUrl, Mirrors, Redirect, Sessions, Weight};
use serde::{Deserialize, Deserializer};

use super::Balance;

/// A publisher: its address alone, or with what is special about it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "an address such as \"10.0.0.2:8081\" is needed, or a table as in { address = \"10.0.0.2:8081\", weight = 200 }"
)]
pub(crate) enum Member {
    Address(SocketAddr),
    Special(Special),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Special {
    address: SocketAddr,
    weight: Option<u32>,
    #[serde(default)]
    tier: u8,
    slots: Option<u32>,
    #[serde(default, deserialize_with = "url")]
    url: Option<MirrorUrl>,
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MirrorUrl>, D::Error> {
    named(deserializer).map(Some)
}

impl Balance {
    /// What users are told of the members, and whether they are sent to them.
    pub(crate) fn mirrors(&self) -> Mirrors {
        let urls = self.members.iter().filter_map(|member| match member {
            Member::Special(Special {
                address,
                url: Some(url),
                ..
            }) => Some((*address, url.clone())),
            _ => None,
        });
        Mirrors {
            urls: urls.collect(),
            path: Some(self.mirrors.clone()).filter(|path| !path.is_empty()),
            redirect: match self.redirect {
                302 => Some(Redirect::Found),
                307 => Some(Redirect::Temporary),
                _ => None,
            },
        }
    }
}

impl Balance {
    /// How sessions stay with their member. Reads the secret.
    pub(crate) fn sessions(&self) -> Result<Option<Sessions>> {
        if self.session_cookie.is_empty() {
            return Ok(None);
        }
        let path = self.session_secret_file.display();
        let advice = || {
            format!(
                "balance.session-secret-file: the secret {path} cannot be read; make one with \
                 `head -c 32 /dev/urandom > FILE`, for the balancers of a site the same"
            )
        };
        let mut secret = Vec::new();
        let file = File::open(&self.session_secret_file).with_context(advice)?;
        let read = file.take(SECRET_BYTES_MAX).read_to_end(&mut secret);
        read.with_context(advice)?;
        if secret.len() < SECRET_BYTES_MIN {
            bail!(
                "balance.session-secret-file: {path} has {} bytes; a secret has at least \
                 {SECRET_BYTES_MIN}",
                secret.len()
            );
        }
        let sessions = Sessions::new(&self.session_cookie, &secret);
        sessions.context("balance.session-cookie").map(Some)
    }
}

/// RFC 2104 wants a key as long as half the hash at least.
const SECRET_BYTES_MIN: usize = 16;
/// What is behind that counts no more.
const SECRET_BYTES_MAX: u64 = 4096;

/// Nobody can be sent to a member whose address users do not know.
pub(super) fn check(config: &Balance) -> Result<()> {
    if !matches!(config.redirect, 0 | 302 | 307) {
        bail!("balance.redirect: 302, 307, or 0 for none");
    }
    if !config.mirrors.is_empty() && !config.mirrors.starts_with('/') {
        bail!("balance.mirrors: a path begins with a slash");
    }
    if !config.session_cookie.is_empty() && config.session_secret_file.as_os_str().is_empty() {
        bail!("balance.session-cookie needs balance.session-secret-file");
    }
    if !config.http && config.dns.listen.is_empty() && config.tcp.is_empty() {
        bail!("balance.http is false, and there is nothing else to balance");
    }
    config.dns()?;
    super::tcp::check(config)?;
    let with_url = config.mirrors().urls.len();
    if config.redirect != 0 && with_url < config.members.len() {
        bail!(
            "balance.members: with balance.redirect every publisher needs the address at which users reach it, as in \
             {{ address = \"10.0.0.2:8081\", url = \"https://www1.example.org\" }}"
        );
    }
    Ok(())
}

impl Member {
    /// What the balancer is told.
    pub(crate) fn joining(&self) -> Joining {
        match self {
            Self::Address(address) => Joining::from(*address),
            Self::Special(special) => Joining {
                address: special.address,
                weight: special.weight.map_or_else(Weight::default, Weight::new),
                tier: special.tier,
                slots: special.slots.map(proxy::Slots::new),
            },
        }
    }
}

impl From<SocketAddr> for Member {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// A value that is written as one of some words.
pub(super) fn named<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let word = String::deserialize(deserializer)?;
    word.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn members(text: &str) -> anyhow::Result<Vec<proxy::Joining>> {
        let text = format!("[balance]\nmembers = {text}\n");
        let config = Config::from_text("zodiac.toml", &text, Vec::new())?;
        let members = config.balance.members.iter();
        Ok(members.map(super::Member::joining).collect())
    }

    #[test]
    fn members_may_have_weights_tiers_and_slots() {
        let members = members(
            "['10.0.0.2:8081', { address = '10.0.0.3:8081', weight = 300, tier = 1, slots = 8 }]",
        );
        let members = members.unwrap();
        assert_eq!(
            members[0],
            "10.0.0.2:8081"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into()
        );
        assert_eq!((members[1].weight.get(), members[1].tier), (300, 1));
        assert_eq!(members[1].slots.map(proxy::Slots::get), Some(8));
    }

    #[test]
    fn users_are_sent_to_members_whose_address_they_know() {
        let parse = |text: &str| Config::from_text("zodiac.toml", text, Vec::new());
        let known = "{ address = '10.0.0.2:8081', url = 'https://www1.example.org/' }";
        let config = parse(&format!(
            "[balance]\nredirect = 307\nmirrors = '/mirrors'\nmembers = [{known}]\n"
        ));
        let mirrors = config.unwrap().balance.mirrors();
        let urls: Vec<String> = mirrors.urls.values().map(ToString::to_string).collect();
        assert_eq!(urls, ["https://www1.example.org"]);
        assert_eq!(mirrors.redirect, Some(proxy::Redirect::Temporary));
        assert_eq!(mirrors.path.as_deref(), Some("/mirrors"));
        for (text, said) in [
            (
                format!("redirect = 302\nmembers = [{known}, '10.0.0.3:8081']"),
                "balance.members",
            ),
            (
                format!("redirect = 301\nmembers = [{known}]"),
                "balance.redirect",
            ),
            ("mirrors = 'list'".to_owned(), "balance.mirrors"),
            (
                "session-cookie = 'member'".to_owned(),
                "balance.session-secret-file",
            ),
        ] {
            let error = parse(&format!("[balance]\n{text}\n")).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
    }

    #[test]
    fn a_secret_is_read_where_sessions_have_a_cookie() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let sessions = |name: &str| {
            let text = format!(
                "[balance]\nsession-cookie = '{name}'\nsession-secret-file = '{}'\n",
                path.display()
            );
            Config::from_text("zodiac.toml", &text, Vec::new())?
                .balance
                .sessions()
        };
        let error = |name: &str| format!("{:#}", sessions(name).unwrap_err());
        assert!(error("member").contains("/dev/urandom"));
        std::fs::write(&path, [7; 15]).unwrap();
        assert!(error("member").contains("has 15 bytes"));
        std::fs::write(&path, [7; 32]).unwrap();
        assert!(sessions("member").unwrap().is_some());
        assert!(error("a b").contains("session-cookie"));
        let none = Config::from_text("zodiac.toml", "", Vec::new()).unwrap();
        assert!(none.balance.sessions().unwrap().is_none());
    }

    #[test]
    fn what_is_no_member_is_refused() {
        for wrong in [
            "['here']",
            "[{ weight = 3 }]",
            "[{ address = '10.0.0.2:1', wait = 3 }]",
        ] {
            let error = format!("{:#}", members(wrong).unwrap_err());
            assert!(error.contains("10.0.0.2:8081"), "{error}");
        }
    }
}
