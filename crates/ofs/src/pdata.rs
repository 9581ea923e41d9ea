//! The data of files: bytes in the object itself, or a chain of `Pdata` objects.
//!
//! Zope cuts what is 64 KiB or longer into links of 64 KiB that refer to their next. The first link
//! is the longest, up to twice that. A chain is read link by link while it is sent.

use std::sync::Arc;

use pickle::{Pickles, Value};
use publisher::{Placed, PublishError};
use storage::{Oid, StorageError};
use zodb::{ClassName, Connection, Object, Reference, ZodbError};

/// From here on data is kept in links.
pub(crate) const LINK_BYTES: usize = 1 << 16;

/// How many links without a byte are followed in a row before a chain is taken for damaged.
const EMPTY_LINKS_MAX: u32 = 16;

/// How many links are followed before the first byte is sent: they are sent next anyway.
const LINKS_AHEAD: u32 = 8;

/// Where the data of a file is.
pub(crate) enum Data {
    /// In the object.
    Bytes(Vec<u8>),
    /// In a chain that begins here.
    Chain(Oid),
}

impl Data {
    /// The data of a file object.
    pub(crate) fn of(file: &Placed) -> Result<Self, PublishError> {
        let unknown = || PublishError::unsupported(format!("{}.data", file.object().class()));
        let value = file.object().state().get("data").ok_or_else(unknown)?;
        if value.persistent_id().is_some() {
            return match Reference::read(value) {
                Some(Reference::Strong { oid, .. }) => Ok(Self::Chain(oid)),
                _ => Err(unknown()),
            };
        }
        value
            .as_bytes()
            .map(|bytes| Self::Bytes(bytes.to_vec()))
            .ok_or_else(unknown)
    }

    /// Everything at once, where it is not more than `bytes_max`.
    pub(crate) fn read_all(
        &self,
        connection: &Connection,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, PublishError> {
        let Self::Chain(first) = self else {
            let Self::Bytes(bytes) = self else {
                return Ok(None);
            };
            return Ok((bytes.len() <= bytes_max).then(|| bytes.clone()));
        };
        let mut all = Vec::new();
        let mut way = Way::from(*first);
        while let Some(link) = way.advance(connection)? {
            all.extend_from_slice(link_bytes(&link));
            if all.len() > bytes_max {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }

    /// How many bytes there are. A chain is followed to its end.
    pub(crate) fn len(&self, connection: &Connection) -> Result<u64, PublishError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::Chain(first) => {
                let (mut way, mut len) = (Way::from(*first), 0);
                while let Some(link) = way.advance(connection)? {
                    len += link_bytes(&link).len() as u64;
                }
                Ok(len)
            }
        }
    }
}

/// The way along a chain, of which nothing is believed: links may lead back, nowhere, or to more
/// links without a byte.
struct Way {
    next: Option<Oid>,
    empty: u32,
    /// A link that was passed. Brent's algorithm: the mark moves up after twice as many links each
    /// time, so that a chain that leads back meets it, and nothing else must be remembered.
    mark: Option<Oid>,
    since_mark: u64,
    lap: u64,
}

impl Way {
    fn from(first: Oid) -> Self {
        Self {
            next: Some(first),
            empty: 0,
            mark: None,
            since_mark: 0,
            lap: 1,
        }
    }

    /// Loads the next link; `None` where the chain has ended.
    fn advance(&mut self, connection: &Connection) -> Result<Option<Arc<Object>>, StorageError> {
        let Some(oid) = self.next.take() else {
            return Ok(None);
        };
        if self.mark == Some(oid) {
            return Err(damaged(connection, oid, "the chain leads back to itself"));
        }
        if self.since_mark == self.lap || self.mark.is_none() {
            self.mark = Some(oid);
            self.lap = self.lap.saturating_mul(2);
            self.since_mark = 0;
        }
        self.since_mark += 1;
        let link = load_link(connection, oid)?;
        let is_empty = link_bytes(&link).is_empty();
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_LINKS_MAX {
            let what = "the chain has too many empty links";
            return Err(damaged(connection, oid, what));
        }
        self.next = next_link(&link);
        Ok(Some(link))
    }
}

/// Follows the first links of a chain, before anything is said about it: where they show already
/// that it does not reach to `end`, nobody is promised that many bytes. What comes later is known
/// only when it is sent, and then cuts the answer short.
pub(crate) fn check(connection: &Connection, first: Oid, end: u64) -> Result<(), StorageError> {
    let mut way = Way::from(first);
    let mut reached = 0;
    for _ in 0..LINKS_AHEAD {
        if reached >= end {
            break;
        }
        match way.advance(connection)? {
            Some(link) => reached += link_bytes(&link).len() as u64,
            None => return Err(too_short(connection, first)),
        }
    }
    Ok(())
}

/// Some spans of a chain, with bytes of our own between them, piece by piece. It owns a snapshot,
/// so that it can outlive the request.
pub(crate) struct Pieces {
    connection: Connection,
    first: Oid,
    parts: std::vec::IntoIter<Part>,
    /// The span that is being read.
    reading: Option<Reading>,
}

/// A span of which something is still to be read.
struct Reading {
    way: Way,
    /// Where the next link begins.
    at: u64,
    start: u64,
    end: u64,
}

/// A part of a response's body.
pub(crate) enum Part {
    /// These bytes.
    Literal(Vec<u8>),
    /// This span of the data, the end excluded.
    Span(u64, u64),
}

impl Pieces {
    pub(crate) fn new(connection: &Connection, first: Oid, parts: Vec<Part>) -> Self {
        Self {
            connection: connection.database().snapshot_before(connection.before()),
            first,
            parts: parts.into_iter(),
            reading: None,
        }
    }

    /// The next piece of the span that is being read; empty for a link before it.
    fn read(&mut self) -> Result<Vec<u8>, StorageError> {
        let Some(mut reading) = self.reading.take() else {
            return Ok(Vec::new());
        };
        let (at, start, end) = (reading.at, reading.start, reading.end);
        let link = reading.way.advance(&self.connection)?;
        let link = link.ok_or_else(|| too_short(&self.connection, self.first))?;
        let bytes = link_bytes(&link);
        let link_end = at + bytes.len() as u64;
        if link_end < end {
            reading.at = link_end;
            self.reading = Some(reading);
        }
        let within = |position: u64| {
            let offset = position.clamp(at, link_end) - at;
            usize::try_from(offset).unwrap_or(bytes.len())
        };
        Ok(bytes[within(start)..within(end)].to_vec())
    }
}

impl Iterator for Pieces {
    type Item = Result<Vec<u8>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.reading.is_some() {
                match self.read() {
                    Ok(bytes) if bytes.is_empty() => continue,
                    piece => return Some(piece),
                }
            }
            match self.parts.next()? {
                Part::Literal(bytes) => return Some(Ok(bytes)),
                Part::Span(start, end) if start < end => {
                    self.reading = Some(Reading {
                        way: Way::from(self.first),
                        at: 0,
                        start,
                        end,
                    });
                }
                Part::Span(..) => {}
            }
        }
    }
}

/// Stores data as Zope's `File._read_data` does: what stays in the object is returned, a chain is
/// created from its end, so that each link is stored once.
pub(crate) fn store(
    connection: &mut Connection,
    data: &[u8],
) -> Result<Option<Reference>, ZodbError> {
    if data.len() < LINK_BYTES {
        return Ok(None);
    }
    if data.len() <= 2 * LINK_BYTES {
        // One link, made by the constructor, which sets no `next`.
        let mut pickles = Pickles::new();
        let bytes = pickles.bytes(data);
        let link = new_link(&mut pickles, bytes, None);
        return create_link(connection, pickles, link).map(Some);
    }
    let mut next: Option<Reference> = None;
    let mut end = data.len();
    while end > 0 {
        let start = match end - LINK_BYTES {
            // The first link takes what is left, so that it never is a short one.
            start if start < LINK_BYTES => 0,
            start => start,
        };
        let mut pickles = Pickles::new();
        let bytes = pickles.bytes(&data[start..end]);
        let following = match &next {
            Some(reference) => reference.write(&mut pickles),
            None => pickles.none(),
        };
        let link = new_link(&mut pickles, bytes, Some(following));
        next = Some(create_link(connection, pickles, link)?);
        end = start;
    }
    Ok(next)
}

/// The first link's bytes, which is what content types are guessed from.
pub(crate) fn first_bytes(data: &[u8]) -> &[u8] {
    if data.len() <= 2 * LINK_BYTES {
        return data;
    }
    let rest = data.len() % LINK_BYTES;
    &data[..LINK_BYTES + rest]
}

fn new_link(
    pickles: &mut Pickles,
    bytes: pickle::NodeId,
    next: Option<pickle::NodeId>,
) -> pickle::NodeId {
    let state = pickles.dict(Vec::new());
    pickles.dict_set(state, "data", bytes);
    if let Some(next) = next {
        pickles.dict_set(state, "next", next);
    }
    state
}

fn create_link(
    connection: &mut Connection,
    mut pickles: Pickles,
    state: pickle::NodeId,
) -> Result<Reference, ZodbError> {
    let class = pickles.global(PDATA.0, PDATA.1);
    pickles.push_root(class);
    pickles.push_root(state);
    let oid = connection.create(pickles)?;
    Ok(Reference::Strong {
        oid,
        class: Some(ClassName::new(PDATA.0, PDATA.1)),
    })
}

fn load_link(connection: &Connection, oid: Oid) -> Result<Arc<Object>, StorageError> {
    let link = connection.load(oid).map_err(|error| match error {
        ZodbError::Storage(error) => error,
        other => damaged(connection, oid, &other.to_string()),
    })?;
    if link.class().is(PDATA.0, PDATA.1) {
        Ok(link)
    } else {
        Err(damaged(
            connection,
            oid,
            &format!("{} is not a link of a file", link.class()),
        ))
    }
}

fn link_bytes(link: &Object) -> &[u8] {
    link.state()
        .get("data")
        .and_then(Value::as_bytes)
        .unwrap_or_default()
}

fn next_link(link: &Object) -> Option<Oid> {
    let next = link.state().get("next")?;
    next.persistent_id()?;
    Reference::read(next).map(|reference| reference.oid())
}

fn too_short(connection: &Connection, first: Oid) -> StorageError {
    let what = "the chain that begins here is shorter than the file's size";
    damaged(connection, first, what)
}

fn damaged(connection: &Connection, oid: Oid, what: &str) -> StorageError {
    StorageError::Corrupt {
        path: connection.database().storage().name().into(),
        offset: 0,
        what: format!("object {oid}: {what}"),
    }
}

const PDATA: (&str, &str) = ("OFS.Image", "Pdata");
