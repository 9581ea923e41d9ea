//! Reading and writing a file from front to back.

use std::io;
use std::sync::Arc;

use crate::File;

/// A position in a file that moves on as bytes are read. Unbuffered: wrap it in
/// [`io::BufReader`] for small reads.
pub struct SequentialReader {
    file: Arc<dyn File>,
    offset: u64,
}

impl SequentialReader {
    /// Reads from `offset` on.
    pub fn new(file: Arc<dyn File>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl io::Read for SequentialReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// A position in a file that moves on as bytes are written. Unbuffered: wrap it in
/// [`io::BufWriter`] for small writes.
pub struct SequentialWriter {
    file: Arc<dyn File>,
    offset: u64,
}

impl SequentialWriter {
    /// Writes from `offset` on.
    pub fn new(file: Arc<dyn File>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl io::Write for SequentialWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Does nothing: nothing is kept back here. Durability is [`File::sync_data`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use crate::{Disk, OpenMode, RealDisk, SequentialReader, SequentialWriter};

    #[test]
    fn reading_starts_at_the_offset_and_ends_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = RealDisk
            .open(&folder.path().join("f"), OpenMode::Create)
            .unwrap();
        file.write_at(b"0123", 0).unwrap();
        let mut writer = SequentialWriter::new(file.clone(), 4);
        writer.write_all(b"456").unwrap();
        writer.write_all(b"789").unwrap();
        let mut text = String::new();
        SequentialReader::new(file, 4)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "456789");
    }
}
