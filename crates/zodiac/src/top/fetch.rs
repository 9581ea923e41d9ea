//! Asking the server.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::watching::report::Report;

/// Where a server tells how it is.
pub(super) struct Source {
    /// `HOST:PORT`.
    host: String,
    path: String,
}

impl Source {
    pub(super) fn from_address(address: SocketAddr) -> Self {
        Self {
            host: address.to_string(),
            path: "/status".to_owned(),
        }
    }

    /// `http://HOST:PORT`, with or without a path; the path of the metrics will do.
    pub(super) fn from_url(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("{url:?} is no URL of the form http://HOST:PORT");
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let base = path.trim_end_matches('/');
        let base = ["metrics", "status"]
            .iter()
            .find_map(|name| base.strip_suffix(name))
            .unwrap_or(base)
            .trim_end_matches('/');
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let slash = if base.is_empty() { "" } else { "/" };
        Ok(Self {
            host,
            path: format!("{slash}{base}/status"),
        })
    }

    /// How the server is now.
    pub(super) fn report(&self) -> Result<Report> {
        let answer = self.get()?;
        let (head, body) = split(&answer).context("no HTTP server answers there")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            let text = String::from_utf8_lossy(body);
            bail!("the server answers {status}: {}", text.trim());
        }
        serde_json::from_slice(body).context("the answer is none of zodiac zeo's")
    }

    fn get(&self) -> Result<Vec<u8>> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        // HTTP/1.0: the answer comes in one piece, and ends with the connection.
        let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", self.path, self.host);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn connect(&self) -> Result<TcpStream> {
        let mut failure = None;
        for address in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, WAIT) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error.into()),
            None => bail!("the name has no address"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    head.starts_with("HTTP/")
        .then_some((head, &answer[end + 4..]))
}

/// How long the server may take.
const WAIT: Duration = Duration::from_secs(6);
/// The longest answer: some ten thousand clients have room in it.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_host_and_the_path_below_which_the_status_is() {
        for (url, host, path) in [
            ("http://zeo:9100", "zeo:9100", "/status"),
            ("http://zeo/", "zeo:80", "/status"),
            ("http://[::1]:9100/metrics", "[::1]:9100", "/status"),
            (
                "http://proxy:80/db/zeo/metrics",
                "proxy:80",
                "/db/zeo/status",
            ),
            ("http://proxy/db/", "proxy:80", "/db/status"),
        ] {
            let source = Source::from_url(url).unwrap();
            assert_eq!(
                (source.host.as_str(), source.path.as_str()),
                (host, path),
                "{url}"
            );
        }
        assert!(Source::from_url("https://zeo:9100").is_err());
    }

    #[test]
    fn answers_are_split_from_their_heads() {
        let answer = b"HTTP/1.0 200 OK\r\nx: y\r\n\r\n{}\r\n\r\n";
        assert_eq!(
            split(answer),
            Some(("HTTP/1.0 200 OK\r\nx: y", &b"{}\r\n\r\n"[..]))
        );
        assert_eq!(split(b"\x00\x00\x00\x02Z5"), None);
    }
}
