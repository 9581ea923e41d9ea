//! What a server tells of transactions, as a client reads it: walks, histories, undo logs.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use storage::{
    CurrentRecord, DataRecord, HistoryEntry, Oid, Record, Tid, TransactionMeta, UndoEntry,
};

use crate::Value;
use crate::wire::encode_extension;

/// A transaction that a walk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedTransaction {
    /// Its id.
    pub tid: Tid,
    /// Whether a pack wrote it.
    pub is_packed: bool,
    /// What it says of itself.
    pub meta: TransactionMeta,
}

/// The id by which an undo names a transaction.
pub(crate) fn text_id(tid: Tid) -> Vec<u8> {
    BASE64_STANDARD.encode(tid.to_bytes()).into_bytes()
}

/// The transaction of such an id.
pub(crate) fn named_tid(text: &[u8]) -> Option<Tid> {
    let bytes = BASE64_STANDARD.decode(text.trim_ascii()).ok()?;
    Tid::try_from(&bytes[..]).ok()
}

/// `iterator_next`.
pub(crate) fn transaction_of(value: &Value<'_>) -> Option<WalkedTransaction> {
    let [tid, status, user, description, extension] = value.elements()? else {
        return None;
    };
    Some(WalkedTransaction {
        tid: tid_of(tid)?,
        is_packed: text_of(status)? == b"p",
        meta: TransactionMeta {
            user: text_of(user)?,
            description: text_of(description)?,
            extension: match extension {
                Value::Map(_) => encode_extension(extension),
                _ => return None,
            },
        },
    })
}

/// `iterator_record_next`.
pub(crate) fn data_record_of(value: &Value<'_>) -> Option<DataRecord> {
    let [oid, tid, data, data_tid] = value.elements()? else {
        return None;
    };
    Some(DataRecord {
        oid: oid_of(oid)?,
        tid: tid_of(tid)?,
        data: match data {
            Value::None => None,
            data => Some(Record::from(data.as_bytes()?)),
        },
        data_tid: match data_tid {
            Value::None => None,
            tid => Some(tid_of(tid)?),
        },
    })
}

/// `record_iternext`.
pub(crate) fn current_record_of(value: &Value<'_>) -> Option<CurrentRecord> {
    let [oid, tid, record, next] = value.elements()? else {
        return None;
    };
    Some(CurrentRecord {
        oid: oid_of(oid)?,
        tid: tid_of(tid)?,
        record: Record::from(record.as_bytes()?),
        next: match next {
            Value::None => None,
            next => Some(oid_of(next)?),
        },
    })
}

/// `history`: dicts, under whose own keys those of the extension lie.
pub(crate) fn history_of(value: &Value<'_>) -> Option<Vec<HistoryEntry>> {
    let entry = |value: &Value<'_>| {
        Some(HistoryEntry {
            tid: tid_of(value.get("tid")?)?,
            meta: meta_of(value, &["tid", "size"])?,
            bytes: size_of(value)?,
        })
    };
    value.elements()?.iter().map(entry).collect()
}

/// `undoLog`: dicts, over whose own keys those of the extension lie. One whose extension hides the
/// id cannot be undone by anybody, and is left out.
pub(crate) fn undo_log_of(value: &Value<'_>) -> Option<UndoLog> {
    let elements = value.elements()?;
    let entry = |value: &Value<'_>| {
        Some(UndoEntry {
            tid: named_tid(&text_of(value.get("id")?)?)?,
            meta: meta_of(value, &["id", "size"])?,
            bytes: size_of(value).unwrap_or_default(),
        })
    };
    Some(UndoLog {
        entries: elements.iter().filter_map(entry).collect(),
        told: elements.len(),
    })
}

/// A part of an undo log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoLog {
    /// The transactions that can be named.
    pub entries: Vec<UndoEntry>,
    /// How many the server told of.
    pub told: usize,
}

/// What is left of the dict without these keys and those of a transaction is its extension.
fn meta_of(value: &Value<'_>, own: &[&str]) -> Option<TransactionMeta> {
    let Value::Map(pairs) = value else {
        return None;
    };
    let known = ["time", "user_name", "description"];
    let is_known = |key: &Value<'_>| {
        let text = key.as_text();
        text.is_some_and(|text| known.contains(&text) || own.contains(&text))
    };
    let others = pairs.iter().filter(|(key, _)| !is_known(key)).cloned();
    Some(TransactionMeta {
        user: text_of(value.get("user_name")?)?,
        description: text_of(value.get("description")?)?,
        extension: encode_extension(&Value::Map(others.collect())),
    })
}

fn size_of(value: &Value<'_>) -> Option<u64> {
    u64::try_from(value.get("size")?.as_int()?).ok()
}

/// Bytes; some servers send text.
fn text_of(value: &Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        Value::Text(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

fn tid_of(value: &Value<'_>) -> Option<Tid> {
    Tid::try_from(value.as_bytes()?).ok()
}

fn oid_of(value: &Value<'_>) -> Option<Oid> {
    Oid::try_from(value.as_bytes()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let tid = Tid::new(0x03f0_0001_1234_5678);
        assert_eq!(named_tid(&text_id(tid)), Some(tid));
        assert_eq!(named_tid(b"A/AAARI0Vng=\n"), Some(tid));
        for wrong in [&b""[..], b"A/AAARI0Vg==", b"???", b"A/AAARI0VniZ"] {
            assert_eq!(named_tid(wrong), None);
        }
    }
}
