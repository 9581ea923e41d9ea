//! What a program in the background prints, and what its manager has to say.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;

/// The file that all of it is written to. The program writes to a pipe, so that the file can be
/// opened again under it.
#[derive(Clone, Debug)]
pub(super) struct Transcript {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

const CHUNK_BYTES: usize = 8 << 10;

impl Transcript {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(Mutex::new(append_to(path)?)),
        })
    }

    /// Opens the file again, which may have got another name meanwhile.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let fresh = append_to(&self.path)?;
        *self.file.lock() = fresh;
        Ok(())
    }

    /// Adds a line of the manager's own.
    pub(super) fn note(&self, line: &str) {
        let time = chrono::Local::now().format("%Y-%m-%dT%H:%M:%S");
        let pid = std::process::id();
        // There is nowhere to complain of a transcript that takes nothing.
        let _ = self
            .file
            .lock()
            .write_all(format!("{time} zeoctl[{pid}] {line}\n").as_bytes());
    }

    /// Ends of a pipe for a program's standard output and error.
    pub(super) fn streams(&self) -> io::Result<(Stdio, Stdio)> {
        let (reader, writer) = io::pipe()?;
        let second = writer.try_clone()?;
        let transcript = self.clone();
        std::thread::Builder::new()
            .name("transcript".to_owned())
            .spawn(move || transcript.copy(reader))?;
        Ok((writer.into(), second.into()))
    }

    /// Ends with the program, and with all that it left behind.
    fn copy(&self, mut reader: PipeReader) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return,
                // A full disk must not keep the program from printing.
                Ok(length) => drop(self.file.lock().write_all(&chunk[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
