//! Where a file is that another one includes.

use std::path::{Path, PathBuf};

/// The path that `reference` names from `base`, the file that it stands in: as a URL would be, so that
/// `%20` is a space and `..` takes off a name, whatever links there are.
pub(crate) fn resolve(base: &Path, reference: &str) -> Result<PathBuf, String> {
    // Python's `urljoin` takes these out before anything else.
    let reference = &reference.replace(['\t', '\r', '\n'], "");
    let path = match scheme(reference) {
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => local_part(reference, scheme)?,
        Some(scheme) => {
            return Err(format!(
                "{reference:?} is to be fetched by \"{scheme}:\"; only files can be read"
            ));
        }
        None if reference.starts_with("//") => {
            return Err(format!(
                "{reference:?} names another machine; only files can be read"
            ));
        }
        None => reference.as_str(),
    };
    if path.contains('#') {
        return Err(format!("{reference:?} has a \"#\"; write a plain path"));
    }
    let path = decode(path)?;
    if path.contains('\0') {
        return Err(format!("{reference:?} is no path"));
    }
    let joined = base.parent().unwrap_or_else(|| Path::new("")).join(path);
    Ok(normalize(&joined))
}

/// The path that a command line names: as it is, or the local part of a `file:` URL.
pub(crate) fn from_command_line(name: &str) -> Result<PathBuf, String> {
    if scheme(name).is_some() {
        resolve(Path::new(""), name)
    } else {
        Ok(PathBuf::from(name))
    }
}

/// `http` of `http://...`; a single letter is no scheme.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
    is_scheme.then_some(scheme)
}

/// `/path` of `file:/path`, `file:///path` and `file://localhost/path`.
fn local_part<'a>(url: &'a str, scheme: &str) -> Result<&'a str, String> {
    let rest = &url[scheme.len() + 1..];
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(format!("{url:?} names no file of this machine"))
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let decoded = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

fn normalize(path: &Path) -> PathBuf {
    use std::path::Component;

    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                let ends_in_name =
                    matches!(result.components().next_back(), Some(Component::Normal(_)));
                if ends_in_name {
                    result.pop();
                } else if !result.has_root() {
                    result.push("..");
                }
            }
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_against_the_file_they_stand_in() {
        let base = Path::new("/etc/zope/zeo.conf");
        for (reference, path) in [
            ("logs.conf", "/etc/zope/logs.conf"),
            ("../a/./b.conf", "/etc/a/b.conf"),
            ("/srv/x.conf", "/srv/x.conf"),
            ("../../../../x", "/x"),
            ("my%20file", "/etc/zope/my file"),
            ("100%", "/etc/zope/100%"),
            ("lo\tgs.conf", "/etc/zope/logs.conf"),
            ("file:///srv/x", "/srv/x"),
            ("file:/srv/x", "/srv/x"),
            ("file://localhost/srv/x", "/srv/x"),
        ] {
            assert_eq!(
                resolve(base, reference),
                Ok(PathBuf::from(path)),
                "{reference}"
            );
        }
        let relative = Path::new("etc/zeo.conf");
        assert_eq!(resolve(relative, "../x"), Ok(PathBuf::from("x")));
        assert_eq!(resolve(relative, "../../x"), Ok(PathBuf::from("../x")));
        for reference in [
            "http://localhost/x",
            "package:ZEO:x",
            "//host/x",
            "file://host/x",
            "x#y",
            "%00",
            "%ff",
        ] {
            assert!(resolve(base, reference).is_err(), "{reference}");
        }
    }
}
