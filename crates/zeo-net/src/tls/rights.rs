//! What clients may do, by the certificates that they show.

use std::str::FromStr;

use zeo::Rights;

use super::facts::{Facts, fingerprint};

/// Which client may do what. By default every client may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRights {
    /// The first one that fits a client's certificate counts.
    pub rules: Vec<ClientRule>,
    /// What clients may do that no rule names.
    pub others: Rights,
}

/// What some client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRule {
    /// Whom it is for.
    pub client: ClientName,
    /// What it may do.
    pub rights: Rights,
}

/// Names a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// One certificate.
    Fingerprint(Fingerprint),
    /// Certificates that have this common name, or this DNS name among their names.
    Name(String),
}

/// The SHA-256 of a certificate, as `openssl x509 -noout -fingerprint -sha256` prints it; the
/// colons may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Default for ClientRights {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            others: Rights::ALL,
        }
    }
}

impl ClientRights {
    /// Whether no client is kept from anything.
    pub fn are_unlimited(&self) -> bool {
        let mut all = self.rules.iter().map(|rule| rule.rights);
        self.others == Rights::ALL && all.all(|rights| rights == Rights::ALL)
    }

    pub(super) fn of(&self, shown: &[u8]) -> Rights {
        if self.rules.is_empty() {
            return self.others;
        }
        let facts = match Facts::read(shown) {
            Ok(facts) => facts,
            Err(error) => {
                // It might be one that a rule keeps from something.
                tracing::warn!(
                    error,
                    "a client without rights: its certificate is unreadable"
                );
                return Rights::NONE;
            }
        };
        let fingerprint = Fingerprint(fingerprint(shown));
        let fits = |rule: &&ClientRule| match &rule.client {
            ClientName::Fingerprint(wanted) => *wanted == fingerprint,
            ClientName::Name(name) => {
                facts.common_name.as_ref() == Some(name)
                    || facts
                        .dns_names
                        .iter()
                        .any(|other| other.eq_ignore_ascii_case(name))
            }
        };
        let found = self.rules.iter().find(fits);
        found.map_or(self.others, |rule| rule.rights)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no SHA-256 fingerprint: 64 hexadecimal digits, as \
                 `openssl x509 -noout -fingerprint -sha256` prints them"
            )
        };
        let digits: Option<Vec<u8>> = text
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| char::from(byte).to_digit(16))
            .map(|digit| digit.and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits.ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
            .collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) if digits.len() == 64 => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_openssl_prints_them() {
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8).unwrap());
        let printed = super::super::facts::print_fingerprint(&bytes);
        assert_eq!(printed.parse(), Ok(Fingerprint(bytes)));
        let bare = printed.replace(':', "").to_lowercase();
        assert_eq!(bare.parse(), Ok(Fingerprint(bytes)));
        let wrong =
            ["", "ab", "x", &bare[1..], &bare[2..], &format!("{bare}00")].map(str::to_owned);
        for text in wrong {
            let refused = text.parse::<Fingerprint>().unwrap_err();
            assert!(refused.contains("64 hexadecimal digits"), "{refused}");
        }
    }
}
