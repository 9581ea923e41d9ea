//! Sending users to a backend instead of its answer to them: a list of mirrors, and redirects.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

use balance::Health;
use hyper::header::ACCEPT;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};
use serde::Serialize;

use crate::pages::listing;
use crate::shared::Member;

/// How users are told of the backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// Where users reach the backends themselves. Nobody is sent anywhere else.
    pub urls: BTreeMap<SocketAddr, MirrorUrl>,
    /// The path of the list of mirrors, which is JSON for those who ask for that, and with `.json` behind the
    /// path. Default none.
    pub path: Option<String>,
    /// Every request that is not for the list is answered with a redirect to a mirror, and none is passed
    /// on. Default none.
    pub redirect: Option<Redirect>,
}

/// What a redirect says (RFC 9110, 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// 302, which every browser knows. Those that change something get 307, since browsers make a GET of
    /// them otherwise.
    Found,
    /// 307.
    Temporary,
}

/// The beginning of the addresses of a mirror: `http://` or `https://`, a host, and perhaps a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorUrl(String);

/// A text that is no [`MirrorUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a mirror: one such as https://www1.example.org is needed")]
pub struct NoMirrorUrl(String);

impl FromStr for MirrorUrl {
    type Err = NoMirrorUrl;

    fn from_str(text: &str) -> Result<Self, NoMirrorUrl> {
        let uri: Option<Uri> = text.parse().ok();
        let is_usable = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
                && uri.query().is_none()
                && !text.contains('#')
        };
        uri.filter(is_usable)
            .map(|_| Self(text.trim_end_matches('/').to_owned()))
            .ok_or_else(|| NoMirrorUrl(text.to_owned()))
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MirrorUrl {
    /// The same page there, with its query.
    pub(crate) fn location(&self, uri: &Uri) -> String {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        // `OPTIONS *` asks for no page.
        let target = if target.starts_with('/') { target } else { "/" };
        format!("{self}{target}")
    }
}

impl Redirect {
    pub(crate) fn status(self, method: &Method) -> StatusCode {
        match self {
            Self::Found if matches!(*method, Method::GET | Method::HEAD) => StatusCode::FOUND,
            Self::Found | Self::Temporary => StatusCode::TEMPORARY_REDIRECT,
        }
    }
}

/// A mirror, as the list tells of it.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    url: &'a str,
    state: &'static str,
    /// Requests that it works on.
    busy: u32,
    /// How many it can work on at a time.
    workers: u32,
    weight: u32,
    /// 0 for the first choice, 1 for its backup, and so on.
    tier: u8,
}

/// The list of mirrors.
pub(crate) struct List {
    pub(crate) content_type: &'static str,
    pub(crate) text: String,
}

impl Mirrors {
    /// The list, if that is what is asked for.
    pub(crate) fn list(
        &self,
        parts: &Parts,
        members: impl FnOnce() -> Vec<Member>,
    ) -> Option<List> {
        let below = parts.uri.path().strip_prefix(self.path.as_deref()?)?;
        let wants_json = parts.headers.get(ACCEPT).is_some_and(|accepted| {
            let accepted = accepted.as_bytes();
            accepted.starts_with(b"application/json")
        });
        let is_json = match below {
            "" => wants_json,
            ".json" => true,
            _ => return None,
        };
        let members = members();
        let entries: Vec<Entry<'_>> = members.iter().filter_map(|m| self.entry(m)).collect();
        Some(if is_json {
            List {
                content_type: "application/json",
                // Texts and numbers alone cannot fail.
                text: serde_json::json!({ "mirrors": entries }).to_string() + "\n",
            }
        } else {
            List {
                content_type: "text/html; charset=utf-8",
                text: listing(&rows(&entries)),
            }
        })
    }

    fn entry(&self, member: &Member) -> Option<Entry<'_>> {
        let url = self.urls.get(&member.address)?;
        Some(Entry {
            url: &url.0,
            state: match member.health {
                _ if member.draining => "leaving",
                Health::Up => "up",
                Health::Unknown => "not checked yet",
                Health::Down => "down",
            },
            busy: member.load,
            workers: member.slots.get(),
            weight: member.weight.get(),
            tier: member.tier,
        })
    }
}

fn rows(entries: &[Entry<'_>]) -> String {
    let mut rows = String::new();
    for entry in entries {
        let url = entry.url.replace('&', "&amp;");
        let Entry {
            state,
            busy,
            workers,
            ..
        } = entry;
        let class = if *state == "up" { "up" } else { "away" };
        let backup = if entry.tier > 0 { ", a backup" } else { "" };
        // Writing into a text does not fail.
        let _ = writeln!(
            rows,
            "<tr class=\"{class}\"><td><a href=\"{url}/\">{url}</a></td><td>{state}{backup}</td>\
             <td>{busy} of {workers}</td></tr>"
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stays_the_same_at_the_mirror() {
        let url: MirrorUrl = "https://www1.example.org/".parse().unwrap();
        for (asked, location) in [
            ("/", "https://www1.example.org/"),
            ("/a%20b/c?d=e&f", "https://www1.example.org/a%20b/c?d=e&f"),
            ("//evil.example", "https://www1.example.org//evil.example"),
            ("http://evil.example/x", "https://www1.example.org/x"),
            ("*", "https://www1.example.org/"),
        ] {
            assert_eq!(url.location(&asked.parse().unwrap()), location);
        }
        let below: MirrorUrl = "http://host:8080/site/".parse().unwrap();
        assert_eq!(
            below.location(&Uri::from_static("/a")),
            "http://host:8080/site/a"
        );
    }

    #[test]
    fn an_address_has_a_host_and_no_secrets() {
        for wrong in [
            "",
            "/here",
            "www1.example.org",
            "ftp://host/",
            "https:///x",
            "https://user:word@host/",
            "https://host/?a=b",
            "https://host/#a",
            "https://ho st/",
            "https://host/\"><script>",
        ] {
            assert!(wrong.parse::<MirrorUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_reads_may_become_a_get() {
        assert_eq!(Redirect::Found.status(&Method::GET), 302);
        assert_eq!(Redirect::Found.status(&Method::POST), 307);
        assert_eq!(Redirect::Temporary.status(&Method::GET), 307);
    }
}
