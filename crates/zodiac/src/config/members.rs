//! `balance.members`: the publishers behind the balancer.

use std::net::SocketAddr;

use proxy::{Joining, Weight};
use serde::Deserialize;

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
