//! A client of raw frames.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use zeo::{Encoding, Value, write_frame};

/// A connection to a server, registered with its storage.
pub(super) struct Peer {
    stream: TcpStream,
    encoding: Encoding,
    input: Vec<u8>,
    /// What was read and not yet handed out.
    start: usize,
    end: usize,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// The answer to a call.
    Reply(&'a [u8]),
    /// The invalidations of the transaction with this id.
    Invalidation(u64),
    /// Anything else that nobody asked for.
    Push,
}

/// The number of every call. Answers come in the order of the calls of one kind, so one is enough;
/// both encodings write it with two bytes.
const CALL: u16 = 0x1234;

impl Peer {
    pub(super) fn connect(address: SocketAddr, encoding: Encoding) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut peer = Self {
            stream,
            encoding,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
        };
        let hello = peer.wait_frame()?;
        ensure!(hello.len() == 2, "a server of another protocol: {hello:?}");
        let mut out = Vec::new();
        write_frame(&mut out, |out| {
            out.extend_from_slice(encoding.announcement())
        });
        let args = vec![Value::text("1"), Value::Bool(false)];
        call(encoding, "register", args, &mut out);
        peer.send(&out)?;
        peer.wait_reply()?;
        Ok(peer)
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads what there is, and waits only if there is nothing.
    pub(super) fn fill(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.input.len() - self.end < INPUT_BYTES / 2 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let length = self.stream.read(&mut self.input[self.end..])?;
        ensure!(length > 0, "the server closed the connection");
        self.end += length;
        Ok(())
    }

    /// The next whole frame of what was read.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        let encoding = self.encoding;
        self.next_payload()?
            .map(|payload| kind(encoding, payload))
            .transpose()
    }

    fn next_payload(&mut self) -> Result<Option<&[u8]>> {
        let rest = &self.input[self.start..self.end];
        let Some((header, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*header))?;
        ensure!(length < INPUT_BYTES / 2, "a frame of {length} bytes");
        if rest.len() < length {
            return Ok(None);
        }
        self.start += 4 + length;
        Ok(Some(&rest[..length]))
    }

    fn wait_frame(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(payload) = self.next_payload()? {
                return Ok(payload.to_vec());
            }
            self.fill()?;
        }
    }

    /// The transaction that last changed the object; 0 where there is none.
    pub(super) fn current_tid(&mut self, oid: u64) -> Result<u64> {
        let mut out = Vec::new();
        let args = vec![Value::id(oid.to_be_bytes())];
        call(self.encoding, "getTid", args, &mut out);
        self.send(&out)?;
        loop {
            let encoding = self.encoding;
            let payload = self.wait_frame()?;
            match kind(encoding, &payload) {
                // There is no such object yet.
                Err(_) => return Ok(0),
                Ok(Frame::Reply(payload)) => {
                    let tid = payload.last_chunk::<8>().context("an id")?;
                    return Ok(u64::from_be_bytes(*tid));
                }
                Ok(_) => {}
            }
        }
    }

    /// Waits for the next answer; pushes that come before it are dropped.
    pub(super) fn wait_reply(&mut self) -> Result<Vec<u8>> {
        loop {
            let encoding = self.encoding;
            let payload = self.wait_frame()?;
            if let Frame::Reply(payload) = kind(encoding, &payload)? {
                return Ok(payload.to_vec());
            }
        }
    }
}

/// Waits until some of the peers have something to read: which.
pub(super) fn readable<'p>(peers: impl Iterator<Item = &'p Peer>) -> Result<Vec<usize>> {
    let mut watched: Vec<_> = peers
        .map(|peer| PollFd::new(&peer.stream, PollFlags::IN))
        .collect();
    poll(&mut watched, None).context("cannot wait for the servers")?;
    let found = watched.iter().enumerate();
    let found = found.filter(|(_, watched)| !watched.revents().is_empty());
    Ok(found.map(|(index, _)| index).collect())
}

/// Appends a call that wants an answer.
pub(super) fn call(encoding: Encoding, name: &str, args: Vec<Value<'_>>, out: &mut Vec<u8>) {
    message(encoding, CALL, name, args, out);
}

/// Appends a call that gets none.
pub(super) fn one_way(encoding: Encoding, name: &str, args: Vec<Value<'_>>, out: &mut Vec<u8>) {
    message(encoding, 0, name, args, out);
}

fn message(encoding: Encoding, id: u16, name: &str, args: Vec<Value<'_>>, out: &mut Vec<u8>) {
    let parts = vec![
        Value::Int(id.into()),
        Value::Bool(id == 0),
        Value::text(name),
        Value::Tuple(args),
    ];
    write_frame(out, |out| encoding.encode(&Value::Tuple(parts), out));
}

/// Where the first byte string of eight bytes is in a frame.
pub(super) fn place_of(frame: &[u8], id: [u8; 8]) -> Result<usize> {
    let found = frame.windows(8).position(|window| window == id);
    found.context("the id is in the frame")
}

/// Tells replies from pushes by the first bytes, and refuses an answer that is an error.
fn kind(encoding: Encoding, payload: &[u8]) -> Result<Frame<'_>> {
    let flag = match (encoding, payload) {
        (Encoding::Msgpack, [0x94, 0xcd, high, low, flag, ..])
            if [*high, *low] == CALL.to_be_bytes() =>
        {
            *flag
        }
        (Encoding::Pickle, [0x80, 3, b'(', b'M', low, high, b'K', flag, ..])
            if [*low, *high] == CALL.to_le_bytes() =>
        {
            *flag
        }
        _ => return Ok(push(encoding, payload)),
    };
    if flag != 0 {
        bail!("a call was refused: {:?}", encoding.decode(payload)?);
    }
    Ok(Frame::Reply(payload))
}

fn push(encoding: Encoding, payload: &[u8]) -> Frame<'_> {
    // A tuple of four: 0, True, the name; then its arguments, of which the first is the id.
    const PUSH: &[u8] = b"\x94\x00\xc3\xb5invalidateTransaction\x92\xc4\x08";
    let id = payload
        .strip_prefix(PUSH)
        .filter(|_| encoding == Encoding::Msgpack);
    match id.and_then(|rest| rest.first_chunk::<8>()) {
        Some(id) => Frame::Invalidation(u64::from_be_bytes(*id)),
        None => Frame::Push,
    }
}

const INPUT_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_in_both_encodings() {
        for encoding in [Encoding::Msgpack, Encoding::Pickle] {
            let payload = |flag: i64| {
                let name = Value::text(".reply");
                let parts = vec![Value::Int(CALL.into()), Value::Int(flag), name, Value::None];
                let mut payload = Vec::new();
                encoding.encode(&Value::Tuple(parts), &mut payload);
                payload
            };
            assert!(matches!(kind(encoding, &payload(0)), Ok(Frame::Reply(_))));
            assert!(kind(encoding, &payload(2)).is_err());
            let mut frame = Vec::new();
            let id = Value::id(77_u64.to_be_bytes());
            let args = vec![id, Value::List(vec![])];
            one_way(encoding, "invalidateTransaction", args, &mut frame);
            let expected = match encoding {
                Encoding::Msgpack => Frame::Invalidation(77),
                Encoding::Pickle => Frame::Push,
            };
            assert_eq!(kind(encoding, &frame[4..]).unwrap(), expected);
        }
    }
}
