//! The programs that stand beside a ZEO server, under the names and with the options of the originals.

mod address;
mod caller;
pub(crate) mod nagios;
pub(crate) mod pack;
mod python;
pub(crate) mod zeoctl;

use std::ffi::OsString;
use std::path::Path;

/// The original's name of a program, and the subcommand that takes its place.
const NAMES: &[(&str, &str)] = &[
    ("runzeo", "zeo"),
    ("zeopack", "zeopack"),
    ("zeo-nagios", "zeo-nagios"),
    ("zeoctl", "zeoctl"),
];

/// The command line, where the binary was called by the name of a program that it takes the place of:
/// a link `runzeo` to `zodiac` makes `runzeo -C zeo.conf` mean `zodiac zeo -C zeo.conf`.
pub(crate) fn command_line(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments
        .first()
        .and_then(|called| Path::new(called).file_name());
    let known = NAMES
        .iter()
        .find(|(original, _)| name.is_some_and(|name| name == *original));
    if let Some((_, subcommand)) = known {
        arguments[0] = "zodiac".into();
        arguments.insert(1, (*subcommand).into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_by_an_originals_name_means_the_subcommand() {
        let line = |words: &[&str]| command_line(words.iter().map(OsString::from).collect());
        assert_eq!(
            line(&["/opt/bin/runzeo", "-C", "f"]),
            ["zodiac", "zeo", "-C", "f"]
        );
        assert_eq!(line(&["zeo-nagios"]), ["zodiac", "zeo-nagios"]);
        assert_eq!(
            line(&["/opt/zodiac", "zeopack"]),
            ["/opt/zodiac", "zeopack"]
        );
        assert_eq!(line(&[]), [""; 0]);
    }
}
