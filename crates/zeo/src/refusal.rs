//! Errors on the wire: the qualified name of a Python class, and its data.
//!
//! The Python client makes an exception of the same class for a handful of names and a
//! `ServerException` for all others, so the names below are chosen by what a Python caller catches.

use std::borrow::Cow;

use storage::{
    CommitError, Conflict, Oid, StorageError, Tid, UndoObstacle, UndoReason, UndoRefusal,
};

use crate::Value;

const CONFLICT: &str = "ZODB.POSException.ConflictError";
const READ_CONFLICT: &str = "ZODB.POSException.ReadConflictError";
const KEY: &str = "ZODB.POSException.POSKeyError";
const READ_ONLY: &str = "ZODB.POSException.ReadOnlyError";
const PERMISSION: &str = "builtins.PermissionError";
const UNDO: &str = "ZODB.POSException.UndoError";
const OBSTACLES: &str = "ZODB.POSException.MultipleUndoErrors";
/// What the original says of a transaction that cannot be undone.
const NOT_UNDOABLE: &str = "non-undoable transaction";
/// What it says of objects that stand in the way, and what we say where it says less.
const REASONS: [(UndoReason, &str); 6] = [
    (
        UndoReason::ChangedLater,
        "Some data were modified by a later transaction",
    ),
    (
        UndoReason::CreatedAndChangedLater,
        "Can't undo an add transaction followed by conflicting transactions.",
    ),
    (UndoReason::Removed, "it was removed by another transaction"),
    (UndoReason::Removed, "_loadBack() failed"),
    (UndoReason::Removed, "_loadBack() failed for %s"),
    (
        UndoReason::BlobFileMissing,
        "it is a blob, and the file of its older data is missing",
    ),
];
/// What the original says of a transaction that it does not find.
pub(crate) const UNKNOWN_TRANSACTION: &str = "Invalid transaction id";
const TRANSACTION: &str = "ZODB.POSException.StorageTransactionError";

/// An error reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    class: Cow<'static, str>,
    data: Value<'static>,
}

impl Refusal {
    /// An error of this class whose only argument is a text.
    pub(crate) fn new(class: &'static str, text: impl Into<String>) -> Self {
        Self {
            class: Cow::Borrowed(class),
            data: Value::Tuple(vec![Value::Text(Cow::Owned(text.into()))]),
        }
    }

    pub(crate) fn arguments(text: impl Into<String>) -> Self {
        Self::new("builtins.TypeError", text)
    }

    pub(crate) fn transaction(text: impl Into<String>) -> Self {
        Self::new(TRANSACTION, text)
    }

    pub(crate) fn not_offered(method: &str) -> Self {
        let text = format!("this server does not offer {method}");
        Self::new("builtins.NotImplementedError", text)
    }

    /// `KeyError`, of a thing that is not there.
    pub(crate) fn key(key: Value<'static>) -> Self {
        Self {
            class: Cow::Borrowed("builtins.KeyError"),
            data: Value::Tuple(vec![key]),
        }
    }

    /// `POSKeyError`, of a revision that has no file.
    pub(crate) fn no_blob(oid: Oid, tid: Tid) -> Self {
        Self {
            class: Cow::Borrowed(KEY),
            data: Value::Tuple(vec![
                Value::text("No blob file"),
                Value::id(oid.to_bytes()),
                Value::id(tid.to_bytes()),
            ]),
        }
    }

    /// A transaction that cannot be undone at all.
    pub(crate) fn undo(reason: &'static str) -> Self {
        Self {
            class: Cow::Borrowed(UNDO),
            data: Value::Map(vec![
                (Value::text("_reason"), Value::text(reason)),
                (Value::text("_oid"), Value::None),
            ]),
        }
    }

    pub(crate) fn read_only() -> Self {
        Self {
            class: Cow::Borrowed(READ_ONLY),
            data: Value::Tuple(Vec::new()),
        }
    }

    /// `ReadOnlyError`, which every Python client knows, with a text that says more.
    pub(crate) fn read_only_because(text: &str) -> Self {
        Self::new(READ_ONLY, text)
    }

    pub(crate) fn not_permitted(text: &str) -> Self {
        Self::new(PERMISSION, text)
    }

    /// The transaction id that a call named is not the open one.
    pub(crate) fn no_transaction(open: Option<Value<'static>>, named: Value<'static>) -> Self {
        Self {
            class: Cow::Borrowed(TRANSACTION),
            data: Value::Tuple(vec![open.unwrap_or(Value::None), named]),
        }
    }

    /// Reads the `(class, data)` pair of an error reply.
    pub(crate) fn from_wire(value: Value<'_>) -> Option<Self> {
        let Value::Tuple(parts) = value else {
            return None;
        };
        let [class, data] = <[Value<'_>; 2]>::try_from(parts).ok()?;
        Some(Self {
            class: Cow::Owned(class.as_text()?.to_owned()),
            data: data.into_owned(),
        })
    }

    /// The qualified class name.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The attributes or arguments.
    pub fn data(&self) -> &Value<'static> {
        &self.data
    }

    /// Whether the error is a normal answer, not worth a line in the log.
    pub fn is_ordinary(&self) -> bool {
        [CONFLICT, READ_CONFLICT, KEY].contains(&self.class())
            || self.is_denial()
            || self.is_of_undo()
    }

    /// Whether it says that something cannot be undone, as a later change is in the way.
    pub(crate) fn is_of_undo(&self) -> bool {
        [UNDO, OBSTACLES].contains(&self.class())
    }

    /// Whether the client may not do what it asked for; the log names such a client once.
    pub(crate) fn is_denial(&self) -> bool {
        [READ_ONLY, PERMISSION].contains(&self.class())
    }

    /// The error as a reader sees it. `oid` is what was asked for, if anything.
    pub fn to_storage_error(&self, oid: Option<Oid>) -> StorageError {
        match (self.class(), self.named_oid().or(oid)) {
            (KEY, Some(oid)) => StorageError::NotFound { oid },
            (READ_ONLY, _) => StorageError::ReadOnly,
            _ => StorageError::Remote {
                class: self.class().to_owned(),
                detail: self.detail(),
            },
        }
    }

    /// The error as a committer sees it.
    pub fn to_commit_error(&self) -> CommitError {
        match (self.class(), self.conflict()) {
            (CONFLICT, Some(conflict)) => CommitError::Conflict(vec![conflict]),
            (READ_CONFLICT, Some(conflict)) => CommitError::ReadConflict(conflict),
            (OBSTACLES, _) => match self.obstacles() {
                Some(obstacles) => CommitError::Undo(obstacles),
                None => self.to_storage_error(None).into(),
            },
            _ => self.to_storage_error(None).into(),
        }
    }

    /// Why a transaction as a whole cannot be undone, where the error says that.
    pub fn undo_refusal(&self) -> Option<UndoRefusal> {
        let reason = self.data.get("_reason").and_then(Value::as_text);
        match (self.class(), reason?) {
            (UNDO, UNKNOWN_TRANSACTION) => Some(UndoRefusal::Unknown),
            (UNDO, NOT_UNDOABLE) => Some(UndoRefusal::Packed),
            _ => None,
        }
    }

    /// Pairs of an object and an error: its text, its state, or (in msgpack) its class and its state.
    /// One that nobody knows leaves it a text.
    fn obstacles(&self) -> Option<Vec<UndoObstacle>> {
        let obstacle = |pair: &Value<'_>| {
            let [oid, error] = pair.elements()? else {
                return None;
            };
            let error = match error.elements() {
                Some([_class, state]) => state,
                _ => error,
            };
            let text = error.get("_reason").unwrap_or(error).as_text()?;
            let mut reasons = REASONS.iter().filter(|(_, known)| *known == text);
            let reason = reasons.next()?.0;
            let oid = Oid::try_from(oid.as_bytes()?).ok()?;
            Some(UndoObstacle { oid, reason })
        };
        let errors = self.data.get("_errs")?.elements()?;
        errors.iter().map(obstacle).collect()
    }

    fn named_oid(&self) -> Option<Oid> {
        let first = self.data.elements()?.first()?.as_bytes()?;
        Oid::try_from(first).ok()
    }

    fn conflict(&self) -> Option<Conflict> {
        let tid = |value: &Value<'_>| Tid::try_from(value.as_bytes()?).ok();
        let serials = self.data.get("serials")?.elements()?;
        Some(Conflict {
            oid: Oid::try_from(self.data.get("oid")?.as_bytes()?).ok()?,
            committed: tid(serials.first()?)?,
            base: tid(serials.get(1)?)?,
            refusal: None,
        })
    }

    /// Its only argument, where that is a text.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self.data.elements() {
            Some([Value::Text(text)]) => Some(text),
            _ => None,
        }
    }

    fn detail(&self) -> String {
        self.reason()
            .map_or_else(|| format!("{:?}", self.data), str::to_owned)
    }
}

impl From<&StorageError> for Refusal {
    fn from(error: &StorageError) -> Self {
        match error {
            StorageError::NotFound { oid } => Self {
                class: Cow::Borrowed(KEY),
                data: Value::Tuple(vec![Value::id(oid.to_bytes())]),
            },
            StorageError::ReadOnly => Self::read_only(),
            StorageError::Unsupported { operation } => Self::not_offered(operation),
            StorageError::Remote { class, detail } => Self {
                class: Cow::Owned(class.clone()),
                data: Value::Tuple(vec![Value::Text(Cow::Owned(detail.clone()))]),
            },
            StorageError::Disconnected { .. } => {
                Self::new("ZEO.Exceptions.ClientDisconnected", error.to_string())
            }
            other => Self::new("ZODB.POSException.StorageSystemError", other.to_string()),
        }
    }
}

impl From<&CommitError> for Refusal {
    fn from(error: &CommitError) -> Self {
        match error {
            // The one that nobody can merge is what ends the transaction.
            CommitError::Conflict(conflicts) => match conflicts
                .iter()
                .find(|conflict| conflict.refusal.is_some())
                .or_else(|| conflicts.first())
            {
                Some(conflict) => conflict_refusal(CONFLICT, "database conflict error", conflict),
                None => Self::new(
                    "ZODB.POSException.StorageSystemError",
                    "a conflict of nothing",
                ),
            },
            CommitError::ReadConflict(conflict) => {
                conflict_refusal(READ_CONFLICT, "database read conflict error", conflict)
            }
            CommitError::NotUndoable { reason, .. } => Self::undo(match reason {
                UndoRefusal::Unknown => UNKNOWN_TRANSACTION,
                _ => NOT_UNDOABLE,
            }),
            CommitError::Undo(obstacles) => undo_refusal(obstacles),
            CommitError::Storage(error) => error.into(),
            other => Self::new("ZODB.POSException.StorageSystemError", other.to_string()),
        }
    }
}

fn conflict_refusal(class: &'static str, message: &'static str, conflict: &Conflict) -> Refusal {
    Refusal {
        class: Cow::Borrowed(class),
        data: Value::Map(vec![
            (Value::text("message"), Value::text(message)),
            (Value::text("oid"), Value::id(conflict.oid.to_bytes())),
            (Value::text("class_name"), Value::None),
            (Value::text("serials"), serials(conflict)),
        ]),
    }
}

/// The objects that stand in the way, with the original's words. Its errors travel as pickled
/// objects there; a client only prints them.
fn undo_refusal(obstacles: &[UndoObstacle]) -> Refusal {
    let reason = |reason: UndoReason| {
        let known = REASONS.iter().find(|(known, _)| *known == reason);
        known.map_or_else(|| reason.to_string(), |(_, text)| (*text).to_owned())
    };
    let pair = |obstacle: &UndoObstacle| {
        let oid = Value::id(obstacle.oid.to_bytes());
        let text = Value::Text(reason(obstacle.reason).into());
        (oid, text)
    };
    let pairs: Vec<_> = obstacles.iter().map(pair).collect();
    let (oid, text) = pairs.first().cloned().unwrap_or((Value::None, Value::None));
    let tuples = pairs
        .into_iter()
        .map(|(oid, text)| Value::Tuple(vec![oid, text]));
    Refusal {
        class: Cow::Borrowed(OBSTACLES),
        data: Value::Map(vec![
            (Value::text("_reason"), text),
            (Value::text("_oid"), oid),
            (Value::text("_errs"), Value::List(tuples.collect())),
        ]),
    }
}

/// `(committed, read)`, the order in which ZODB names them.
pub(crate) fn serials(conflict: &Conflict) -> Value<'static> {
    Value::Tuple(vec![
        Value::id(conflict.committed.to_bytes()),
        Value::id(conflict.base.to_bytes()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;

    fn travelled(refusal: &Refusal, encoding: Encoding) -> Refusal {
        let pair = Value::Tuple(vec![Value::text(refusal.class()), refusal.data().clone()]);
        let mut bytes = Vec::new();
        encoding.encode(&pair, &mut bytes);
        Refusal::from_wire(encoding.decode(&bytes).unwrap()).unwrap()
    }

    #[test]
    fn errors_keep_their_meaning_across_the_wire() {
        let conflict = Conflict {
            oid: Oid::new(5),
            committed: Tid::new(9),
            base: Tid::new(7),
            refusal: None,
        };
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            let error = CommitError::Conflict(vec![conflict]);
            match travelled(&Refusal::from(&error), encoding).to_commit_error() {
                CommitError::Conflict(found) => assert_eq!(found, [conflict]),
                other => panic!("{other}"),
            }
            let error = CommitError::ReadConflict(conflict);
            match travelled(&Refusal::from(&error), encoding).to_commit_error() {
                CommitError::ReadConflict(found) => assert_eq!(found, conflict),
                other => panic!("{other}"),
            }
            let error = StorageError::NotFound { oid: Oid::new(5) };
            match travelled(&Refusal::from(&error), encoding).to_storage_error(None) {
                StorageError::NotFound { oid } => assert_eq!(oid, Oid::new(5)),
                other => panic!("{other}"),
            }
            let refusal = travelled(&Refusal::from(&StorageError::ReadOnly), encoding);
            assert!(matches!(
                refusal.to_storage_error(None),
                StorageError::ReadOnly
            ));
            let refusal = travelled(&Refusal::not_offered("pack"), encoding);
            assert!(!refusal.is_ordinary());
            let text = refusal.to_storage_error(None).to_string();
            assert!(text.contains("does not offer pack"), "{text}");
        }
    }
}
