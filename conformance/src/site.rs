//! A site that genuine Zope made, to be served and changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{judge, paths};

/// A Data.fs of one's own, in a directory that goes away with it.
#[derive(Debug)]
pub struct Site {
    data: PathBuf,
    directory: TempDir,
}

impl Site {
    /// A copy of the site that `make_site.py` makes.
    ///
    /// # Errors
    /// When the judge cannot make it.
    pub fn sound() -> Result<Self> {
        Self::copy("Data.fs")
    }

    /// The same with one record, that of `/damaged.txt`, damaged.
    ///
    /// # Errors
    /// When the judge cannot make it.
    pub fn damaged() -> Result<Self> {
        Self::copy("damaged.fs")
    }

    /// The path of the Data.fs.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory that holds it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Has the judge read a copy of the file, which must be whole to its last byte. The result has
    /// `transactions`, `counter` and the listing of each of `folders`.
    ///
    /// # Errors
    /// When anything in the file is not as ZODB wants it.
    pub fn check(&self, folders: &[&str]) -> Result<Value> {
        let found = self.check_crashed(folders)?;
        if found["cut"] != 0 {
            bail!(
                "ZODB cuts {} bytes off the end of {}",
                found["cut"],
                self.data.display()
            );
        }
        Ok(found)
    }

    /// The same for a file whose writer was killed: an unfinished tail may be cut off.
    ///
    /// # Errors
    /// When anything before that is not as ZODB wants it.
    pub fn check_crashed(&self, folders: &[&str]) -> Result<Value> {
        let directory = tempfile::tempdir()?;
        let copy = directory.path().join("Data.fs");
        fs::copy(&self.data, &copy)?;
        let found = judge::run("check_fs.py", &json!({ "path": copy, "folders": folders }))?;
        for tool in ["fstest", "fsrefs"] {
            let complaint = found[tool].as_str().unwrap_or("no answer");
            if !complaint.is_empty() {
                bail!("{tool} complains of {}:\n{complaint}", self.data.display());
            }
        }
        Ok(found)
    }

    fn copy(name: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("Data.fs");
        fs::copy(original()?.join(name), &data)?;
        Ok(Self { data, directory })
    }
}

/// Where the originals are: made once for each version of the programs that make them.
fn original() -> Result<PathBuf> {
    let makers = [
        judge::requirements(),
        paths::judge("make_site.py"),
        paths::judge("genuine_zope.py"),
    ];
    let stamp = judge::fingerprint(&makers)?;
    let directory = paths::workshop().join("site");
    judge::make_once(&directory, &stamp, |directory| {
        let output = judge::command("make_site.py")?.arg(directory).output()?;
        if !output.status.success() {
            bail!(
                "make_site.py failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    })?;
    Ok(directory)
}
