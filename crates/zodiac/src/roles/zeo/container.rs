//! The configuration of the container image plone-zeo, with its variables and its directories.

use std::path::Path;

use anyhow::{Context, Result};

use crate::roles::Misuse;

/// The variables, and their values where they are not set.
const VARIABLES: [(&str, &str); 4] = [
    ("ZEO_PORT", "8100"),
    ("ZEO_READ_ONLY", "false"),
    ("ZEO_INVALIDATION_QUEUE_SIZE", "100"),
    ("ZEO_PACK_KEEP_OLD", "true"),
];

/// The text of a `zeo.conf` for data below `directory`, which gets the directories that are missing.
pub(super) fn configuration(directory: &Path) -> Result<String> {
    for part in ["filestorage", "blobstorage"] {
        let path = directory.join(part);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
    }
    let shown = directory.to_str().filter(|path| !path.contains('\n'));
    let shown = shown.ok_or_else(|| {
        Misuse::error(format!(
            "{} cannot be written in a configuration",
            directory.display()
        ))
    })?;
    let mut text = format!("%define DATA {}\n", shown.replace('$', "$$"));
    for (name, default) in VARIABLES {
        let value = match std::env::var(name) {
            Ok(value) => value,
            Err(std::env::VarError::NotPresent) => default.to_owned(),
            Err(error) => {
                return Err(Misuse::error(format!(
                    "environment variable {name}: {error}"
                )));
            }
        };
        if value.contains('\n') {
            return Err(Misuse::error(format!(
                "environment variable {name} has several lines"
            )));
        }
        text += &format!("%define {name} {}\n", value.replace('$', "$$"));
    }
    Ok(text + TEXT)
}

const TEXT: &str = "\
<zeo>
  address 0.0.0.0:$ZEO_PORT
  read-only $ZEO_READ_ONLY
  invalidation-queue-size $ZEO_INVALIDATION_QUEUE_SIZE
</zeo>
<filestorage 1>
  path $DATA/filestorage/Data.fs
  blob-dir $DATA/blobstorage
  pack-keep-old $ZEO_PACK_KEEP_OLD
</filestorage>
";
