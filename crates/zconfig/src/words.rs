//! White space and names as Python sees them.

/// What Python's `str.strip` and `\s` take for white space.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The longest beginning that a key or the type of a section may have, and the rest.
pub(crate) fn split_word(text: &str) -> (&str, &str) {
    let end = text
        .find(|c| is_space(c) || c == '(' || c == ')')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The longest beginning that is a name in a substitution: a letter or `_`, then also digits.
pub(crate) fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

/// Whether all of the text is a name for `%define`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && name_length(text) == text.len()
}

/// Whether the text is a key: a letter, then letters, digits, `-`, `.` and `_`.
pub(crate) fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_space_and_parentheses() {
        assert_eq!(split_word("key  value"), ("key", "  value"));
        assert_eq!(split_word("key(value)"), ("key", "(value)"));
        assert_eq!(split_word("(key)"), ("", "(key)"));
        assert_eq!(split_word("a\u{1f}b"), ("a", "\u{1f}b"));
        assert_eq!(split_word("a\u{a0}b"), ("a", "\u{a0}b"));
    }

    #[test]
    fn names_begin_with_a_letter() {
        assert!(is_name("_a1") && !is_name("1a") && !is_name("a-b") && !is_name(""));
        assert!(is_key("a-b.c_1") && !is_key("-a") && !is_key("1") && !is_key("ä"));
    }
}
