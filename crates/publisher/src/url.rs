//! Percent-encoding as Zope writes it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// `urllib.parse.quote(text, '/+@')`, with which Zope quotes the segments of the URLs it makes.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b'/')
    .remove(b'+')
    .remove(b'@');

/// Quotes one or more segments of a path.
pub fn quote(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Decodes a percent-encoded path; `None` where the bytes are no UTF-8.
pub(crate) fn unquote(path: &str) -> Option<String> {
    percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// `scheme://host`, without the port that the scheme has by default.
pub(crate) fn server_url(scheme: &str, host: &str) -> String {
    let default = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    format!("{scheme}://{}", host.strip_suffix(default).unwrap_or(host))
}

/// What `html.escape(text, quote=True)` makes.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_keep_what_zope_keeps() {
        assert_eq!(quote("a b/+@~ü"), "a%20b/+@~%C3%BC");
        assert_eq!(quote("x:y"), "x%3Ay");
    }

    #[test]
    fn the_default_port_is_dropped() {
        assert_eq!(server_url("http", "a:80"), "http://a");
        assert_eq!(server_url("https", "a:443"), "https://a");
        assert_eq!(server_url("http", "a:443"), "http://a:443");
    }

    #[test]
    fn a_path_that_is_no_utf8_is_refused() {
        assert_eq!(unquote("/%C3%BC").as_deref(), Some("/ü"));
        assert_eq!(unquote("/%FF"), None);
    }
}
