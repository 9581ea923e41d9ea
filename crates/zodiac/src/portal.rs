//! The sample portal that a newcomer's first `zodiac up` shows.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use filestorage::FileStorage;
use storage::Storage;
use zodb::{Database, DatabaseOptions};

use crate::events::Event;

/// Makes a Data.fs with the sample portal at `path` where nothing is, and tells its manager.
///
/// The file appears under its name only when it is whole: an interrupted attempt leaves
/// `<path>.new` behind, which the next one replaces.
pub(crate) fn create_if_absent(path: &Path) -> Result<Option<Event>> {
    if path
        .try_exists()
        .with_context(|| format!("cannot look for {}", path.display()))?
    {
        return Ok(None);
    }
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    }
    let unfinished = with_suffix(path, ".new");
    for leftover in [unfinished.clone(), with_suffix(&unfinished, ".index")] {
        if leftover.exists() {
            fs::remove_file(&leftover)
                .with_context(|| format!("cannot remove {}", leftover.display()))?;
        }
    }
    let password = random_password()?;
    fill(&unfinished, &password).with_context(|| format!("cannot create {}", path.display()))?;
    for suffix in [".index", ""] {
        let (from, to) = (with_suffix(&unfinished, suffix), with_suffix(path, suffix));
        if from.exists() {
            fs::rename(&from, &to).with_context(|| format!("cannot create {}", to.display()))?;
        }
    }
    let _ = fs::remove_file(with_suffix(&unfinished, ".lock"));
    Ok(Some(Event::Created {
        path: path.display().to_string(),
        user: MANAGER.to_owned(),
        password,
    }))
}

fn fill(path: &Path, password: &str) -> Result<()> {
    let storage = FileStorage::open(
        path,
        filestorage::Options {
            create: true,
            ..Default::default()
        },
    )?;
    let database = Database::new(
        Arc::clone(&storage) as Arc<dyn Storage>,
        DatabaseOptions::default(),
    );
    ofs::sample::create(&database, (MANAGER, password))?;
    drop(database);
    storage.close()?;
    Ok(())
}

/// The sample portal's manager.
const MANAGER: &str = "admin";

/// Letters and digits that are not mistaken for each other, from the system's randomness.
fn random_password() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read randomness from /dev/urandom")?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
