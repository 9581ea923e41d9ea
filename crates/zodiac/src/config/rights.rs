//! The keys `tls-rights` and `tls-clients` of `[zeo]`.

use serde::Deserialize;
use zeo_net::{ClientName, ClientRights, ClientRule, Rights};

use super::Zeo;

impl Zeo {
    /// What clients may do, by their certificates.
    pub(crate) fn client_rights(&self) -> ClientRights {
        ClientRights {
            rules: self
                .tls_clients
                .iter()
                .map(|client| client.0.clone())
                .collect(),
            others: self.tls_rights.0,
        }
    }
}

/// Rights as a list of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<RightName>")]
pub(crate) struct RightsList(pub(crate) Rights);

/// An entry of `tls-clients`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TlsClientTable")]
pub(crate) struct TlsClient(ClientRule);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RightName {
    Read,
    Write,
    Undo,
    Pack,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsClientTable {
    name: Option<String>,
    fingerprint: Option<String>,
    rights: RightsList,
}

impl TryFrom<Vec<RightName>> for RightsList {
    type Error = &'static str;

    fn try_from(names: Vec<RightName>) -> Result<Self, Self::Error> {
        let rights = Rights {
            read: names.contains(&RightName::Read),
            write: names.contains(&RightName::Write),
            undo: names.contains(&RightName::Undo),
            pack: names.contains(&RightName::Pack),
        };
        if rights.write && !rights.read {
            return Err(
                "who may \"write\" has to \"read\"; add that right, or take the other away",
            );
        }
        if rights.undo && !rights.write {
            return Err(
                "who may \"undo\" has to \"write\"; add that right, or take the other away",
            );
        }
        Ok(Self(rights))
    }
}

impl TryFrom<TlsClientTable> for TlsClient {
    type Error = String;

    fn try_from(table: TlsClientTable) -> Result<Self, Self::Error> {
        let client = match (table.name, table.fingerprint) {
            (Some(name), None) if !name.is_empty() => ClientName::Name(name),
            (None, Some(text)) => ClientName::Fingerprint(text.parse()?),
            _ => return Err("a client has either a name or a fingerprint".to_owned()),
        };
        Ok(Self(ClientRule {
            client,
            rights: table.rights.0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Zeo, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_client_may_do_everything_unless_somebody_says_otherwise() {
        assert!(parse("").unwrap().client_rights().are_unlimited());
        let text = "tls-rights = ['read', 'pack']
            [[tls-clients]]
            name = 'zope'
            rights = ['read', 'write', 'undo', 'pack']";
        let rights = parse(text).unwrap().client_rights();
        assert!(!rights.are_unlimited());
        let readers = Rights {
            read: true,
            pack: true,
            ..Rights::NONE
        };
        assert_eq!(rights.others, readers);
        let zope = ClientRule {
            client: ClientName::Name("zope".to_owned()),
            rights: Rights::ALL,
        };
        assert_eq!(rights.rules, [zope]);
    }

    #[test]
    fn rights_without_sense_are_refused() {
        let digits = "ab:".repeat(31);
        for (text, said) in [
            ("tls-rights = ['write']", "has to \"read\""),
            ("tls-rights = ['read', 'undo']", "has to \"write\""),
            ("tls-rights = ['reed']", "reed"),
            ("[[tls-clients]]\nrights = []", "either a name or"),
            ("[[tls-clients]]\nname = 'a'", "rights"),
            (
                "[[tls-clients]]\nname = 'a'\nfingerprint = 'b'\nrights = []",
                "fingerprint",
            ),
            (
                &format!("[[tls-clients]]\nfingerprint = '{digits}'\nrights = []"),
                "64 hexadecimal digits",
            ),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
