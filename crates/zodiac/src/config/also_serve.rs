//! `[[zeo.also-serve]]`: storages beside the one that `[zeo]` names.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Deserialize;

use super::{Compression, Config, Durability};

/// One more storage of the server. What is not said is as `[storage]` says it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct AlsoServe {
    /// The name that clients ask for.
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    #[serde(default)]
    pub(crate) read_only: bool,
    pub(crate) blob_dir: Option<PathBuf>,
    pub(crate) compress: Option<Compression>,
    pub(crate) pack_gc: Option<bool>,
    pub(crate) pack_keep_old: Option<bool>,
    pub(crate) durability: Option<Durability>,
    pub(crate) quota: Option<u64>,
}

/// Two storages cannot have one name or one file.
pub(super) fn check(config: &Config) -> Result<()> {
    let mut names = vec![&config.zeo.storage];
    let mut files = vec![&config.zeo.data];
    for storage in &config.zeo.also_serve {
        let name = &storage.name;
        if name.is_empty() || storage.data.as_os_str().is_empty() {
            bail!("zeo.also-serve: a storage has a name, and the path of its data");
        }
        if names.contains(&name) {
            bail!("zeo.also-serve: there is another storage {name:?}");
        }
        if files.contains(&&storage.data) {
            let file = storage.data.display();
            bail!("zeo.also-serve: {file} is another storage's already");
        }
        names.push(name);
        files.push(&storage.data);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::from_text("zodiac.toml", text, Vec::new())
    }

    #[test]
    fn storages_beside_the_first_one_have_names_and_files_of_their_own() {
        let config = parse(
            "[[zeo.also-serve]]\nname = 'catalog'\ndata = 'Catalog.fs'\nquota = 7\n
             [[zeo.also-serve]]\nname = 'old'\ndata = 'Old.fs'\nread-only = true\n",
        );
        let config = config.unwrap();
        let names = config.zeo.also_serve.iter();
        let names: Vec<_> = names.map(|storage| storage.name.as_str()).collect();
        assert_eq!(names, ["catalog", "old"]);
        assert_eq!(config.zeo.also_serve[0].quota, Some(7));
        for (text, said) in [
            ("name = '1'\ndata = 'Catalog.fs'", "another storage"),
            ("name = 'main'\ndata = 'var/Data.fs'", "another storage's"),
            ("name = ''\ndata = 'Catalog.fs'", "has a name"),
            ("name = 'catalog'", "data"),
            ("name = 'a'\ndata = 'A.fs'\nlisten = 1", "listen"),
        ] {
            let refused = parse(&format!("[[zeo.also-serve]]\n{text}\n")).unwrap_err();
            let refused = format!("{refused:#}");
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
