//! Lets bytes of a connection pass only as far as they have been judged.
//!
//! hyper's parser accepts more than we do, and drops what it corrected before we could see it. So
//! the gate stands before it and reads along: it holds a head back until it is complete and
//! judged, then counts the body, so that it knows where the next head begins.

use crate::sanitize::{Chunks, Framing, Refusal, Scan, judge};

/// Where in the stream of messages the connection is.
#[derive(Debug)]
pub(crate) struct Gate {
    place: Place,
    /// How much of the held head has been searched for its end.
    searched: usize,
    head_bytes_max: usize,
    headers_max: usize,
}

#[derive(Debug)]
enum Place {
    Head,
    Length(u64),
    Chunked(Chunks),
}

/// What to do with the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The first so many may pass.
    Pass(usize),
    /// The first so many are empty lines before a request: drop them (RFC 9112, 2.2).
    Drop(usize),
    /// More are needed.
    More,
    /// A head that must not pass. Nothing after it means anything.
    RefuseHead(Refusal),
    /// A body that must not go on.
    RefuseBody(Refusal),
}

impl Gate {
    pub(crate) fn new(head_bytes_max: usize, headers_max: usize) -> Self {
        Self {
            place: Place::Head,
            searched: 0,
            head_bytes_max,
            headers_max,
        }
    }

    /// Whether the next byte belongs to a head.
    pub(crate) fn is_at_head(&self) -> bool {
        matches!(self.place, Place::Head)
    }

    /// Looks at what has come and has not passed yet.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Step {
        if bytes.is_empty() {
            return Step::More;
        }
        match &mut self.place {
            Place::Head => self.head(bytes),
            Place::Length(left) => {
                let pass = usize::try_from(*left)
                    .unwrap_or(bytes.len())
                    .min(bytes.len());
                *left -= pass as u64;
                if *left == 0 {
                    self.place = Place::Head;
                }
                Step::Pass(pass)
            }
            Place::Chunked(chunks) => match chunks.scan(bytes) {
                Ok(Scan { used, done }) => {
                    if done {
                        self.place = Place::Head;
                    }
                    Step::Pass(used)
                }
                Err(refusal) => Step::RefuseBody(refusal),
            },
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Step {
        if bytes.starts_with(b"\r\n") {
            return Step::Drop(2);
        }
        let end = match self.find_end(bytes) {
            Ok(end) => end,
            Err(refusal) => return Step::RefuseHead(refusal),
        };
        if end.unwrap_or(bytes.len()) > self.head_bytes_max {
            let reason = "the request head is too long";
            return Step::RefuseHead(Refusal {
                status: 431,
                reason,
            });
        }
        let Some(end) = end else { return Step::More };
        self.searched = 0;
        match judge(&bytes[..end], self.headers_max) {
            Ok(Framing::Empty) => Step::Pass(end),
            Ok(Framing::Length(length)) => {
                self.place = Place::Length(length);
                Step::Pass(end)
            }
            Ok(Framing::Chunked) => {
                self.place = Place::Chunked(Chunks::new());
                Step::Pass(end)
            }
            Err(refusal) => Step::RefuseHead(refusal),
        }
    }

    /// Searches for the empty line, each byte once. A bare line feed is refused at once: its sender
    /// may never send the end that we look for.
    fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(found) = bytes[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let at = self.searched + found;
            self.searched = at + 1;
            let before = &bytes[..at];
            if !before.ends_with(b"\r") {
                return Err(crate::sanitize::bad("a line ends in a bare line feed"));
            }
            if before.ends_with(b"\r\n\r") {
                return Ok(Some(at + 1));
            }
        }
        self.searched = bytes.len();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in portions of `size`; returns what passed and how it ended.
    fn feed(bytes: &[u8], size: usize) -> (Vec<u8>, Step) {
        let mut gate = Gate::new(1000, 100);
        let (mut held, mut passed) = (Vec::new(), Vec::new());
        for portion in bytes.chunks(size) {
            held.extend_from_slice(portion);
            loop {
                match gate.step(&held) {
                    Step::Pass(count) => passed.extend(held.drain(..count)),
                    Step::Drop(count) => drop(held.drain(..count)),
                    Step::More => break,
                    refusal => return (passed, refusal),
                }
            }
        }
        (passed, Step::More)
    }

    const PIPELINE: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
        PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\n\n\n\n\n\
        PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        GET /d HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn good_messages_pass_unchanged_in_any_portions() {
        for size in 1..PIPELINE.len() {
            let (passed, end) = feed(PIPELINE, size);
            assert_eq!(end, Step::More);
            assert_eq!(passed, PIPELINE, "in portions of {size}");
        }
    }

    #[test]
    fn nothing_of_a_bad_head_passes() {
        let mut bytes = PIPELINE.to_vec();
        bytes.extend_from_slice(b"GET /e HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        for size in [1, 7, 100, 1000] {
            let (passed, end) = feed(&bytes, size);
            assert!(matches!(end, Step::RefuseHead(Refusal { status: 400, .. })));
            assert_eq!(passed, PIPELINE);
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_before_the_head_ends() {
        assert!(matches!(
            feed(b"GET / HTTP/1.1\nHost: a", 3).1,
            Step::RefuseHead(_)
        ));
    }

    #[test]
    fn an_endless_head_is_refused_at_the_limit() {
        let (passed, end) = feed(&[b'a'; 2000], 10);
        assert!(matches!(end, Step::RefuseHead(Refusal { status: 431, .. })));
        assert_eq!(passed, b"");
    }

    #[test]
    fn empty_lines_before_a_request_are_dropped() {
        let (passed, end) = feed(b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", 100);
        assert_eq!(
            (passed.as_slice(), end),
            (&b"GET / HTTP/1.0\r\n\r\n"[..], Step::More)
        );
    }
}
