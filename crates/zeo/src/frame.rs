//! Frames: a length of four big-endian bytes, then that many bytes of payload.

use crate::ProtocolError;

/// The default limit of one frame. The protocol has none; clients send whole records in one frame.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

const HEADER_LEN: usize = 4;

/// Cuts a stream of bytes into frames, in one pass over it.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes before this were handed out.
    start: usize,
    max: usize,
}

impl FrameReader {
    /// A reader that refuses frames of more than `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            max,
        }
    }

    /// Changes the limit: the first frames of a stranger are short.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Takes bytes from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            // One large record must not keep its room for ever.
            self.buffer.shrink_to(KEEP_BYTES_MAX);
        } else if self.start > self.buffer.len() / 2 {
            // Less than half moves, so each byte moves at most once on average.
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes have come.
    ///
    /// # Errors
    /// [`ProtocolError::FrameTooLarge`], as soon as the length is known.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, ProtocolError> {
        let rest = &self.buffer[self.start..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let found = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if found > self.max {
            return Err(ProtocolError::FrameTooLarge {
                found,
                max: self.max,
            });
        }
        if rest.len() < found {
            return Ok(None);
        }
        let begin = self.start + HEADER_LEN;
        self.start = begin + found;
        Ok(Some(&self.buffer[begin..begin + found]))
    }

    /// The next whole frame if `read` makes something of it; else it stays the next.
    pub(crate) fn next_frame_if<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, ProtocolError> {
        let start = self.start;
        let found = self.next_frame()?.and_then(read);
        if found.is_none() {
            self.start = start;
        }
        Ok(found)
    }

    /// How many bytes wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

/// Room that a reader keeps between frames.
const KEEP_BYTES_MAX: usize = 256 << 10;

/// Appends one frame whose payload `write` appends.
///
/// # Panics
/// When the payload is over 4 GiB; the limits of both sides keep records far below.
pub fn write_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let header = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    write(out);
    let length = u32::try_from(out.len() - header - HEADER_LEN)
        .expect("a payload is made of records that were under the frame limit");
    out[header..header + HEADER_LEN].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            found.push(frame.to_vec());
        }
        found
    }

    #[test]
    fn a_frame_comes_whole_or_not_at_all() {
        let mut stream = Vec::new();
        write_frame(&mut stream, |out| out.extend_from_slice(b"Z5"));
        let mut reader = FrameReader::new(10);
        for byte in &stream[..5] {
            reader.push(&[*byte]);
            assert_eq!(reader.next_frame(), Ok(None));
        }
        reader.push(&stream[5..]);
        assert_eq!(reader.next_frame(), Ok(Some(&b"Z5"[..])));
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn an_oversized_frame_is_refused_at_its_header() {
        let mut reader = FrameReader::new(10);
        reader.push(&[0, 0, 0, 11]);
        let expected = ProtocolError::FrameTooLarge { found: 11, max: 10 };
        assert_eq!(reader.next_frame(), Err(expected));
    }

    #[test]
    fn a_large_frame_does_not_keep_its_room() {
        let mut reader = FrameReader::new(FRAME_BYTES_MAX);
        let mut stream = Vec::new();
        write_frame(&mut stream, |out| out.resize(out.len() + (8 << 20), 7));
        reader.push(&stream);
        assert!(reader.next_frame().unwrap().is_some());
        reader.push(b"\0\0");
        assert!(reader.buffer.capacity() <= 2 * KEEP_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_frames(
            payloads: Vec<Vec<u8>>,
            cuts in proptest::collection::vec(1usize..9, 1..50),
        ) {
            let mut stream = Vec::new();
            for payload in &payloads {
                write_frame(&mut stream, |out| out.extend_from_slice(payload));
            }
            let mut reader = FrameReader::new(1000);
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                reader.push(now);
                found.extend(frames(&mut reader));
                rest = later;
            }
            proptest::prop_assert_eq!(found, payloads);
        }
    }
}
