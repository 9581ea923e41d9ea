//! What a client may do, and what it hears when it tries more.

use crate::{Refusal, Request};

/// What a client may do. Whatever that is, it hears which objects change and how large the storage
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Read: records of all times, blobs, histories and the undo log.
    pub read: bool,
    /// Commit transactions.
    pub write: bool,
    /// Pack.
    pub pack: bool,
    /// Undo transactions, by one that it must be able to commit.
    pub undo: bool,
}

impl Rights {
    /// May do everything.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        pack: true,
        undo: true,
    };
    /// May do nothing, and is not let in.
    pub const NONE: Self = Self {
        read: false,
        write: false,
        pack: false,
        undo: false,
    };

    /// The right that a call needs and that is not there. Whether a client may write is not asked
    /// here: that is decided when it registers.
    pub(super) fn lacking(self, request: &Request) -> Option<Right> {
        let (has, needed) = match request {
            Request::LoadBefore { .. }
            | Request::LoadSerial { .. }
            | Request::GetTid(_)
            | Request::History { .. }
            | Request::UndoLog { .. }
            | Request::RecordNext(_)
            | Request::IteratorStart { .. }
            | Request::IteratorNext(_)
            | Request::IteratorRecordStart { .. }
            | Request::IteratorRecordNext(_)
            | Request::SendBlob { .. } => (self.read, Right::Read),
            Request::Pack { .. } => (self.pack, Right::Pack),
            Request::Undo { .. } => (self.undo, Right::Undo),
            _ => return None,
        };
        (!has).then_some(needed)
    }
}

/// One of the [`Rights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// To be there at all.
    Connect,
    Read,
    Write,
    Pack,
    Undo,
}

impl Right {
    /// What a client without it hears.
    pub(super) fn denied(self) -> Refusal {
        match self {
            Self::Connect => Refusal::not_permitted("this client has no rights here"),
            Self::Read => Refusal::not_permitted("this client has no right to read"),
            Self::Write => Refusal::read_only_because("this client has no right to write"),
            Self::Pack => Refusal::read_only_because("this client has no right to pack"),
            Self::Undo => Refusal::read_only_because("this client has no right to undo"),
        }
    }
}
