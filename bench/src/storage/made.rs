//! The file that is measured, made once for each size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::raw::RawWriter;
use super::records::Layout;
use crate::choice::Scale;

/// How large the file is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// What people call it.
    pub(crate) name: &'static str,
    objects: u64,
    bytes: u64,
    /// How long a rate is measured, in seconds.
    pub(crate) seconds: f64,
}

impl Size {
    fn layout(self) -> Layout {
        Layout::of(self.objects)
    }
}

impl Scale for Size {
    const ALL: [Self; 3] = [
        Self {
            name: "full",
            objects: 1_000_000,
            bytes: 5_000_000_000,
            seconds: 3.0,
        },
        Self {
            name: "small",
            objects: 100_000,
            bytes: 500_000_000,
            seconds: 1.0,
        },
        Self {
            name: "tiny",
            objects: 1_000,
            bytes: 3_000_000,
            seconds: 0.1,
        },
    ];

    fn name(self) -> &'static str {
        self.name
    }
}

/// Raised when another file is made, so that an old one is not taken for it.
const VERSION: u32 = 1;

/// A Data.fs with much in it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    /// Ids from 0 on; each has a current revision.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// The file of that size in `directory`, from an earlier run where there was one.
pub(crate) fn make(size: Size, directory: &Path) -> Result<Made> {
    let directory = directory.join(format!("{}-{VERSION}", size.name));
    let path = directory.join("Data.fs");
    if !path.exists() {
        eprintln!("bench: making {}", path.display());
        fs::create_dir_all(&directory)?;
        let unfinished = directory.join("unfinished");
        write(size, &unfinished)?;
        fs::rename(unfinished, &path)?;
    }
    let bytes = path.metadata().context("the file was just made")?.len();
    Ok(Made {
        objects: size.layout().objects(),
        path,
        bytes,
    })
}

/// All objects once, and then a life of changes: mostly of documents, some far more often than
/// others, and in the middle of it every twelfth group is taken from its shelf and becomes garbage.
fn write(size: Size, path: &Path) -> Result<()> {
    let layout = size.layout();
    let prose = Prose::new();
    let mut rng = fastrand::Rng::with_seed(size.objects);
    let mut file = RawWriter::create(path, layout.objects())?;
    let oids: Vec<u64> = (0..layout.objects()).collect();
    for oids in oids.chunks(TRANSACTION_RECORDS) {
        let records = oids.iter().map(|&oid| {
            let text = prose.some(&mut rng);
            (oid, layout.record(oid, text, |_| true))
        });
        file.transaction(&records.collect::<Vec<_>>())?;
    }
    let half = file.bytes() + size.bytes.saturating_sub(file.bytes()) / 2;
    let mut is_weeded = false;
    while file.bytes() < size.bytes || !is_weeded {
        if file.bytes() >= half && !is_weeded {
            let present = |group: u64| group % 12 != 7;
            let shelves = layout.shelf_oids();
            let records = shelves.map(|oid| (oid, layout.record(oid, "", present)));
            file.transaction(&records.collect::<Vec<_>>())?;
            is_weeded = true;
        }
        let mut records = Vec::new();
        for _ in 0..rng.usize(1..=4) {
            let among = if rng.bool() {
                layout.documents()
            } else {
                layout.documents().div_ceil(10)
            };
            let oid = layout.document(rng.u64(..among));
            records.push((oid, layout.record(oid, prose.some(&mut rng), |_| true)));
        }
        records.sort_by_key(|(oid, _)| *oid);
        records.dedup_by_key(|(oid, _)| *oid);
        file.transaction(&records)?;
    }
    file.finish()
}

/// Words to cut texts from.
struct Prose(String);

impl Prose {
    fn new() -> Self {
        let mut rng = fastrand::Rng::with_seed(1);
        let words: Vec<String> = (0..4_000)
            .map(|_| (0..rng.usize(2..10)).map(|_| rng.lowercase()).collect())
            .collect();
        let mut text = String::new();
        while text.len() < PROSE_BYTES {
            text.push_str(&words[rng.usize(..words.len())]);
            text.push(if rng.u8(..12) == 0 { '\n' } else { ' ' });
        }
        Self(text)
    }

    fn some(&self, rng: &mut fastrand::Rng) -> &str {
        let bytes = rng.usize(200..TEXT_BYTES_MAX);
        let start = rng.usize(..self.0.len() - bytes);
        &self.0[start..start + bytes]
    }
}

const TRANSACTION_RECORDS: usize = 60;
const PROSE_BYTES: usize = 1 << 20;
const TEXT_BYTES_MAX: usize = 3_200;

#[cfg(test)]
mod tests {
    use filestorage::Survey;
    use fstools::{Line, Listener, Verdict};

    use super::*;

    struct Deaf;

    impl Listener for Deaf {
        fn tell(&mut self, line: Line) -> std::io::Result<()> {
            if let Line::Dangling(dangling) = line {
                return Err(std::io::Error::other(dangling.to_string()));
            }
            Ok(())
        }
    }

    #[test]
    fn the_file_is_sound_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let made = make(Size::named("tiny").unwrap(), folder.path()).unwrap();
        assert!(made.bytes >= 3_000_000);
        let survey = Survey::open(&made.path, std::sync::Arc::new(vfs::RealDisk)).unwrap();
        assert_eq!(survey.positions().unwrap().len(), made.objects);
        assert_eq!(fstools::verify(&survey, &mut Deaf).unwrap(), Verdict::Sound);
        let verdict = fstools::references(&survey, &mut Deaf).unwrap();
        assert_eq!(verdict, Verdict::Sound);
    }
}
