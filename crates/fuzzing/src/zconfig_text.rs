//! Any text as a server's configuration.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use zconfig::{Document, LogFormat, World, schemas::ZEO_SERVER};

/// A machine where every file holds the input, and every path is a directory.
struct Mirror<'a>(&'a [u8]);

impl World for Mirror<'_> {
    fn read(&self, _path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        Ok(self.0[..self.0.len().min(bytes_max)].to_vec())
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        (name != "NONE").then(|| name.into())
    }

    fn exists(&self, _path: &Path) -> bool {
        true
    }

    fn is_dir(&self, _path: &Path) -> bool {
        true
    }
}

/// Reads a configuration; reading it again gives the same, and every error names the file.
pub fn zconfig(bytes: &[u8]) {
    let world = Mirror(bytes);
    let read = || -> Result<String, zconfig::ConfigError> {
        let document = Document::read("zeo.conf", &world)?;
        ZEO_SERVER
            .check(&document, &world)
            .map(|root| format!("{root:?}"))
    };
    let first = read();
    if let Err(error) = &first {
        assert!(!error.place.file.is_empty() && !error.message.is_empty());
    }
    assert_eq!(first, read());
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(format) = LogFormat::parse(text)
    {
        format.render(|field| zconfig::FieldValue::Text(field.into()));
        format.render(|_| zconfig::FieldValue::Integer(i64::MIN));
        format.render(|_| zconfig::FieldValue::Float(f64::NAN));
    }
}
