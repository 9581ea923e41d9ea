//! Follows a chunked body to its end.

use super::{Refusal, bad};

/// The place within a chunked body.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes of this line that are not data: digits, extension.
    line: usize,
    /// Bytes of the trailer section.
    trailer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size(u64),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataLineFeed,
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

/// How far one look got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Bytes that belong to the body.
    pub(crate) used: usize,
    /// Whether the body ends there.
    pub(crate) done: bool,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size(0),
            line: 0,
            trailer: 0,
        }
    }

    /// Looks at the next bytes, in any portions.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Scan, Refusal> {
        let mut used = 0;
        while used < bytes.len() && self.state != State::Done {
            if let State::Data(left) = self.state {
                let rest = bytes.len() - used;
                let skip = usize::try_from(left).unwrap_or(rest).min(rest);
                used += skip;
                let left = left - skip as u64;
                self.state = if left == 0 {
                    State::DataEnd
                } else {
                    State::Data(left)
                };
            } else {
                self.state = self.next(bytes[used])?;
                used += 1;
            }
        }
        Ok(Scan {
            used,
            done: self.state == State::Done,
        })
    }

    fn next(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size(size), _) if byte.is_ascii_hexdigit() => self.digit(size, byte),
            (State::Size(_), _) if self.line == 0 => Err(bad("a chunk has no size")),
            (State::Size(size), b'\r') => Ok(State::SizeEnd(size)),
            (State::Size(size), b';') => Ok(State::Extension(size)),
            (State::Size(_), _) => Err(bad("a chunk's size is not a hexadecimal number")),
            (State::Extension(size), b'\r') => Ok(State::SizeEnd(size)),
            (State::Extension(size), b'\t' | b' '..=b'~') => {
                self.line += 1;
                if self.line > LINE_BYTES_MAX {
                    return Err(bad("a chunk's extension is too long"));
                }
                Ok(State::Extension(size))
            }
            (State::Extension(_), _) => Err(bad("a chunk's extension has a forbidden byte")),
            (State::SizeEnd(size), b'\n') => {
                self.line = 0;
                Ok(if size == 0 {
                    State::TrailerStart
                } else {
                    State::Data(size)
                })
            }
            (State::DataEnd, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::Size(0)),
            (State::TrailerStart, b'\r') => Ok(State::LastLineFeed),
            (State::Trailer, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            (State::LastLineFeed, b'\n') => Ok(State::Done),
            (State::TrailerStart | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailer += 1;
                if self.trailer > TRAILER_BYTES_MAX {
                    return Err(Refusal {
                        status: 431,
                        reason: "the trailer section is too long",
                    });
                }
                Ok(State::Trailer)
            }
            _ => Err(bad("a line of a chunked body does not end as it must")),
        }
    }

    fn digit(&mut self, size: u64, digit: u8) -> Result<State, Refusal> {
        self.line += 1;
        if self.line > SIZE_DIGITS_MAX {
            return Err(bad("a chunk's size is too long"));
        }
        let value = char::from(digit)
            .to_digit(16)
            .expect("a hexadecimal digit was matched");
        Ok(State::Size(size << 4 | u64::from(value)))
    }
}

/// Fifteen digits stay below 2^60: the number cannot overflow here or anywhere behind.
const SIZE_DIGITS_MAX: usize = 15;
const LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Scan, Refusal> {
        Chunks::new().scan(bytes)
    }

    #[test]
    fn a_body_ends_where_it_ends_however_it_is_cut() {
        let body: &[u8] = b"4\r\nWiki\r\nA;name=\"v\"\r\n\r\n0\r\n\r\n678\r\n0\r\nX-T: 1\r\n\r\n";
        let mut bytes = body.to_vec();
        bytes.extend_from_slice(b"GET /next");
        assert_eq!(
            whole(&bytes),
            Ok(Scan {
                used: body.len(),
                done: true
            })
        );
        for cut in 0..body.len() {
            let mut chunks = Chunks::new();
            assert_eq!(
                chunks.scan(&bytes[..cut]),
                Ok(Scan {
                    used: cut,
                    done: false
                })
            );
            let rest = body.len() - cut;
            assert_eq!(
                chunks.scan(&bytes[cut..]),
                Ok(Scan {
                    used: rest,
                    done: true
                })
            );
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in [
            &b"4\nWiki\r\n0\r\n\r\n"[..],
            b"4\r\nWiki\n0\r\n\r\n",
            b"4\r\nWikiX\r\n",
            b"4\rXWiki\r\n",
            b"\r\n",
            b"0x4\r\nWiki",
            b"+4\r\nWiki",
            b"-4\r\n",
            b" 4\r\nWiki",
            b"4 \r\nWiki",
            b"4;a\nb\r\nWiki",
            b"4;a\0\r\nWiki",
            b"10000000000000000\r\n",
            b"0\r\nX: 1\nY: 2\r\n\r\n",
            b"0\r\n\n",
        ] {
            assert!(
                whole(body).is_err(),
                "{:?} was taken",
                body.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let mut body = b"4;".to_vec();
        body.extend(vec![b'a'; LINE_BYTES_MAX + 1]);
        assert_eq!(whole(&body).unwrap_err().status, 400);
        let mut body = b"0\r\nX: ".to_vec();
        body.extend(vec![b'a'; TRAILER_BYTES_MAX]);
        assert_eq!(whole(&body).unwrap_err().status, 431);
    }
}
