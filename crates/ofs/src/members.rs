//! What the stock classes define, as far as a URL can name it.
//!
//! The table is taken from Zope itself by `data/make.py`. It decides what is published, what
//! requires which permission, and what does not exist; it does not say that something works
//! natively.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use publisher::{Member, Publish, Requirement};
use security::{Role, Setting};

/// The attributes of one class.
#[derive(Debug, Default)]
pub(crate) struct Members {
    by_name: HashMap<&'static str, Arc<Member>>,
}

impl Members {
    /// The table of the class with this letter in `data/members.txt`.
    pub(crate) fn of(letter: char) -> &'static Self {
        TABLES.classes.get(&letter).unwrap_or(&TABLES.none)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Member>> {
        self.by_name.get(name).cloned()
    }

    /// What the instances themselves require.
    pub(crate) fn requirement(&self) -> Requirement {
        self.by_name
            .get("__roles__")
            .map_or(Requirement::Inherited, |m| m.requirement.clone())
    }
}

/// What the application class says of a permission.
pub(crate) fn application_setting(attribute: &str) -> Option<Setting> {
    TABLES
        .settings
        .get(attribute)
        .map(|roles| Setting::Only(roles.clone()))
}

struct Tables {
    classes: HashMap<char, Members>,
    settings: HashMap<&'static str, Vec<Role>>,
    none: Members,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| parse(include_str!("../data/members.txt")));

fn parse(text: &'static str) -> Tables {
    let mut tables = Tables {
        classes: HashMap::new(),
        settings: HashMap::new(),
        none: Members::default(),
    };
    for line in text.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        match columns.as_slice() {
            [setting, given] => {
                tables.settings.insert(setting, roles(given));
            }
            [name, letters, publish, requires] => {
                let member = Arc::new(member(publish, requires));
                for letter in letters.chars() {
                    let class = tables.classes.entry(letter).or_default();
                    class.by_name.insert(name, member.clone());
                }
            }
            _ => unreachable!("the table is written by data/make.py: {line:?}"),
        }
    }
    tables
}

fn member(publish: &str, requires: &str) -> Member {
    let requirement = match requires {
        "=" => Requirement::Inherited,
        "*" => Requirement::Public,
        "!" => Requirement::Private,
        _ => match (requires.strip_prefix(':'), requires.split_once('|')) {
            (Some(listed), _) => Requirement::Roles(roles(listed)),
            (None, Some((permission, default))) => Requirement::Permission {
                permission: permission.to_owned(),
                default: roles(default),
            },
            (None, None) => unreachable!("the table is written by data/make.py: {requires:?}"),
        },
    };
    Member {
        publish: match publish {
            "+" | "o" => Publish::Always,
            "-" | "0" => Publish::Never,
            verb => Publish::Verb(verb.to_owned()),
        },
        requirement,
        is_none: publish == "0",
        is_object: publish == "o",
    }
}

fn roles(listed: &str) -> Vec<Role> {
    listed
        .split(',')
        .filter(|role| !role.is_empty())
        .map(Role::new)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_read() {
        for letter in "AFRBIMDUN".chars() {
            assert!(Members::of(letter).get("OPTIONS").is_some(), "{letter}");
        }
        assert!(Members::of('M').get("index_html").unwrap().is_none);
        assert_eq!(
            Members::of('F').get("objectValues").unwrap().publish,
            Publish::Never
        );
        let edit = Members::of('D').get("manage_edit").unwrap();
        assert_eq!(
            edit.requirement,
            Requirement::Permission {
                permission: "Change DTML Documents".to_owned(),
                default: vec![Role::new("Manager")],
            }
        );
        let view = application_setting("_View_Permission");
        assert_eq!(view, Some(Setting::Only(roles("Manager,Anonymous"))));
    }
}
