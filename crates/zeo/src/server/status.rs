//! What the server tells of itself: `server_status`, and the JSON that `ruok` gets.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::hub::HubOptions;
use super::served::{Served, number};
use crate::Value;

/// The dict of `server_status`, of a hub that was made at `epoch`.
pub(super) fn status(
    served: &Served,
    options: &HubOptions,
    epoch: Option<Instant>,
) -> Value<'static> {
    let counters = &served.counters;
    let counted = |counter: &AtomicU64| number(counter.load(Ordering::Relaxed));
    let length = |count: usize| number(count.try_into().unwrap_or(u64::MAX));
    let (waiting, oldest) = {
        let turns = served.turns();
        (turns.waiting(), turns.oldest())
    };
    // Where several have their turns at once, that of the one who has had it longest.
    let lock_time = oldest.zip(epoch).map_or(Value::None, |(oldest, epoch)| {
        let since = options.started + oldest.saturating_duration_since(epoch);
        Value::Float(since.as_secs_f64())
    });
    let timeout = match options.transaction_timeout {
        Some(_) => Value::Bool(true),
        None => Value::text("stub"),
    };
    let last = format!("{:016x}", served.head().number());
    let entries = [
        ("connections", length(served.connections())),
        ("loads", counted(&counters.loads)),
        ("stores", counted(&counters.stores)),
        ("commits", counted(&counters.commits)),
        ("aborts", counted(&counters.aborts)),
        ("conflicts", counted(&counters.conflicts)),
        ("conflicts_resolved", counted(&counters.resolved)),
        ("active_txns", counted(&counters.active_transactions)),
        ("waiting", length(waiting)),
        ("lock_time", lock_time),
        ("start", Value::Text(ctime(options.started).into())),
        ("last-transaction", Value::Text(last.into())),
        ("timeout-thread-is-alive", timeout),
    ];
    let entries = entries.into_iter();
    Value::Map(
        entries
            .map(|(key, value)| (Value::text(key), value))
            .collect(),
    )
}

/// A moment since 1970 as C's `ctime` writes it, in UTC.
fn ctime(time: Duration) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = time.as_secs() / 86_400;
    let clock = time.as_secs() % 86_400;
    let (mut year, mut day) = (1970, days);
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 0;
    let lengths = [
        31,
        year_days(year) - 337,
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or_default()];
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let (month, day) = (MONTHS[month], day + 1);
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    365 + u64::from(leap)
}

/// Appends a value as JSON, as far as a status needs it.
pub(super) fn write_json(value: &Value<'_>, out: &mut String) {
    match value {
        Value::None | Value::Bytes(_) => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => write_display(value, out),
        Value::Float(value) => write_display(value, out),
        Value::Text(text) => write_text(text, out),
        Value::Tuple(values) | Value::List(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_json(value, out);
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            out.push('{');
            for (index, (key, value)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_json(key, out);
                out.push_str(": ");
                write_json(value, out);
            }
            out.push('}');
        }
    }
}

fn write_display(value: impl std::fmt::Display, out: &mut String) {
    write!(out, "{value}").expect("writing into memory succeeds");
}

/// Python's client decodes ASCII, so everything else is escaped.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ (b'"' | b'\\')) => out.extend(['\\', char::from(byte)]),
            Ok(byte @ b' '..=b'~') => out.push(char::from(byte)),
            _ => write!(out, "\\u{unit:04x}").expect("writing into memory succeeds"),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Python's `time.asctime(time.gmtime(n))`.
    #[test]
    fn the_start_time_reads_as_in_python() {
        for (seconds, text) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (1_790_000_000, "Mon Sep 21 14:13:20 2026"),
        ] {
            assert_eq!(ctime(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn json_escapes_what_it_must() {
        let value = Value::Map(vec![(
            Value::text("a\"b"),
            Value::Tuple(vec![Value::Int(-1), Value::None, Value::text("é\n")]),
        )]);
        let mut out = String::new();
        write_json(&value, &mut out);
        assert_eq!(out, "{\"a\\\"b\": [-1, null, \"\\u00e9\\u000a\"]}");
    }
}
