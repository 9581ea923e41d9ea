//! Blobs: objects whose data are a file beside the database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pickle::Pickles;
use storage::{Blobs, Oid, StorageError, Tid};

use crate::{ClassName, Connection, ZodbError};

/// Blobs are written and read as streams and never as a whole in memory. Until the commit, new data
/// lie in a file where the storage wants it, which goes with the connection.
///
/// ```
/// use std::io::Read as _;
/// use storage::TransactionMeta;
/// use zodb::{Database, DatabaseOptions};
///
/// # let directory = tempfile::tempdir()?;
/// let storage = filestorage::FileStorage::open(
///     directory.path().join("Data.fs"),
///     filestorage::Options {
///         blob_dir: Some(directory.path().join("blobs")),
///         ..Default::default()
///     },
/// )?;
/// let database = Database::new(storage, DatabaseOptions::default());
///
/// let mut connection = database.connect();
/// let oid = connection.add_blob(&b"a long film"[..])?;
/// connection.commit(TransactionMeta::default())?;
///
/// let mut text = String::new();
/// database.connect().open_blob(oid)?.read_to_string(&mut text)?;
/// assert_eq!(text, "a long film");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Connection {
    /// A new blob (`ZODB.blob.Blob`) with what `data` yields up to its end, for this transaction at
    /// first. Something has to refer to it, or packing removes it.
    ///
    /// Work that may be done again after a conflict ([`Database::transact`](crate::Database::transact))
    /// opens its source within it: one that was read to its end once has nothing more.
    ///
    /// # Errors
    /// [`StorageError::Unsupported`] where the storage keeps no blobs, an I/O error where `data`
    /// fails or there is no room.
    pub fn add_blob(&mut self, data: impl Read) -> Result<Oid, ZodbError> {
        let data = NewData::copied(self.blobs_to_change()?, data)?;
        self.create_blob(data)
    }

    /// A new blob that takes a file over (`consumeFile`): it is moved, or, from another file system,
    /// copied and removed. From now on it goes with this transaction.
    ///
    /// # Errors
    /// As [`add_blob`](Self::add_blob); the file is left where it is then.
    pub fn add_blob_file(&mut self, file: impl AsRef<Path>) -> Result<Oid, ZodbError> {
        let data = NewData::moved(self.blobs_to_change()?, file.as_ref())?;
        self.create_blob(data)
    }

    /// Gives a blob other data, for this transaction at first. Who wants to add to it chains what it
    /// has, from [`open_blob`](Self::open_blob), and the rest.
    ///
    /// # Errors
    /// [`ZodbError::NotABlob`]; those of [`add_blob`](Self::add_blob).
    pub fn put_blob(&mut self, oid: Oid, data: impl Read) -> Result<(), ZodbError> {
        self.check_blob(oid)?;
        let data = NewData::copied(self.blobs_to_change()?, data)?;
        self.change_blob(oid, data)
    }

    /// Gives a blob a file for its data, which is taken over as by
    /// [`add_blob_file`](Self::add_blob_file).
    ///
    /// # Errors
    /// As [`put_blob`](Self::put_blob); the file is left where it is then.
    pub fn put_blob_file(&mut self, oid: Oid, file: impl AsRef<Path>) -> Result<(), ZodbError> {
        self.check_blob(oid)?;
        let data = NewData::moved(self.blobs_to_change()?, file.as_ref())?;
        self.change_blob(oid, data)
    }

    /// The data of a blob as this transaction sees it, to be read, from any place. They stay
    /// readable whatever becomes of the blob meanwhile.
    ///
    /// # Errors
    /// [`ZodbError::NotABlob`]; [`StorageError::Unsupported`] where the storage keeps no blobs,
    /// [`StorageError::NotFound`] where the file of the blob is lost.
    pub fn open_blob(&self, oid: Oid) -> Result<File, ZodbError> {
        if let Some(data) = self.new_data(oid) {
            return Ok(data.open()?);
        }
        let tid = self.check_blob(oid)?;
        Ok(blobs_of(self)?.open_blob(oid, tid)?)
    }

    fn create_blob(&mut self, data: NewData) -> Result<Oid, ZodbError> {
        let oid = self.new_oid()?;
        self.change(oid, Tid::ZERO, blob_record(), Some(Arc::new(data)))?;
        Ok(oid)
    }

    fn change_blob(&mut self, oid: Oid, data: NewData) -> Result<(), ZodbError> {
        let object = self.load(oid)?;
        let record = object.pickles().clone();
        self.change(oid, object.tid(), record, Some(Arc::new(data)))
    }

    /// That it is one, and the transaction that wrote what is seen of it.
    fn check_blob(&self, oid: Oid) -> Result<Tid, ZodbError> {
        let object = self.load(oid)?;
        if is_blob(object.class()) {
            return Ok(object.tid());
        }
        let class = object.class().clone();
        Err(ZodbError::NotABlob { oid, class })
    }

    pub(crate) fn blobs_to_change(&self) -> Result<&dyn Blobs, ZodbError> {
        if self.is_historical() {
            return Err(ZodbError::Historical);
        }
        Ok(blobs_of(self)?)
    }
}

/// Whether the objects of this class are blobs. Nobody derives from it: the original forbids it.
pub(crate) fn is_blob(class: &ClassName) -> bool {
    class.is(MODULE, CLASS)
}

fn blobs_of(connection: &Connection) -> Result<&dyn Blobs, StorageError> {
    let blobs = connection.database().storage().blobs();
    blobs.ok_or(StorageError::Unsupported {
        operation: "blobs (it has no directory for them)",
    })
}

/// What every blob has for a record: the class, and no state.
fn blob_record() -> Pickles {
    let mut pickles = Pickles::new();
    let (class, state) = (pickles.global(MODULE, CLASS), pickles.none());
    pickles.set_roots(&[class, state]);
    pickles
}

/// A file with new data of a blob. It is removed with its last owner, unless it was handed to the
/// storage.
#[derive(Debug)]
pub(crate) struct NewData {
    path: PathBuf,
    is_ours: AtomicBool,
}

impl NewData {
    fn at(path: PathBuf) -> Self {
        let is_ours = AtomicBool::new(true);
        Self { path, is_ours }
    }

    /// With all that there is to read.
    pub(crate) fn copied(blobs: &dyn Blobs, mut from: impl Read) -> Result<Self, StorageError> {
        let path = blobs.staging_file();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| StorageError::io(&path, "make", error))?;
        let data = Self::at(path);
        let copied = io::copy(&mut from, &mut file);
        copied.map_err(|error| StorageError::io(&data.path, "copy a blob to", error))?;
        Ok(data)
    }

    fn moved(blobs: &dyn Blobs, from: &Path) -> Result<Self, StorageError> {
        let fail = |what| move |error| StorageError::io(from, what, error);
        let metadata = fs::symlink_metadata(from).map_err(fail("look at"))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
            return Err(fail("take")(error));
        }
        let path = blobs.staging_file();
        match fs::rename(from, &path) {
            Ok(()) => Ok(Self::at(path)),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let data = Self::copied(blobs, File::open(from).map_err(fail("open"))?)?;
                fs::remove_file(from).map_err(fail("remove"))?;
                Ok(data)
            }
            Err(error) => Err(fail("move")(error)),
        }
    }

    fn open(&self) -> Result<File, StorageError> {
        File::open(&self.path).map_err(|error| StorageError::io(&self.path, "open", error))
    }

    /// Gives the file to a transaction of the storage.
    pub(crate) fn hand_over(
        &self,
        store: impl FnOnce(PathBuf) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        // Where that fails the storage has removed it, or nobody has.
        store(self.path.clone())?;
        self.is_ours.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for NewData {
    fn drop(&mut self) {
        if !*self.is_ours.get_mut() {
            return;
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the data of a blob that is not committed stay");
            }
            _ => {}
        }
    }
}

const MODULE: &str = "ZODB.blob";
const CLASS: &str = "Blob";
