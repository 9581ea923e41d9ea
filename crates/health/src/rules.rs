//! How members are asked.

use std::str::FromStr;
use std::time::Duration;

/// How a member is asked whether it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// `GET /_zodiac/health`: a publisher of ours says whether it is ready and how many workers it
    /// has. Another server that answers with anything below 500 is taken as well.
    Zodiac,
    /// `GET` of this path must be answered with a status below 400.
    Path(String),
    /// A TCP connection must be accepted.
    #[default]
    Connect,
}

/// What names no [`Check`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no check; known are \"connect\", \"zodiac\" and a path for HTTP, as in \"/status\""
)]
pub struct UnknownCheck(String);

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        match text {
            "connect" => Ok(Self::Connect),
            "zodiac" => Ok(Self::Zodiac),
            path if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(Self::Path(path.to_owned()))
            }
            _ => Err(UnknownCheck(text.to_owned())),
        }
    }
}

/// How, how often and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What is asked. Default [`Check::Connect`].
    pub check: Check,
    /// How often. Default 500 ms.
    pub every: Duration,
    /// How long an answer may take. Default 2 s.
    pub wait: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            check: Check::default(),
            every: Duration::from_millis(500),
            wait: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_names() {
        assert_eq!("connect".parse(), Ok(Check::Connect));
        assert_eq!("zodiac".parse(), Ok(Check::Zodiac));
        assert_eq!(
            "/status?full".parse(),
            Ok(Check::Path("/status?full".to_owned()))
        );
        for wrong in ["", "tcp", "status", "/a b", "/\r\n"] {
            assert!(wrong.parse::<Check>().is_err(), "{wrong}");
        }
    }
}
