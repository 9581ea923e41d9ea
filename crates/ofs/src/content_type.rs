//! Guessing content types, as `zope.contenttype` and Python's `mimetypes` do.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The type that a name and the first bytes of a content suggest; `default` is taken where the
/// name says nothing. Lower case.
pub(crate) fn guess(name: &str, body: &[u8], default: Option<&str>) -> String {
    if let Some(known) = guess_from_name(name) {
        return known.to_ascii_lowercase();
    }
    let default = default.filter(|default| !default.is_empty());
    let guessed = match default {
        Some(default) => default,
        None if body.is_empty() => "text/x-unknown-content-type",
        None if body.iter().any(|byte| *byte < 8) => "application/octet-stream",
        None => text_type(body),
    };
    guessed.to_ascii_lowercase()
}

/// The type that a name suggests (`mimetypes.guess_type`).
pub(crate) fn guess_from_name(name: &str) -> Option<&'static str> {
    let (base, suffix) = split_suffix(name);
    // A suffix may stand for two: .tgz is .tar.gz.
    match TYPES.replacements.get(suffix.to_ascii_lowercase().as_str()) {
        Some(long) => guess_from_split(&split_suffix(&format!("{base}{long}"))),
        None => guess_from_split(&(base, suffix)),
    }
}

fn guess_from_split((base, suffix): &(&str, &str)) -> Option<&'static str> {
    if TYPES.encodings.contains(suffix) {
        lookup(split_suffix(base).1)
    } else {
        lookup(suffix)
    }
}

/// The usual suffix of a type, with its dot (`mimetypes.guess_extension`).
pub(crate) fn suffix_of(content_type: &str) -> Option<&'static str> {
    TYPES
        .suffixes
        .get(content_type.to_ascii_lowercase().as_str())
        .copied()
}

fn lookup(suffix: &str) -> Option<&'static str> {
    let types = &TYPES.types;
    types
        .get(suffix)
        .or_else(|| types.get(suffix.to_ascii_lowercase().as_str()))
        .copied()
}

/// `posixpath.splitext`: leading dots of a file name belong to it.
fn split_suffix(name: &str) -> (&str, &str) {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.rfind('.') {
        Some(dot) if dot > start && name[start..dot].bytes().any(|byte| byte != b'.') => {
            name.split_at(dot)
        }
        _ => (name, ""),
    }
}

/// The kind of text that some bytes are.
fn text_type(body: &[u8]) -> &'static str {
    let start: Vec<u8> = body
        .trim_ascii()
        .iter()
        .take(TAG_LEN)
        .map(u8::to_ascii_lowercase)
        .collect();
    if start.len() == TAG_LEN {
        if start.starts_with(b"<html>") || start.starts_with(b"<!doctype html") {
            return "text/html";
        }
        if start.starts_with(b"<?xml") {
            return "text/xml";
        }
    }
    if body.windows(2).any(|pair| pair == b"</") {
        "text/html"
    } else {
        "text/plain"
    }
}

/// The length of the longest tag looked for. Shorter texts are not looked at for them.
const TAG_LEN: usize = 14;

struct Types {
    types: HashMap<&'static str, &'static str>,
    suffixes: HashMap<&'static str, &'static str>,
    replacements: HashMap<&'static str, &'static str>,
    encodings: Vec<&'static str>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let mut types = Types {
        types: HashMap::new(),
        suffixes: HashMap::new(),
        replacements: HashMap::new(),
        encodings: Vec::new(),
    };
    for line in include_str!("../data/types.txt").lines() {
        let Some((key, value)) = line.split_once(' ') else {
            continue;
        };
        if let Some(short) = key.strip_prefix('>') {
            types.replacements.insert(short, value);
        } else if value.starts_with('=') {
            types.encodings.push(key);
        } else if value.starts_with('.') {
            types.suffixes.insert(key, value);
        } else {
            types.types.insert(key, value);
        }
    }
    types
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_first() {
        assert_eq!(guess("a.TXT", b"<html>", Some("text/html")), "text/plain");
        assert_eq!(guess("a", b"x", Some("Text/CSS")), "text/css");
        assert_eq!(guess_from_name("a.tar.gz"), Some("application/x-tar"));
        assert_eq!(guess_from_name("a.tgz"), Some("application/x-tar"));
        assert_eq!(guess_from_name("a.svgz"), Some("image/svg+xml"));
        assert_eq!(guess_from_name(".css"), None);
        assert_eq!(guess_from_name("a.b/css"), None);
    }

    #[test]
    fn nameless_content_is_looked_at() {
        assert_eq!(guess("a", b"", None), "text/x-unknown-content-type");
        assert_eq!(guess("a", b"a\x01", None), "application/octet-stream");
        assert_eq!(guess("a", b" <!DOCTYPE HTML>", None), "text/html");
        // Fewer than fourteen bytes without a closing tag are not taken for HTML.
        assert_eq!(guess("a", b"<html>x", None), "text/plain");
        assert_eq!(guess("a", b"x</b", None), "text/html");
        assert_eq!(guess("a", b"<?xml version='1.0'?>", None), "text/xml");
    }

    #[test]
    fn the_usual_suffix_is_known() {
        assert_eq!(suffix_of("text/plain"), Some(".txt"));
        assert_eq!(suffix_of("text/x-unknown-content-type"), None);
    }
}
