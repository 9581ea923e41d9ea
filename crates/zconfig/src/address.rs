//! Addresses of sockets.

use std::fmt;

use crate::numbers;
use crate::words::is_space;

/// Where a server listens or is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAddress {
    /// A socket in the file system: anything with a `/` in it.
    Path(String),
    /// A host and a port.
    Inet(InetAddress),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetAddress {
    /// A name or a number in lower case, without brackets; empty for every address of the machine.
    pub host: String,
    /// Absent where none is given.
    pub port: Option<u16>,
}

impl SocketAddress {
    /// Reads `host:port`, `[host]:port`, `port`, `host` or a path; `default_host` stands for an
    /// absent one.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str, default_host: &str) -> Result<Self, String> {
        if text.contains('/') {
            Ok(Self::Path(text.to_owned()))
        } else {
            InetAddress::parse(text, default_host).map(Self::Inet)
        }
    }
}

impl InetAddress {
    /// Reads `host:port`, `[host]:port`, `port` or `host`; an IPv6 address without brackets has no
    /// port. A number above 65535 is taken for a host, as ZConfig does.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str, default_host: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => split(text, host, port)?,
            None => match port_number(text) {
                Ok(port) => ("", Some(port)),
                Err(_) if is_one_word(text) => (text, None),
                Err(_) => return Err(format!("{text:?} is not a valid host name")),
            },
        };
        let host = if host.is_empty() { default_host } else { host };
        Ok(Self {
            host: host.to_lowercase(),
            port,
        })
    }
}

fn split<'a>(text: &'a str, host: &'a str, port: &str) -> Result<(&'a str, Option<u16>), String> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host,
        None if host.contains(':') => return Ok((text, None)),
        None => host,
    };
    let port = if port.is_empty() {
        None
    } else {
        Some(port_number(port)?)
    };
    Ok((host, port))
}

pub(crate) fn port_number(text: &str) -> Result<u16, String> {
    let number = numbers::integer(text, 10)?;
    u16::try_from(number).map_err(|_| format!("{number} is no port; ports are 0 to 65535"))
}

fn is_one_word(text: &str) -> bool {
    text.split(is_space).filter(|word| !word.is_empty()).count() == 1
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Inet(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for InetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_zconfig_reads_them() {
        for (text, host, port) in [
            ("8100", "", Some(8100)),
            (":8100", "", Some(8100)),
            ("Host:8100", "host", Some(8100)),
            ("host", "host", None),
            ("host:", "host", None),
            ("[::1]:8100", "::1", Some(8100)),
            ("[::]:0", "::", Some(0)),
            ("::1", "::1", None),
            ("[::1]", "[::1]", None),
            ("99999", "99999", None),
        ] {
            let address = InetAddress::parse(text, "").unwrap();
            assert_eq!(
                (address.host.as_str(), address.port),
                (host, port),
                "{text}"
            );
        }
        for text in ["host:port", "host:65536", "host:-1", "a b"] {
            assert!(InetAddress::parse(text, "").is_err(), "{text}");
        }
        let path = SocketAddress::parse("/run/zeo:1", "").unwrap();
        assert_eq!(path, SocketAddress::Path("/run/zeo:1".to_owned()));
        let default = InetAddress::parse("8100", "127.0.0.1").unwrap();
        assert_eq!(default.to_string(), "127.0.0.1:8100");
    }
}
