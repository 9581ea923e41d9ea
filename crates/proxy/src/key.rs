//! What requests have in common that shall go to the same backend. Pure.

use std::net::IpAddr;
use std::str::FromStr;

use balance::key_of;
use hyper::header::COOKIE;
use hyper::{HeaderMap, Uri};

/// By what requests are told apart where the method is `hash` or `affinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// The part of the site: the first two folders of the path, whether that is told in full or to a Virtual
    /// Host Monster.
    #[default]
    Site,
    /// The client's address.
    Client,
    /// The value of a cookie of that name. Requests without it go to the least loaded backend.
    Cookie(String),
    /// The value of a header of that name. Requests without it go to the least loaded backend.
    Header(String),
    /// The value of a parameter of that name in the query, as it is written. Requests without it go to the least loaded
    /// backend.
    Parameter(String),
}

/// A text that names no [`KeySource`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is nothing to tell requests apart by; known are site, client, cookie:NAME, \
     header:NAME and parameter:NAME"
)]
pub struct UnknownKeySource(String);

impl FromStr for KeySource {
    type Err = UnknownKeySource;

    fn from_str(text: &str) -> Result<Self, UnknownKeySource> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        match (kind, name) {
            ("site", "") => Ok(Self::Site),
            ("client", "") => Ok(Self::Client),
            ("cookie", name) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            ("header", name) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            ("parameter", name) if !name.is_empty() => Ok(Self::Parameter(name.to_owned())),
            _ => Err(UnknownKeySource(text.to_owned())),
        }
    }
}

impl KeySource {
    pub(crate) fn key(&self, uri: &Uri, headers: &HeaderMap, client: IpAddr) -> Option<u64> {
        match self {
            Self::Site => Some(key_of(part_of_site(uri.path()).as_bytes())),
            Self::Client => Some(key_of(client.to_string().as_bytes())),
            Self::Header(name) => headers.get(name).map(|value| key_of(value.as_bytes())),
            Self::Cookie(name) => cookie(headers, name).map(key_of),
            Self::Parameter(name) => {
                let mut parts = uri
                    .query()?
                    .split('&')
                    .filter_map(|part| part.split_once('='));
                let found = parts.find(|(found, _)| found == name);
                found.map(|(_, value)| key_of(value.as_bytes()))
            }
        }
    }
}

/// The value of the first cookie of that name (RFC 6265, 4.2.1).
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    let mut found = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    });
    found.next()
}

/// The first folders of what is asked for, without the rest that a Virtual Host Monster takes away.
fn part_of_site(path: &str) -> String {
    let (folders, _object) = path.rsplit_once('/').unwrap_or(("", path));
    let mut segments: Vec<&str> = folders.split('/').filter(|s| !s.is_empty()).collect();
    if segments.first() == Some(&"VirtualHostBase") {
        // The protocol, and the host with its port.
        segments.drain(..segments.len().min(3));
    }
    segments.retain(|s| *s != "VirtualHostRoot" && !s.starts_with("_vh_"));
    segments.truncate(SITE_DEPTH);
    segments.join("/")
}

const SITE_DEPTH: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_folder_belong_together_by_whichever_way_they_come() {
        for path in [
            "/plone/news/today",
            "/plone/news/",
            "/plone/news/2026/11/index_html",
            "/VirtualHostBase/http/www.example.org:80/plone/VirtualHostRoot/news/today",
            "/VirtualHostBase/https/www.example.org:443/plone/VirtualHostRoot/_vh_portal/news/x",
        ] {
            assert_eq!(part_of_site(path), "plone/news", "{path}");
        }
        for path in ["/", "/index_html", "*", "/VirtualHostBase/http"] {
            assert_eq!(part_of_site(path), "", "{path}");
        }
    }

    #[test]
    fn a_key_is_made_of_what_was_asked_for() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "_ZopeId=1234; other=x".parse().unwrap());
        headers.append(COOKIE, "__ac=secret".parse().unwrap());
        headers.append("x-tenant", "north".parse().unwrap());
        let client = "192.0.2.7".parse().unwrap();
        let uri = Uri::from_static("/north/page?a=b&site=north&site=x");
        let key = |source: &str| {
            let source: KeySource = source.parse().unwrap();
            source.key(&uri, &headers, client)
        };
        assert_eq!(key("site"), Some(key_of(b"north")));
        assert_eq!(key("client"), Some(key_of(b"192.0.2.7")));
        assert_eq!(key("header:X-Tenant"), Some(key_of(b"north")));
        assert_eq!(key("parameter:site"), Some(key_of(b"north")));
        assert_eq!(key("parameter:sit"), None);
        assert_eq!(key("cookie:__ac"), Some(key_of(b"secret")));
        assert_eq!(key("cookie:_ZopeId"), Some(key_of(b"1234")));
        assert_eq!(key("cookie:_Zope"), None, "no part of a name");
        assert_eq!(key("header:X-Other"), None);
        for wrong in ["", "path", "cookie", "cookie:", "site:2"] {
            assert!(wrong.parse::<KeySource>().is_err(), "{wrong}");
        }
    }
}
