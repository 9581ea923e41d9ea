//! `$name`, `${name}`, `$(VARIABLE)` and `$$`.
//!
//! Names that `%define` made are looked up in lower case; `$(VARIABLE)` is the environment's, as it is
//! written. What is put in is not looked at again. There are no defaults: what has no value is an error.

use std::collections::BTreeMap;

use crate::VALUE_BYTES_MAX;
use crate::words::name_length;
use crate::world::World;

/// The text with everything that begins with a `$` replaced.
pub(crate) fn substitute(
    text: &str,
    defines: &BTreeMap<String, String>,
    world: &dyn World,
) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else {
            let reference = Reference::parse(after)?;
            result.push_str(&reference.value(defines, world)?);
            rest = reference.rest;
        }
        if result.len() > VALUE_BYTES_MAX {
            break;
        }
    }
    result.push_str(rest);
    if result.len() > VALUE_BYTES_MAX {
        return Err(format!(
            "the value is longer than {VALUE_BYTES_MAX} bytes after substitution"
        ));
    }
    Ok(result)
}

/// What follows a `$` that is not doubled.
struct Reference<'a> {
    name: &'a str,
    is_variable: bool,
    rest: &'a str,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a lone \"$\" ends the value; write \"$$\" for the sign itself".to_owned());
        }
        let (open, close) = match text.as_bytes()[0] {
            b'{' => ("{", "}"),
            b'(' => ("(", ")"),
            _ => ("", ""),
        };
        let text = &text[open.len()..];
        let (name, rest) = text.split_at(name_length(text));
        if name.is_empty() {
            return Err(format!(
                "\"${open}\" is not followed by a name; write \"$$\" for the sign itself"
            ));
        }
        let Some(rest) = rest.strip_prefix(close) else {
            return Err(format!("\"${open}{name}\" is not followed by \"{close}\""));
        };
        Ok(Self {
            name,
            is_variable: open == "(",
            rest,
        })
    }

    fn value(
        &self,
        defines: &BTreeMap<String, String>,
        world: &dyn World,
    ) -> Result<String, String> {
        let name = self.name;
        if self.is_variable {
            let value = world
                .variable(name)
                .ok_or_else(|| format!("the environment has no variable {name}"))?;
            return value
                .into_string()
                .map_err(|_| format!("the environment's variable {name} is not UTF-8"));
        }
        defines
            .get(&name.to_lowercase())
            .cloned()
            .ok_or_else(|| format!("\"{name}\" is used and no %define gives it a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Machine;

    fn replaced(text: &str) -> Result<String, String> {
        let defines = BTreeMap::from([("name".to_owned(), "value $x".to_owned())]);
        substitute(text, &defines, &Machine)
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(replaced("plain").unwrap(), "plain");
        assert_eq!(replaced("a $name b").unwrap(), "a value $x b");
        assert_eq!(replaced("a${NAME}b").unwrap(), "avalue $xb");
        assert_eq!(replaced("$$name $$").unwrap(), "$name $");
        assert_eq!(replaced("$name.x").unwrap(), "value $x.x");
        let path = std::env::var("PATH").unwrap();
        assert_eq!(replaced("$(PATH)").unwrap(), path);
    }

    #[test]
    fn broken_references_are_named() {
        for (text, part) in [
            ("a $", "lone"),
            ("$-", "not followed by a name"),
            ("${-}", "not followed by a name"),
            ("${name", "not followed by \"}\""),
            ("${name:-x}", "not followed by \"}\""),
            ("$(NAME", "not followed by \")\""),
            ("$other", "\"other\""),
            ("$(ZODIAC_HAS_NO_SUCH)", "ZODIAC_HAS_NO_SUCH"),
        ] {
            let error = replaced(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn substitution_does_not_blow_up() {
        let defines = BTreeMap::from([("a".to_owned(), "x".repeat(VALUE_BYTES_MAX / 2))]);
        assert!(substitute("$a$a", &defines, &Machine).is_ok());
        assert!(substitute(&"$a".repeat(50_000), &defines, &Machine).is_err());
    }
}
