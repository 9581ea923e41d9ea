//! The files of a TLS configuration: reading them, and noticing that they changed.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::error::TlsError;
use super::pem::{Section, sections};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How many files a directory of certificates may have.
const FILES_MAX: usize = 10_000;
/// What certificates are called in a directory that OpenSSL's `rehash` has not seen.
const EXTENSIONS: [&str; 4] = ["pem", "crt", "cer", "crl"];

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let length = File::open(path)?
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES_MAX) {
            let text = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(bytes)
    };
    read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn read_sections(path: &Path) -> Result<Vec<Section>, TlsError> {
    sections(&read(path)?).map_err(|what| TlsError::File {
        path: path.to_owned(),
        what,
    })
}

/// The certificates in a file, in their order: one and what signed it, or a list.
pub(super) fn certificates(sections: &[Section]) -> Vec<CertificateDer<'static>> {
    sections
        .iter()
        .filter(|section| ["CERTIFICATE", "X509 CERTIFICATE"].contains(&section.label.as_str()))
        .map(|section| CertificateDer::from(section.der.clone()))
        .collect()
}

/// The file, or the files of the directory, that `authenticate` names.
///
/// OpenSSL sees those files of a directory whose names are hashes (`9d66eef0.0`), so where there
/// are such names, others are left alone: whoever took a client's link away took its trust. In a
/// directory without any, files count that are called as certificates are.
pub(super) fn trusted_files(path: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
        if files.len() > FILES_MAX {
            return Err(TlsError::File {
                path: path.to_owned(),
                what: format!("there are more than {FILES_MAX} files"),
            });
        }
    }
    files.sort();
    let is_rehashed = files.iter().any(|file| is_hashed(file));
    files.retain(|file| {
        let is_meant = if is_rehashed {
            is_hashed(file)
        } else {
            let extension = file.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        };
        is_meant && file.is_file()
    });
    Ok(files)
}

/// `9d66eef0.0`, or `9d66eef0.r0` for a list of revoked certificates.
fn is_hashed(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some((hash, number)) = name.and_then(|name| name.split_once('.')) else {
        return false;
    };
    let number = number.strip_prefix('r').unwrap_or(number);
    hash.len() == 8
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// What files looked like: another one of the same paths differs when a file was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<Look>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    /// A file that was written twice within one tick of its clock has another one at least here.
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at files, and at `authenticate` with all that is in it.
    pub(super) fn of<'a>(
        files: impl Iterator<Item = &'a PathBuf>,
        authenticate: Option<&Path>,
    ) -> Self {
        let trusted = authenticate.map(|path| {
            // One that cannot be read looks like none, until it can.
            let mut files = trusted_files(path).unwrap_or_default();
            files.push(path.to_owned());
            files
        });
        let paths = files.cloned().chain(trusted.into_iter().flatten());
        Self(
            paths
                .map(|path| (look(&path), path))
                .map(|(look, path)| (path, look))
                .collect(),
        )
    }
}

fn look(path: &Path) -> Option<Look> {
    let metadata: Metadata = fs::metadata(path).ok()?;
    Some(Look {
        inode: (metadata.dev(), metadata.ino()),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let files = trusted_files(directory).unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        files.iter().map(name).collect()
    }

    #[test]
    fn a_directory_of_hashes_has_no_other_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["b.pem", "a.crt", "key.txt", "README"] {
            fs::write(path.join(name), "").unwrap();
        }
        assert_eq!(names(path), ["a.crt", "b.pem"]);
        fs::write(path.join("9d66eef0.0"), "").unwrap();
        fs::write(path.join("9d66eef0.r1"), "").unwrap();
        assert_eq!(names(path), ["9d66eef0.0", "9d66eef0.r1"]);
    }

    #[test]
    fn a_change_shows_in_the_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.pem");
        let stamp = || Stamp::of([&file].into_iter(), Some(directory.path()));
        let missing = stamp();
        fs::write(&file, "1").unwrap();
        let first = stamp();
        assert_ne!(first, missing);
        assert_eq!(first, stamp());
        fs::write(directory.path().join("b.pem"), "2").unwrap();
        assert_ne!(first, stamp());
    }
}
