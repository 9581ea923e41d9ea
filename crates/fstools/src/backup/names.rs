//! The names in a repository: the second (UTC) at which a backup began, and what the file is.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use storage::Tid;

use crate::Stamp;

/// When a backup began: `2026-01-31-12-00-00`, UTC. As text these are in the order of time, and the
/// original compares them as text; so do we.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupDate(String);

/// What is not the date of a backup, nor the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a date has the form YYYY-MM-DD[-hh[-mm[-ss]]], UTC, such as 2026-01-31 or 2026-01-31-12-00-00"
)]
pub struct BackupDateError;

impl BackupDate {
    /// The second that this time since 1970 lies in.
    pub fn at(time: Duration) -> Self {
        let second = Tid::from_unix_time(Duration::from_secs(time.as_secs()));
        let mut text = Stamp(second).to_string();
        text.truncate(WHOLE.len());
        Self(text.replace(['T', ':'], "-"))
    }

    /// Reads a date whose end may be missing: `2026-01-31` is the beginning of that day, since a
    /// shorter text comes before all longer ones.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, BackupDateError> {
        let whole_parts = [10, 13, 16, WHOLE.len()].contains(&text.len());
        if whole_parts && looks_like(text, WHOLE) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BackupDateError)
        }
    }

    /// The date as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BackupDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A file with a piece of a Data.fs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataFile {
    pub(crate) date: BackupDate,
    /// Whether it begins with the beginning of the Data.fs, and needs no file before it.
    pub(crate) is_full: bool,
    pub(crate) is_compressed: bool,
}

impl DataFile {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (date, kind) = name.split_once('.')?;
        if date.len() != WHOLE.len() || !looks_like(date, WHOLE) {
            return None;
        }
        let (is_full, is_compressed) = match kind {
            "fs" => (true, false),
            "fsz" => (true, true),
            "deltafs" => (false, false),
            "deltafsz" => (false, true),
            _ => return None,
        };
        Some(Self {
            date: BackupDate(date.to_owned()),
            is_full,
            is_compressed,
        })
    }

    pub(crate) fn name(&self) -> String {
        let delta = if self.is_full { "" } else { "delta" };
        let compressed = if self.is_compressed { "z" } else { "" };
        format!("{}.{delta}fs{compressed}", self.date)
    }
}

/// The list of the files that belong to the full backup of that date.
pub(crate) fn dat(date: &BackupDate) -> String {
    format!("{date}.dat")
}

/// The index of the Data.fs as of that date.
pub(crate) fn index(date: &BackupDate) -> String {
    format!("{date}.index")
}

/// What changed in the directory of blobs since the backup before that date.
pub(crate) fn blobs(date: &BackupDate) -> String {
    format!("{date}.blobs")
}

/// Whether the text begins as the pattern does, where `0` is any digit.
fn looks_like(text: &str, pattern: &str) -> bool {
    text.bytes()
        .zip(pattern.bytes())
        .all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

const WHOLE: &str = "0000-00-00-00-00-00";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_second_in_utc() {
        for (seconds, shown) in [
            (0, "1970-01-01-00-00-00"),
            (951_782_430, "2000-02-29-00-00-30"),
            (1_767_225_599, "2025-12-31-23-59-59"),
        ] {
            let time = Duration::new(seconds, 999_999_999);
            assert_eq!(BackupDate::at(time).as_str(), shown);
        }
        // Whatever the second, the conversion through a transaction id does not round it away.
        for second in 0..60 {
            let date = BackupDate::at(Duration::from_secs(second));
            assert_eq!(date.as_str(), format!("1970-01-01-00-00-{second:02}"));
        }
    }

    #[test]
    fn a_date_may_be_cut_between_its_parts_only() {
        for text in ["2026-01-31", "2026-01-31-12", "2026-01-31-12-00-00"] {
            assert_eq!(BackupDate::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "2026",
            "2026-01-3",
            "2026-01-31T12",
            "2026-01-31-12-00-00-1",
            "yesterday!",
        ] {
            assert_eq!(BackupDate::parse(text), Err(BackupDateError), "{text}");
        }
        assert!(
            BackupDate::parse("2026-01-31").unwrap() < BackupDate::parse("2026-01-31-00").unwrap()
        );
    }

    #[test]
    fn names_are_those_of_the_original_and_no_others() {
        for name in ["fs", "fsz", "deltafs", "deltafsz"] {
            let name = format!("2026-01-31-12-00-00.{name}");
            assert_eq!(DataFile::parse(&name).unwrap().name(), name);
        }
        for name in [
            "tmp.tmp",
            "2026-01-31-12-00-00.dat",
            "2026-01-31.fs",
            "2026-01-31-12-00-00.fs.part",
        ] {
            assert_eq!(DataFile::parse(name), None);
        }
    }
}
