//! Which headers cross the balancer, and which it makes. Pure.

use std::net::IpAddr;

use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};

/// What the balancer knows of a request and tells the backend.
pub(crate) struct Origin<'a> {
    /// The peer of the connection.
    pub(crate) peer: IpAddr,
    /// Whether the peer is a balancer of ours whose word counts.
    pub(crate) is_trusted: bool,
    /// The `Host` of the request, or what stands for it.
    pub(crate) host: HeaderValue,
    pub(crate) id: &'a str,
    /// Whether the body keeps its length as announced.
    pub(crate) keeps_length: bool,
}

/// The headers for the backend.
pub(crate) fn request_headers(outside: &HeaderMap, origin: &Origin<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(outside.len() + 4);
    for (name, value) in outside {
        if passes(name, outside) && !is_ours(name, origin.is_trusted) {
            headers.append(name, value.clone());
        }
    }
    headers.remove(EXPECT);
    if !origin.keeps_length {
        headers.remove(CONTENT_LENGTH);
    }
    headers.insert(HOST, origin.host.clone());
    let mut chain = String::new();
    if origin.is_trusted {
        for line in outside
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|line| line.to_str().ok())
        {
            chain.push_str(line);
            chain.push_str(", ");
        }
    }
    chain.push_str(&origin.peer.to_string());
    insert(&mut headers, FORWARDED_FOR, &chain);
    if !headers.contains_key(FORWARDED_PROTO) {
        insert(&mut headers, FORWARDED_PROTO, "http");
    }
    if !headers.contains_key(FORWARDED_HOST) {
        headers.insert(FORWARDED_HOST, origin.host.clone());
    }
    insert(&mut headers, REQUEST_ID, origin.id);
    headers
}

/// Takes out of an answer what was said to the balancer alone.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name) || is_connection_option(name, headers))
        .cloned()
        .collect();
    for name in dropped {
        headers.remove(name);
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// CGI and WSGI write `X-Forwarded-For` and `X_Forwarded_For` alike, so a name with an underscore
/// could stand for one that is ours. Such names do not pass at all, as in nginx.
fn passes(name: &HeaderName, headers: &HeaderMap) -> bool {
    !is_hop_by_hop(name)
        && !is_connection_option(name, headers)
        && !name.as_str().contains('_')
        && name != HOST
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

fn is_connection_option(name: &HeaderName, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION);
    lines.iter().any(|line| {
        let options = line.as_bytes().split(|&byte| byte == b',');
        options.into_iter().any(|o| {
            o.trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
    })
}

/// Headers by which backends learn about the client: outside values are lies until proven.
fn is_ours(name: &HeaderName, is_trusted: bool) -> bool {
    let name = name.as_str();
    let speaks_of_client =
        name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip");
    name == REQUEST_ID || name == FORWARDED_FOR || (speaks_of_client && !is_trusted)
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
const REQUEST_ID: &str = "x-request-id";

const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(outside: &[(&str, &str)], is_trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in outside {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let host = HeaderValue::from_static("www.example.org");
        let peer = "192.0.2.1".parse().unwrap();
        let origin = Origin {
            peer,
            is_trusted,
            host,
            id: "id-1",
            keeps_length: true,
        };
        request_headers(&headers, &origin)
    }

    #[test]
    fn what_belongs_to_the_connection_stays_behind() {
        let headers = forwarded(
            &[
                ("Connection", "keep-alive, X-Hop"),
                ("Keep-Alive", "timeout=5"),
                ("X-Hop", "1"),
                ("TE", "trailers"),
                ("Proxy-Authorization", "Basic eDp5"),
                ("Expect", "100-continue"),
                ("Cookie", "a=b"),
                ("Cookie", "c=d"),
            ],
            false,
        );
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let ours = [
            "cookie",
            "host",
            FORWARDED_FOR,
            FORWARDED_HOST,
            FORWARDED_PROTO,
            REQUEST_ID,
        ];
        assert_eq!(names, ours);
        assert_eq!(headers.get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn a_strangers_word_about_itself_is_replaced() {
        let lies = [
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-Port", "443"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("X-Request-Id", "evil"),
        ];
        let headers = forwarded(&lies, false);
        assert_eq!(headers[FORWARDED_FOR], "192.0.2.1");
        assert_eq!(headers[FORWARDED_PROTO], "http");
        assert_eq!(headers[FORWARDED_HOST], "www.example.org");
        assert_eq!(headers[REQUEST_ID], "id-1");
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn a_trusted_peers_word_is_kept_and_continued() {
        let words = [
            ("X-Forwarded-For", "203.0.113.5"),
            ("X-Forwarded-Proto", "https"),
        ];
        let headers = forwarded(&words, true);
        assert_eq!(headers[FORWARDED_FOR], "203.0.113.5, 192.0.2.1");
        assert_eq!(headers[FORWARDED_PROTO], "https");
        assert_eq!(headers[REQUEST_ID], "id-1");
    }

    #[test]
    fn an_answer_loses_its_connection_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"a\""),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        clean_response(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["etag"]
        );
    }
}
