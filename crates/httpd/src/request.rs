//! From a request on the wire to what the publisher is asked.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use publisher::Request;

use crate::options::Options;

/// Why a head is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: &'static str,
}

const fn bad(message: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        message,
    }
}

/// Everything but the body.
pub(crate) fn from_head(
    parts: &Parts,
    peer: SocketAddr,
    local: SocketAddr,
    options: &Options,
) -> Result<Request, Refusal> {
    if parts.method == Method::CONNECT {
        let message = "no tunnels here";
        return Err(Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            message,
        });
    }
    let trusted = options.trusts(peer.ip());
    let forwarded = |name: &str| {
        if trusted {
            last_text(&parts.headers, name)
        } else {
            None
        }
    };
    let host = match forwarded("x-forwarded-host") {
        Some(host) => host.to_owned(),
        None => host(parts, local)?,
    };
    let scheme = match forwarded("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        scheme: scheme.to_owned(),
        host,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
        remote_addr: Some(client(&parts.headers, peer.ip().to_canonical(), options)),
        id: forwarded("x-request-id")
            .filter(|id| is_request_id(id))
            .map_or_else(new_request_id, str::to_owned),
    })
}

/// The target's authority wins over the `Host` header (RFC 9112, 3.2.2); a client of HTTP/1.0
/// without either means the address that it connected to.
fn host(parts: &Parts, local: SocketAddr) -> Result<String, Refusal> {
    let mut values = parts.headers.get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(bad("more than one Host header"));
    }
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str().to_owned());
    }
    match header {
        Some(value) => value
            .to_str()
            .map(str::to_owned)
            .map_err(|_| bad("the Host header is not text")),
        None if parts.version >= Version::HTTP_11 => Err(bad("no Host header")),
        None => Ok(local.to_string()),
    }
}

/// The client as the nearest peer that is not trusted saw it: entries are appended from left to
/// right, so those left of an untrusted one may be invented.
fn client(headers: &HeaderMap, peer: IpAddr, options: &Options) -> IpAddr {
    let mut client = peer;
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !options.trusts(client) {
            break;
        }
        let Ok(address) = entry.trim().parse() else {
            break;
        };
        client = address;
    }
    client
}

fn last_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let last = value.rsplit(',').next()?.trim();
    (!last.is_empty()).then_some(last)
}

/// Ids go into log lines: short and plain.
fn is_request_id(id: &str) -> bool {
    id.len() <= REQUEST_ID_BYTES_MAX
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn new_request_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

const REQUEST_ID_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCER: &str = "127.0.0.1:4000";
    const STRANGER: &str = "192.0.2.9:4000";

    fn read(request: hyper::http::request::Builder, peer: &str) -> Result<Request, Refusal> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let local = "127.0.0.1:8101".parse().unwrap();
        from_head(&parts, peer.parse().unwrap(), local, &Options::default())
    }

    fn forwarded() -> hyper::http::request::Builder {
        hyper::Request::get("/a%20b?c=d&e")
            .header("Host", "inner:1")
            .header("X-Forwarded-For", "6.6.6.6, 203.0.113.5")
            .header("X-Forwarded-Host", "www.example.org")
            .header("X-Forwarded-Proto", "https")
            .header("X-Request-Id", "abc-1")
    }

    #[test]
    fn a_balancer_is_believed() {
        let request = read(forwarded(), BALANCER).unwrap();
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("/a%20b", "c=d&e")
        );
        assert_eq!(
            (request.scheme.as_str(), request.host.as_str()),
            ("https", "www.example.org")
        );
        assert_eq!(request.remote_addr, Some("203.0.113.5".parse().unwrap()));
        assert_eq!(request.id, "abc-1");
        assert_eq!(request.header("x-request-id"), Some("abc-1"));
    }

    #[test]
    fn a_stranger_is_not() {
        let request = read(forwarded(), STRANGER).unwrap();
        assert_eq!(
            (request.scheme.as_str(), request.host.as_str()),
            ("http", "inner:1")
        );
        assert_eq!(request.remote_addr, Some("192.0.2.9".parse().unwrap()));
        assert_ne!(request.id, "abc-1");
    }

    #[test]
    fn an_id_that_could_forge_log_lines_is_replaced() {
        let request = hyper::Request::get("/")
            .header("host", "a")
            .header("x-request-id", "a b");
        assert_ne!(read(request, BALANCER).unwrap().id, "a b");
    }

    #[test]
    fn the_host_must_be_clear() {
        let request = hyper::Request::get("/");
        assert_eq!(read(request, BALANCER).unwrap_err().status, 400);
        let request = hyper::Request::get("/")
            .header("host", "a")
            .header("host", "b");
        assert_eq!(read(request, BALANCER).unwrap_err().status, 400);
        let request = hyper::Request::get("/").version(Version::HTTP_10);
        assert_eq!(read(request, BALANCER).unwrap().host, "127.0.0.1:8101");
        let request = hyper::Request::get("http://b:81/x?y").header("host", "a");
        let request = read(request, BALANCER).unwrap();
        assert_eq!(
            (request.host.as_str(), request.path.as_str()),
            ("b:81", "/x")
        );
    }
}
