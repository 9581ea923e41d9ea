//! What is to be sent to one client, in one order.

use std::collections::VecDeque;
use std::mem;

use parking_lot::Mutex;

use super::blob_stream::BlobStream;
use super::calls::{Part, Watch};
use crate::message::{write_error, write_reply};
use crate::{Encoding, ProtocolError, Refusal, Value};

/// The ordered output of one connection. Replies and pushes of all threads gather here; the order
/// in which they do is the order on the wire.
pub struct Outbox {
    state: Mutex<State>,
    wake: Box<dyn Fn(Notice) + Send + Sync>,
    bytes_max: usize,
}

/// What the driver of a connection is told when something is in its outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is to look now.
    Now,
    /// It may look now, and is told to when what else there is to be said has been said.
    Soon,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Blobs that go out behind the bytes, each with the bytes behind it.
    streams: VecDeque<(Option<BlobStream>, Vec<u8>)>,
    /// How many bytes wait, all in all.
    pending: usize,
    failure: Option<ProtocolError>,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize, wake: Box<dyn Fn(Notice) + Send + Sync>) -> Self {
        Self {
            state: Mutex::default(),
            wake,
            bytes_max,
        }
    }

    /// Appends frames.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.append_if(|| true, write);
    }

    /// Appends frames if `condition` holds, which is asked while nothing else can be appended.
    pub(super) fn append_if(
        &self,
        condition: impl FnOnce() -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let mut state = self.state.lock();
        if !condition() {
            return false;
        }
        let is_news = state.append(self.bytes_max, write);
        drop(state);
        if is_news {
            (self.wake)(Notice::Now);
        }
        true
    }

    /// Appends frames for which the caller [wakes](Self::wake) the driver soon, if this says so.
    pub(super) fn append_quietly(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let is_news = self.state.lock().append(self.bytes_max, write);
        if is_news {
            (self.wake)(Notice::Soon);
        }
        is_news
    }

    /// Has the driver look again: there may be something else than bytes.
    pub(super) fn wake(&self) {
        (self.wake)(Notice::Now);
    }

    /// Appends a blob: all that is appended later goes out behind it.
    pub(super) fn append_stream(&self, stream: BlobStream) {
        let mut state = self.state.lock();
        if state.takes_more(self.bytes_max) {
            state.pending += STREAM_BYTES;
            state.streams.push_back((Some(stream), Vec::new()));
        }
        drop(state);
        (self.wake)(Notice::Now);
    }

    /// The blob that is to be sent now: to be asked for when there are no bytes to take. There are
    /// none before it has [ended](Self::end_stream).
    pub fn take_stream(&self) -> Option<BlobStream> {
        let mut state = self.state.lock();
        let is_next = state.bytes.is_empty();
        let (stream, _) = state.streams.front_mut().filter(|_| is_next)?;
        stream.take()
    }

    /// The blob that was taken is sent.
    pub fn end_stream(&self) {
        let mut state = self.state.lock();
        if let Some((_, behind)) = state.streams.pop_front() {
            state.pending = state.pending.saturating_sub(STREAM_BYTES);
            state.bytes = behind;
        }
    }

    /// Ends the connection: what is not yet sent is dropped.
    pub(super) fn fail(&self, error: ProtocolError) {
        self.state.lock().failure.get_or_insert(error);
        (self.wake)(Notice::Now);
    }

    /// Ends the connection because of who the client is.
    pub fn dismiss(&self, reason: String) {
        self.fail(ProtocolError::Dismissed { reason });
    }

    /// Moves what is to be sent into `out`, which should be empty. Whether there was anything.
    ///
    /// # Errors
    /// The reason why the connection must be closed.
    pub fn take(&self, out: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.pending -= state.bytes.len();
        if out.is_empty() {
            mem::swap(&mut state.bytes, out);
        } else {
            out.append(&mut state.bytes);
        }
        Ok(!out.is_empty())
    }

    /// The reason why the connection must be closed, if there is one.
    pub fn failure(&self) -> Option<ProtocolError> {
        self.state.lock().failure.clone()
    }

    /// How many bytes wait, without the blobs that are still to be read.
    pub fn pending(&self) -> usize {
        self.state.lock().pending
    }
}

impl State {
    /// Whether the driver is to be woken for it.
    fn append(&mut self, bytes_max: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        // Whoever was woken for what is there already has not taken it yet.
        let was_empty = self.bytes.is_empty() && self.streams.is_empty();
        if self.takes_more(bytes_max) {
            let Self { bytes, streams, .. } = self;
            let last = streams.back_mut().map_or(bytes, |(_, behind)| behind);
            let before = last.len();
            write(last);
            let written = last.len() - before;
            self.pending += written;
        }
        was_empty || self.failure.is_some()
    }

    /// Whether more may be appended; the connection has failed where too much waits.
    fn takes_more(&mut self, bytes_max: usize) -> bool {
        if self.failure.is_none() && self.pending > bytes_max {
            self.failure = Some(ProtocolError::Stalled {
                pending: self.pending,
                max: bytes_max,
            });
            self.bytes = Vec::new();
            self.streams = VecDeque::new();
            self.pending = 0;
        }
        self.failure.is_none()
    }
}

/// What a blob that waits to be sent takes in memory, about.
const STREAM_BYTES: usize = 512;

/// Where the answer to one call goes.
#[derive(Clone)]
pub(super) struct ReplyTo {
    pub(super) outbox: std::sync::Arc<Outbox>,
    pub(super) encoding: Encoding,
    /// `None` for a one-way call.
    pub(super) id: Option<Value<'static>>,
    /// For messages.
    pub(super) method: String,
    pub(super) watch: Watch,
}

impl ReplyTo {
    pub(super) fn answer(&self, answer: Result<Value<'_>, Refusal>) {
        match answer {
            Ok(value) => self.reply(value),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    pub(super) fn reply(&self, value: Value<'_>) {
        let mut bytes = 0;
        if self.id.is_some() {
            self.outbox.append(|out| bytes = self.write(value, out));
        }
        self.watch.end(Part::Storage, bytes);
    }

    /// Writes the reply where the caller holds the outbox, who ends the [`watch`](Self::watch). How
    /// long it is.
    pub(super) fn write(&self, value: Value<'_>, out: &mut Vec<u8>) -> usize {
        let before = out.len();
        if let Some(id) = &self.id {
            write_reply(self.encoding, id, value, out);
        }
        out.len() - before
    }

    /// An error reply; a one-way call that fails costs the connection, as nothing else would tell
    /// the client.
    pub(super) fn refuse(&self, refusal: &Refusal) {
        if !refusal.is_ordinary() {
            tracing::warn!(
                method = self.method,
                class = refusal.class(),
                data = ?refusal.data(),
                "a call was refused"
            );
        }
        if refusal.is_of_undo() {
            tracing::info!(method = self.method, data = ?refusal.data(), "an undo was refused");
        }
        let mut bytes = 0;
        match &self.id {
            Some(id) => self.outbox.append(|out| {
                let before = out.len();
                write_error(self.encoding, id, refusal.class(), refusal.data(), out);
                bytes = out.len() - before;
            }),
            None => self.outbox.fail(ProtocolError::OneWay {
                name: self.method.clone(),
                reason: format!("{}: {:?}", refusal.class(), refusal.data()),
            }),
        }
        self.watch.refuse(bytes);
    }
}
