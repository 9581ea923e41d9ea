//! Pieces of a Data.fs in a repository: read and written from front to back, compressed or not.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use vfs::{Disk, File, OpenMode, SequentialReader, SequentialWriter};

/// The checksum of bytes that come one after the other, in hexadecimal as the original has it.
#[derive(Clone, Default)]
pub(crate) struct Checksum(Md5);

impl Checksum {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        let bytes = self.0.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The bytes in a file of a repository, decompressed where they are compressed.
pub(crate) fn reader(
    disk: &dyn Disk,
    path: &Path,
    is_compressed: bool,
) -> io::Result<Box<dyn Read>> {
    let file = SequentialReader::new(disk.open(path, OpenMode::Read)?, 0);
    Ok(if is_compressed {
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

/// Hands all bytes to `take`, a large piece at a time, and says how many there were.
pub(crate) fn pour<E: From<io::Error>>(
    reader: &mut dyn Read,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    buffer.resize(BUFFER_BYTES, 0);
    let mut poured = 0;
    loop {
        let filled = fill(reader, buffer)?;
        if filled == 0 {
            return Ok(poured);
        }
        poured += filled as u64;
        take(&buffer[..filled])?;
    }
}

/// Fills the buffer as far as the reader reaches.
pub(crate) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A new file that has no bytes yet.
pub(crate) struct Writer {
    file: Arc<dyn File>,
    out: Out,
}

enum Out {
    Plain(SequentialWriter),
    Compressed(Box<GzEncoder<BufWriter<SequentialWriter>>>),
}

impl Writer {
    pub(crate) fn create(disk: &dyn Disk, path: &Path, compress: bool) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::Truncate)?;
        let plain = SequentialWriter::new(file.clone(), 0);
        let out = if compress {
            let buffered = BufWriter::with_capacity(BUFFER_BYTES, plain);
            Out::Compressed(Box::new(GzEncoder::new(buffered, Compression::default())))
        } else {
            Out::Plain(plain)
        };
        Ok(Self { file, out })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::Plain(out) => out.write_all(bytes),
            Out::Compressed(out) => out.write_all(bytes),
        }
    }

    /// Returns when all bytes are on the medium; the name is not.
    pub(crate) fn finish(self) -> io::Result<()> {
        if let Out::Compressed(out) = self.out {
            out.finish()?.flush()?;
        }
        self.file.sync_data()
    }
}

/// Writes a small file in place of the one that has the name, so that a power loss leaves the old
/// one or the new one. The name is durable when the directory is synced.
pub(crate) fn replace(disk: &dyn Disk, draft: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut writer = Writer::create(disk, draft, false)?;
    writer.write(bytes)?;
    writer.finish()?;
    disk.rename(draft, path)
}

/// The whole content of a file that should be small.
pub(crate) fn read_small(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    if file.len()? > SMALL_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    SequentialReader::new(file, 0).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Few system calls, and few pages that other programs would like to keep.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;
/// A list of files has a line for each backup since the last full one.
const SMALL_BYTES_MAX: u64 = 1 << 26;

#[cfg(test)]
mod tests {
    use sim::SimDisk;

    use super::*;

    #[test]
    fn what_was_written_is_read_and_weighed() {
        let disk = SimDisk::new();
        let bytes: Vec<u8> = (0..3_000_000u32)
            .flat_map(u32::to_be_bytes)
            .take(2_500_000)
            .collect();
        for compress in [false, true] {
            let path = Path::new("/r/f");
            let mut writer = Writer::create(&disk, path, compress).unwrap();
            for piece in bytes.chunks(700_000) {
                writer.write(piece).unwrap();
            }
            writer.finish().unwrap();
            let stored = disk.contents(path).unwrap();
            assert_eq!(stored == bytes, !compress);
            let mut read = Vec::<u8>::new();
            let mut checksum = Checksum::default();
            let mut reader = reader(&disk, path, compress).unwrap();
            let poured = pour::<io::Error>(&mut reader, &mut Vec::new(), |piece| {
                checksum.update(piece);
                read.extend(piece);
                Ok(())
            });
            assert_eq!(poured.unwrap(), bytes.len() as u64);
            assert!(read == bytes);
        }
        assert_eq!(
            Checksum::default().finish(),
            "d41d8cd98f00b204e9800998ecf8427e"
        );
    }
}
