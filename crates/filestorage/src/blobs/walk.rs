//! Walking through all blobs.

use std::path::{Path, PathBuf};

use storage::{Oid, StorageError, Tid};

use super::{BlobDirectory, layout, list};

impl BlobDirectory {
    /// Shows each file of each blob, those of one object one after another and in the order of their
    /// transactions. Directories and files that are no blobs are passed over. In memory are the
    /// names of one way through the directories.
    ///
    /// # Errors
    /// A directory could not be read, or `visit` failed.
    pub fn each(
        &self,
        visit: &mut dyn FnMut(Oid, Tid, &Path) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        // A stack of directories, each with how deep it is and with the bytes that its name gives.
        let mut unseen: Vec<(PathBuf, usize, u64)> = vec![(self.root.clone(), 0, 0)];
        while let Some((path, depth, number)) = unseen.pop() {
            if depth == self.layout.depth() {
                let oid = Oid::new(number);
                for tid in self.revisions(oid)? {
                    visit(oid, tid, &path.join(layout::file_name(tid)))?;
                }
                continue;
            }
            let mut inside: Vec<_> = list(&*self.disk, &path)?
                .into_iter()
                .filter(|entry| entry.is_directory)
                .filter_map(|entry| {
                    let number = self.layout.step(number, entry.name.to_str()?)?;
                    Some((number, path.join(entry.name)))
                })
                .collect();
            inside.sort_unstable_by(|one, other| other.cmp(one));
            let next = |(number, path)| (path, depth + 1, number);
            unseen.extend(inside.into_iter().map(next));
        }
        Ok(())
    }
}
