//! Finds the next tag in a source, in any of its spellings.
//!
//! | spelling | |
//! |---|---|
//! | `<dtml-name args>`, `</dtml-name>` | a `>` between quotes does not end the tag |
//! | `<!--#name args-->`, `<!--#/name-->`, `<!--#endname-->` | server-side includes |
//! | `&dtml-name;` | `var name html_quote` |
//! | `&dtml.upper.null-name;` | `var name upper null` |
//!
//! Oddities kept: an unfinished `<dtml-` or `<!--#`, or one without a name, ends the search, so
//! that the rest of the source is plain text.

/// A tag found in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    /// Where it begins.
    pub(crate) start: usize,
    /// Where the text after it begins.
    pub(crate) end: usize,
    /// Whether it ends a block.
    pub(crate) is_end: bool,
    pub(crate) name: &'a str,
    pub(crate) arguments: String,
}

/// DocumentTemplate looks one character past a source that ends in `&dtml`, and fails.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndsInEntity {
    pub(crate) start: usize,
}

/// The first tag at or after `start`.
pub(crate) fn search(text: &str, start: usize) -> Result<Option<Tag<'_>>, EndsInEntity> {
    let mut start = start;
    loop {
        let Some(found) = text[start..].find(['<', '&']) else {
            return Ok(None);
        };
        let at = start + found;
        let rest = &text[at..];
        if let Some(inner) = rest.strip_prefix("<!--#") {
            return Ok(include(text, at, inner));
        }
        for (opening, is_end) in [("<dtml-", false), ("</dtml-", true)] {
            if rest.starts_with(opening) {
                return Ok(element(text, at, at + opening.len(), is_end));
            }
        }
        if let Some(inner) = rest.strip_prefix("&dtml") {
            if inner.is_empty() {
                return Err(EndsInEntity { start: at });
            }
            if let Some(tag) = entity(at, inner) {
                return Ok(Some(tag));
            }
        }
        start = at + 1;
    }
}

/// `<!--#...-->`; `inner` follows the opening.
fn include<'a>(text: &'a str, at: usize, inner: &'a str) -> Option<Tag<'a>> {
    let close = text.len() - inner.len() + inner.find("-->")?;
    let mut name_at = text.len() - inner.len();
    let trimmed = inner.trim_start_matches(is_blank);
    let end_len = if trimmed.starts_with('/') {
        1
    } else if trimmed
        .get(..3)
        .is_some_and(|word| word.eq_ignore_ascii_case("end"))
    {
        3
    } else {
        0
    };
    if end_len > 0 {
        name_at = text.len() - trimmed.len() + end_len;
    }
    named(text, at, name_at, close, close + 3, end_len > 0)
}

/// `<dtml-...>`; the first `>` with an even number of quotes before it ends the tag.
fn element(text: &str, at: usize, name_at: usize, is_end: bool) -> Option<Tag<'_>> {
    let mut is_quoted = false;
    let close = text[name_at..].char_indices().find_map(|(index, c)| {
        if c == '"' {
            is_quoted = !is_quoted;
        }
        (c == '>' && !is_quoted).then_some(name_at + index)
    })?;
    named(text, at, name_at, close, close + 1, is_end)
}

fn named(
    text: &str,
    start: usize,
    name_at: usize,
    close: usize,
    end: usize,
    is_end: bool,
) -> Option<Tag<'_>> {
    let rest = &text[name_at..];
    let after_blanks = rest.trim_start_matches(is_blank);
    let after_name = after_blanks.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    if after_name.len() == after_blanks.len() {
        return None;
    }
    let arguments_at = text.len() - after_name.trim_start_matches(is_blank).len();
    let name = &text[name_at..arguments_at];
    Some(Tag {
        start,
        end,
        is_end,
        name: strip(name),
        arguments: strip(text.get(arguments_at..close).unwrap_or_default()).to_owned(),
    })
}

/// `&dtml-name;` or `&dtml.modifier.modifier-name;`; `inner` follows `&dtml`.
fn entity(at: usize, inner: &str) -> Option<Tag<'_>> {
    let body = inner.strip_prefix(['-', '.'])?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let len = body.find(|c| !is_part(c))?;
    if len == 0 || !body[len..].starts_with(';') {
        return None;
    }
    let body = &body[..len];
    let arguments = if inner.starts_with('-') {
        format!("{body} html_quote")
    } else {
        let (modifiers, name) = body.split_once('-').filter(|(_, name)| !name.is_empty())?;
        format!("{name} {}", modifiers.replace('.', " "))
    };
    Some(Tag {
        start: at,
        end: at + "&dtml-".len() + len + 1,
        is_end: false,
        name: "var",
        arguments: strip(&arguments).to_owned(),
    })
}

/// What DTML skips between parts: everything up to the space.
pub(crate) fn is_blank(c: char) -> bool {
    c <= ' '
}

/// Python's `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<(&str, bool, String, &str)> {
        let tag = search(text, 0).unwrap()?;
        Some((
            tag.name,
            tag.is_end,
            tag.arguments,
            &text[tag.start..tag.end],
        ))
    }

    fn tag<'a>(
        name: &'a str,
        is_end: bool,
        arguments: &str,
        whole: &'a str,
    ) -> Option<(&'a str, bool, String, &'a str)> {
        Some((name, is_end, arguments.to_owned(), whole))
    }

    #[test]
    fn every_spelling_is_found() {
        assert_eq!(
            first("a<dtml-var x y>b"),
            tag("var", false, "x y", "<dtml-var x y>")
        );
        assert_eq!(first("</dtml-if x>b"), tag("if", true, "x", "</dtml-if x>"));
        assert_eq!(
            first("<!--# var x -->"),
            tag("var", false, "x", "<!--# var x -->")
        );
        assert_eq!(first("<!--#/if-->"), tag("if", true, "", "<!--#/if-->"));
        assert_eq!(
            first("<!--#EndIf x-->"),
            tag("If", true, "x", "<!--#EndIf x-->")
        );
        assert_eq!(
            first("&dtml-a.b;c"),
            tag("var", false, "a.b html_quote", "&dtml-a.b;")
        );
        assert_eq!(
            first("&dtml.upper.null-a-b;"),
            tag("var", false, "a-b upper null", "&dtml.upper.null-a-b;")
        );
    }

    #[test]
    fn quotes_hide_the_end_of_a_tag() {
        let whole = "<dtml-var \"a > b\" fmt=\">\">";
        assert_eq!(
            first(whole),
            tag("var", false, "\"a > b\" fmt=\">\"", whole)
        );
    }

    #[test]
    fn what_is_no_tag_is_text() {
        for text in [
            "",
            "a & b < c",
            "&dtml;",
            "&dtml-;",
            "&dtml-a b;",
            "&dtml.a;",
            "&dtml.a-;",
            "<dtml-var",
            "<dtml-var \"x>",
            "<!--#var x",
            "<dtml-1>",
            "<!--#-->",
            "<DTML-var x>",
        ] {
            assert_eq!(first(text), None, "{text}");
        }
    }

    #[test]
    fn an_unfinished_tag_ends_the_search() {
        assert_eq!(first("<dtml-> <dtml-var x>"), None);
        assert_eq!(first("<!--#var x <dtml-var y>"), None);
        assert_eq!(search("x &dtml", 0), Err(EndsInEntity { start: 2 }));
    }
}
