//! A log file that can be opened again, and begun anew when it is long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// An open log file, or one that is opened when there is something to write.
pub(super) struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    old_files: u64,
    is_late: bool,
    file: Option<File>,
    length: u64,
    /// Whether standard error was told that nothing can be written.
    has_failed: bool,
}

impl LogFile {
    pub(super) fn open(
        path: PathBuf,
        bytes_max: u64,
        old_files: u64,
        is_late: bool,
    ) -> Result<Self> {
        let mut log = Self {
            path,
            bytes_max,
            old_files,
            is_late,
            file: None,
            length: 0,
            has_failed: false,
        };
        if !is_late {
            let opened = log.open_file();
            opened.with_context(|| format!("cannot open the log file {}", log.path.display()))?;
        }
        Ok(log)
    }

    pub(super) fn write(&mut self, line: &str) {
        let bytes = line.len() as u64;
        if self.bytes_max > 0 && self.file.is_some() && self.length + bytes >= self.bytes_max {
            self.rotate();
        }
        let written = self.try_write(line);
        self.report(written);
    }

    /// Leaves the file to whoever has moved it away; one that is rotated by size is rotated.
    pub(super) fn reopen(&mut self) {
        if self.bytes_max > 0 {
            self.rotate();
        } else if self.file.take().is_some() && !self.is_late {
            let opened = self.open_file();
            self.report(opened);
        }
    }

    fn try_write(&mut self, line: &str) -> io::Result<()> {
        if self.file.is_none() {
            self.open_file()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(line.as_bytes())?;
            self.length += line.len() as u64;
        }
        Ok(())
    }

    fn open_file(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)?;
        self.length = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// `zeo.log` becomes `zeo.log.1`, that one `zeo.log.2`; the oldest goes.
    fn rotate(&mut self) {
        self.file = None;
        let numbered = |number: u64| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.old_files).rev() {
            let _there_may_be_none = fs::rename(numbered(number), numbered(number + 1));
        }
        let _there_may_be_none = fs::rename(&self.path, numbered(1));
        if !self.is_late {
            let opened = self.open_file();
            self.report(opened);
        }
    }

    fn report(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                let path = self.path.display();
                let _ = writeln!(
                    io::stderr(),
                    "zodiac: cannot write the log file {path}: {error}"
                );
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_left_alone_after_a_reopen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeo.log");
        let moved = folder.path().join("zeo.log.old");
        let mut log = LogFile::open(path.clone(), 0, 0, false).unwrap();
        log.write("one\n");
        fs::rename(&path, &moved).unwrap();
        log.write("two\n");
        log.reopen();
        log.write("three\n");
        assert_eq!(fs::read_to_string(moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(path).unwrap(), "three\n");
    }

    #[test]
    fn a_long_file_is_begun_anew_and_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeo.log");
        let mut log = LogFile::open(path.clone(), 10, 2, false).unwrap();
        for line in ["1234\n", "5678\n", "abcd\n", "efghijklmnop\n", "x\n"] {
            log.write(line);
        }
        let read = |suffix: &str| {
            let path = folder.path().join(format!("zeo.log{suffix}"));
            fs::read_to_string(path).ok()
        };
        // As Python's: a line that makes the file as long as it may be begins a new one.
        assert_eq!(read("").as_deref(), Some("x\n"));
        assert_eq!(read(".1").as_deref(), Some("efghijklmnop\n"));
        assert_eq!(read(".2").as_deref(), Some("abcd\n"));
        assert_eq!(read(".3"), None);
        log.reopen();
        assert_eq!(read("").as_deref(), Some(""));
        assert_eq!(read(".1").as_deref(), Some("x\n"));
    }

    #[test]
    fn a_late_file_is_made_by_its_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zeo.log");
        let mut log = LogFile::open(path.clone(), 0, 0, true).unwrap();
        assert!(!path.exists());
        log.write("x\n");
        assert!(path.exists());
        assert!(LogFile::open(folder.path().join("no/zeo.log"), 0, 0, false).is_err());
    }
}
