//! The judge of request heads.

use super::{Framing, Refusal, bad};

/// Judges a whole head, its empty line included. What it lets pass has one meaning.
pub(crate) fn judge(head: &[u8], headers_max: usize) -> Result<Framing, Refusal> {
    let lines = head
        .strip_suffix(b"\r\n\r\n")
        .ok_or(bad("the head has no end"))?;
    let mut lines = Lines(Some(lines));
    let line = RequestLine::read(lines.next().ok_or(bad("there is no request line"))??)?;
    let mut fields = Fields::default();
    let mut count = 0;
    for field in lines {
        count += 1;
        if count > headers_max {
            return Err(Refusal {
                status: 431,
                reason: "there are too many header lines",
            });
        }
        fields.read(field?)?;
    }
    fields.judge(&line)
}

/// Lines that end in CRLF and have no other CR, LF or NUL.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.take()?;
        let Some(end) = rest
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n' | 0))
        else {
            return Some(Ok(rest));
        };
        let Some(after) = rest[end..].strip_prefix(b"\r\n") else {
            return Some(Err(match rest[end] {
                0 => bad("there is a NUL in the head"),
                b'\n' => bad("a line ends in a bare line feed"),
                _ => bad("there is a bare carriage return in the head"),
            }));
        };
        self.0 = Some(after);
        Some(Ok(&rest[..end]))
    }
}

struct RequestLine<'a> {
    /// The authority of a target in absolute form.
    authority: Option<&'a [u8]>,
    is_http_10: bool,
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Result<Self, Refusal> {
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad("the request line is not method, target and version"));
        };
        if !is_token(method) {
            return Err(bad("the method is not a token"));
        }
        if method == b"CONNECT" {
            return Err(Refusal {
                status: 501,
                reason: "this server opens no tunnels",
            });
        }
        let is_http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ if version.starts_with(b"HTTP/") => {
                return Err(Refusal {
                    status: 505,
                    reason: "only HTTP/1.0 and HTTP/1.1 are spoken",
                });
            }
            _ => return Err(bad("the version is malformed")),
        };
        if target.contains(&b'#') {
            return Err(bad("the target has a fragment"));
        }
        if !target.iter().all(u8::is_ascii_graphic) {
            return Err(bad("the target has a byte that must be percent-encoded"));
        }
        let authority = match target {
            [b'/', ..] => None,
            b"*" if method == b"OPTIONS" => None,
            _ => Some(authority(target)?),
        };
        Ok(Self {
            authority,
            is_http_10,
        })
    }
}

fn authority(target: &[u8]) -> Result<&[u8], Refusal> {
    let refusal = bad("the target is neither a path nor an http URL");
    let colon = target
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(refusal)?;
    let (scheme, rest) = target.split_at(colon);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(refusal);
    }
    let rest = rest.strip_prefix(b"://").ok_or(refusal)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    Ok(&rest[..end])
}

/// The header fields that decide where a message ends and whom it is for.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(bad("a header line is folded"));
        }
        let colon = line
            .iter()
            .position(|&b| b == b':')
            .ok_or(bad("a header line has no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(bad("a header name is not a token"));
        }
        if value
            .iter()
            .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
        {
            return Err(bad("a header value has a control character"));
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.read_host(value)
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.read_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.read_encoding(value)
        } else if name.eq_ignore_ascii_case(b"connection") {
            read_connection(value)
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            read_upgrade(value)
        } else if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(CONTINUE) {
            Err(Refusal {
                status: 417,
                reason: "the only known expectation is 100-continue",
            })
        } else {
            Ok(())
        }
    }

    fn read_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(bad("there is more than one Host header"));
        }
        if !is_host(value) {
            return Err(bad("the Host header is not a host"));
        }
        self.host = Some(value);
        Ok(())
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(bad("there is more than one Content-Length header"));
        }
        let is_number =
            (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !is_number {
            return Err(bad("the Content-Length is not a number"));
        }
        let number = value
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        self.length = Some(number);
        Ok(())
    }

    fn read_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(bad("the Transfer-Encoding is not exactly chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    fn judge(self, line: &RequestLine<'_>) -> Result<Framing, Refusal> {
        match (self.host, line.authority) {
            (None, _) if !line.is_http_10 => return Err(bad("there is no Host header")),
            (None, Some(authority)) if !is_host(authority) => {
                return Err(bad("the target's authority is not a host"));
            }
            (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
                return Err(bad("the target and the Host header name different hosts"));
            }
            _ => {}
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(bad("there are both Content-Length and Transfer-Encoding")),
            (None, true) if line.is_http_10 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Ok(Framing::Chunked),
            (Some(0) | None, false) => Ok(Framing::Empty),
            (Some(length), false) => Ok(Framing::Length(length)),
        }
    }
}

/// A connection option removes the header of its name on the way. Those that a later server needs
/// to understand the message, or to trust it, must not be removable from outside.
fn read_connection(value: &[u8]) -> Result<(), Refusal> {
    let is_kept = |option: &[u8]| {
        END_TO_END
            .iter()
            .any(|name| name.as_bytes().eq_ignore_ascii_case(option.trim_ascii()))
    };
    if value.split(|&byte| byte == b',').any(is_kept) {
        return Err(bad(
            "the Connection header names a header that is not its own",
        ));
    }
    Ok(())
}

/// An offer of HTTP/2 may be ignored; whoever asks for a WebSocket cannot do without.
fn read_upgrade(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"h2c") {
        return Ok(());
    }
    Err(Refusal {
        status: 501,
        reason: "this server does not switch protocols",
    })
}

fn is_token(bytes: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token_byte)
}

/// Letters, digits, and what names, ports and IPv6 addresses need: no user, no path, no list.
fn is_host(bytes: &[u8]) -> bool {
    let is_host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_host_byte)
}

const CONTINUE: &[u8] = b"100-continue";

const END_TO_END: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "authorization",
    "cookie",
    "x-request-id",
];

/// Nineteen digits are the most that always fit into 64 bits... of which no server can store any.
const LENGTH_DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests;
