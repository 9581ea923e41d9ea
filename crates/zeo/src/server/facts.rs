//! What is told of transactions: undo logs, histories, extensions.

use storage::{HistoryEntry, Storage, StorageError, Tid, TransactionMeta, UndoEntry};

use crate::looking::text_id;
use crate::wire::decode_extension;
use crate::{Refusal, Value};

/// A dict that is being made.
type Pairs<'a> = Vec<(Value<'a>, Value<'a>)>;

/// The undoable transactions of a span, as ZODB counts them.
pub(super) struct UndoQuery {
    pub(super) first: i64,
    /// Where the span ends; a negative number says how long it is.
    pub(super) last: i64,
    /// What must be equal in each of them.
    pub(super) specification: Vec<(Value<'static>, Value<'static>)>,
}

impl UndoQuery {
    /// The dicts that describe the transactions.
    pub(super) fn answer(&self, storage: &dyn Storage) -> Result<Value<'static>, Refusal> {
        let Some(undo) = storage.undo() else {
            return Ok(Value::Tuple(Vec::new()));
        };
        if self.specification.iter().any(|(_, value)| is_prefix(value)) {
            // The original fails in the same way: it compares a text with bytes.
            return Err(Refusal::arguments("a Prefix is no filter for bytes"));
        }
        // As in the original: the log would name what the pack is about to make undoable no more.
        if storage.packer().is_some_and(|packer| packer.is_packing()) {
            return Err(Refusal::undo(
                "Undo is currently disabled for database maintenance.<p>",
            ));
        }
        let (first, last) = self.span();
        let mut is_wanted =
            |entry: &UndoEntry| self.specification.is_empty() || self.matches(&describe(entry));
        let found = undo.undo_log(first, last, &mut is_wanted);
        let found = found.map_err(|error| Refusal::from(&error))?;
        let maps = found.iter().map(|entry| Value::Map(describe(entry)));
        Ok(Value::List(maps.map(Value::into_owned).collect()))
    }

    fn span(&self) -> (usize, usize) {
        let last = if self.last < 0 {
            self.first.saturating_sub(self.last)
        } else {
            self.last
        };
        let place = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
        let first = place(self.first);
        (
            first,
            place(last).min(first.saturating_add(UNDO_ENTRIES_MAX)),
        )
    }

    /// Python's `description.get(key) == value`, for each of them.
    fn matches(&self, description: &Pairs<'_>) -> bool {
        self.specification.iter().all(|(key, wanted)| {
            let found = description.iter().find(|(name, _)| name == key);
            *wanted == *found.map_or(&Value::None, |(_, value)| value)
        })
    }
}

/// Whether the value is a `ZopeUndo.Prefix`, of which the wire keeps the state.
fn is_prefix(value: &Value<'_>) -> bool {
    matches!(value, Value::Map(pairs) if pairs.len() == 2)
        && value.get("path").is_some()
        && value.get("length").is_some()
}

/// What `undoLog` says of a transaction. The extension wins, whatever it says; one that cannot be
/// read is left out.
fn describe(entry: &UndoEntry) -> Pairs<'_> {
    let mut pairs = vec![
        (Value::text("id"), Value::Bytes(text_id(entry.tid).into())),
        (Value::text("time"), Value::Float(seconds(entry.tid))),
        (Value::text("user_name"), Value::bytes(&entry.meta.user)),
        (Value::text("size"), length(entry.bytes)),
        (
            Value::text("description"),
            Value::bytes(&entry.meta.description),
        ),
    ];
    if let Ok(Value::Map(extension)) = decode_extension(&entry.meta.extension) {
        update(&mut pairs, extension);
    }
    pairs
}

/// What `history` says of a revision. The extension lies underneath.
pub(super) fn describe_revision(entry: &HistoryEntry) -> Result<Value<'static>, Refusal> {
    let mut pairs = extension(entry.tid, &entry.meta)?;
    let own = vec![
        (Value::text("time"), Value::Float(seconds(entry.tid))),
        (Value::text("user_name"), Value::bytes(&entry.meta.user)),
        (
            Value::text("description"),
            Value::bytes(&entry.meta.description),
        ),
        (Value::text("tid"), Value::id(entry.tid.to_bytes())),
        (Value::text("size"), length(entry.bytes)),
    ];
    let own = own.into_iter();
    let own = own.map(|(key, value)| (key.into_owned(), value.into_owned()));
    update(&mut pairs, own.collect());
    Ok(Value::Map(pairs))
}

/// The extension as a dict.
pub(super) fn extension(tid: Tid, meta: &TransactionMeta) -> Result<Pairs<'static>, Refusal> {
    match decode_extension(&meta.extension).map(Value::into_owned) {
        Ok(Value::Map(pairs)) => Ok(pairs),
        Ok(other) => Err(unreadable(tid, &format!("{other:?} is no dict"))),
        Err(error) => Err(unreadable(tid, &error.to_string())),
    }
}

fn unreadable(tid: Tid, why: &str) -> Refusal {
    let text = format!("the extension of transaction {tid} cannot be sent: {why}");
    Refusal::new("ZODB.POSException.StorageError", text)
}

/// Python's `dict.update`.
fn update<'a>(pairs: &mut Pairs<'a>, over: Pairs<'a>) {
    for (key, value) in over {
        match pairs.iter_mut().find(|(name, _)| *name == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key, value)),
        }
    }
}

/// The time as `TimeStamp.timeTime` computes it, to the last bit.
pub(super) fn seconds(tid: Tid) -> f64 {
    let (minutes, fraction) = (tid.number() >> 32, tid.number() & u64::from(u32::MAX));
    let fraction = u32::try_from(fraction).expect("the mask leaves 32 bits");
    let whole = Tid::new(minutes << 32).to_unix_time().as_secs_f64();
    // It counts from 1900 first, which costs digits.
    let since_1900 =
        SECONDS_1900_TO_1970 + whole + f64::from(fraction) * (60.0 / 65536.0 / 65536.0);
    since_1900 - SECONDS_1900_TO_1970
}

const SECONDS_1900_TO_1970: f64 = 2_208_988_800.0;

/// A length as the wire has it.
fn length(bytes: u64) -> Value<'static> {
    Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// The current record of the first object from `from` on, as `record_iternext` answers.
pub(super) fn next_record(
    storage: &dyn Storage,
    from: storage::Oid,
) -> Result<Value<'static>, Refusal> {
    let iterate = storage.iterate();
    let iterate = iterate.ok_or_else(|| Refusal::not_offered("record_iternext"))?;
    let found = iterate.current_record(from);
    let found = found.map_err(|error: StorageError| Refusal::from(&error))?;
    let Some(record) = found else {
        return Err(Refusal::new(
            "builtins.ValueError",
            "there is no object from there on",
        ));
    };
    let next = record.next.map(|oid| Value::id(oid.to_bytes()));
    Ok(Value::Tuple(vec![
        Value::id(record.oid.to_bytes()),
        Value::id(record.tid.to_bytes()),
        Value::Bytes(record.record.to_vec().into()),
        next.unwrap_or(Value::None),
    ]))
}

/// How many transactions one undo log names at most.
const UNDO_ENTRIES_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `TimeStamp(...).timeTime()`.
    #[test]
    fn times_are_those_of_persistent() {
        for (tid, time) in [
            (0x03f0_0001_0000_0000, 1_682_570_940.0),
            (0x03f0_0001_1234_5678, 1_682_570_944.266_667),
            (0x03f0_0001_ffff_ffff, 1_682_571_000.0),
            (0x03f0_0001_2265_b1f5, 1_682_570_948.061_854_8),
        ] {
            assert_eq!(
                seconds(Tid::new(tid)).to_bits(),
                f64::to_bits(time),
                "{tid:x}"
            );
        }
    }
}
