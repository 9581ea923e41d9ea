//! What the publisher is asked: one HTTP request, already read whole and free of sockets.

use std::net::IpAddr;

/// One HTTP request. Header names are lower case; the target is as it came, still percent-encoded.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method as sent: `GET`, `PUT`, `PROPFIND`.
    pub method: String,
    /// `http` or `https`, as the user sees it.
    pub scheme: String,
    /// The `Host` header or the authority of the target: `localhost:8080`.
    pub host: String,
    /// The path part of the target, percent-encoded, beginning with a slash.
    pub path: String,
    /// The query part without its question mark, percent-encoded.
    pub query: String,
    /// All headers in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, whole, within the limit that the listener enforces.
    pub body: Vec<u8>,
    /// Where the request came from.
    pub remote_addr: Option<IpAddr>,
    /// The id that follows the request through logs of all tiers.
    pub id: String,
}

impl Request {
    /// The first header of this (lower case) name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }
}
