//! The user that a program runs as.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::roles::Misuse;

/// A user other than us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    uid: u32,
    gid: u32,
}

const PASSWORDS: &str = "/etc/passwd";

impl User {
    /// The user of that name or number, if it is not who we are already.
    pub(super) fn find(name: &str) -> Result<Option<Self>> {
        let known = fs::read_to_string(PASSWORDS).unwrap_or_default();
        let user = Self::find_in(&known, name).ok_or_else(|| match name.parse::<u32>() {
            Ok(_) => Misuse::error(format!("uid {name:?} not found in {PASSWORDS}")),
            Err(_) => Misuse::error(format!("username {name:?} not found in {PASSWORDS}")),
        })?;
        let us = rustix::process::geteuid();
        if us.as_raw() == user.uid {
            return Ok(None);
        }
        if !us.is_root() {
            return Err(Misuse::error("only root can use -u USER to change users"));
        }
        Ok(Some(user))
    }

    fn find_in(known: &str, name: &str) -> Option<Self> {
        let number = name.parse().ok();
        known.lines().find_map(|line| {
            let mut words = line.split(':');
            let (found, _password) = (words.next()?, words.next()?);
            let uid: u32 = words.next()?.parse().ok()?;
            let gid = words.next()?.parse().ok()?;
            let is_wanted = number.map_or(found == name, |number: u32| number == uid);
            is_wanted.then_some(Self { uid, gid })
        })
    }

    /// The command as this user, without the groups of the one who calls.
    pub(super) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives the directory to this user.
    pub(super) fn own(self, directory: &Path) -> std::io::Result<()> {
        std::os::unix::fs::chown(directory, Some(self.uid), Some(self.gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let known = "root:x:0:0:root:/root:/bin/sh\nbroken\nzope:x:1001:100::/:\n";
        let zope = Some(User {
            uid: 1001,
            gid: 100,
        });
        assert_eq!(User::find_in(known, "zope"), zope);
        assert_eq!(User::find_in(known, "1001"), zope);
        assert_eq!(User::find_in(known, "plone"), None);
        assert_eq!(User::find_in(known, "1002"), None);
    }
}
