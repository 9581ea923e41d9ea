//! Transaction ids as people write them: hexadecimal, or the time that they stand for.

use std::fmt;

use storage::Tid;

/// The time in a transaction id; shown as `2026-01-31T12:00:00.000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub Tid);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.number() >> 32;
        let (calendar, minute) = (minutes / MINUTES_A_DAY, minutes % MINUTES_A_DAY);
        let (months, day) = (calendar / 31, calendar % 31 + 1);
        let (year, month) = (FIRST_YEAR + months / 12, months % 12 + 1);
        let fraction = u128::from(self.0.number() & FRACTION_MASK);
        let micros = ((fraction * MICROS_A_MINUTE + (1 << 31)) >> 32).min(MICROS_A_MINUTE - 1);
        let (second, micro) = (micros / 1_000_000, micros % 1_000_000);
        let (hour, minute) = (minute / 60, minute % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"
        )
    }
}

/// What is neither a transaction id nor a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither a transaction id such as 0x03f0000100000000 nor a time (UTC) such as 2026-01-31 or 2026-01-31T12:00:00"
)]
pub struct StampError;

impl Stamp {
    /// The first and the last transaction id that the text may stand for: a day stands for all ids of
    /// that day, a minute for those of the minute, an id for itself.
    ///
    /// # Errors
    /// The text has neither form.
    pub fn parse(text: &str) -> Result<(Tid, Tid), StampError> {
        let text = text.trim();
        let digits = text
            .strip_prefix("0x")
            .or_else(|| Some(text).filter(|text| text.len() == 16 && !text.contains('-')));
        if let Some(digits) = digits {
            let tid = u64::from_str_radix(digits, 16).map_err(|_| StampError)?;
            return Ok((Tid::new(tid), Tid::new(tid)));
        }
        parse_time(text).ok_or(StampError)
    }
}

fn parse_time(text: &str) -> Option<(Tid, Tid)> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, FIRST_YEAR, 9999)?;
    let month = number(parts.next()?, 1, 12)?;
    let day = number(parts.next()?, 1, 31)?;
    if parts.next().is_some() {
        return None;
    }
    let midnight =
        (((year - FIRST_YEAR) * 12 + month - 1) * 31 + day - 1).checked_mul(MINUTES_A_DAY)?;
    let Some(time) = time else {
        return span(midnight << 32, (MINUTES_A_DAY << 32) - 1);
    };
    let mut parts = time.split(':');
    let hour = number(parts.next()?, 0, 23)?;
    let minute = number(parts.next()?, 0, 59)?;
    let base = (midnight + hour * 60 + minute) << 32;
    let Some(seconds) = parts.next() else {
        return span(base, FRACTION_MASK);
    };
    if parts.next().is_some() {
        return None;
    }
    let (whole, decimals) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole = u128::from(number(whole, 0, 59)?);
    if decimals.len() > 6 || decimals.bytes().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let micros: u128 = format!("{decimals:0<6}").parse().ok()?;
    let unit = 10u128.pow(u32::try_from(6 - decimals.len()).ok()?);
    let first = whole * 1_000_000 + micros;
    let at = |micros: u128| u64::try_from((micros << 32).div_ceil(MICROS_A_MINUTE)).ok();
    let (first, next) = (at(first)?, at(first + unit)?);
    span(base + first, next - first - 1)
}

fn span(first: u64, more: u64) -> Option<(Tid, Tid)> {
    Some((Tid::new(first), Tid::new(first.checked_add(more)?)))
}

fn number(digits: &str, min: u64, max: u64) -> Option<u64> {
    if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    (min..=max).contains(&number).then_some(number)
}

const FIRST_YEAR: u64 = 1900;
const MINUTES_A_DAY: u64 = 24 * 60;
const MICROS_A_MINUTE: u128 = 60_000_000;
const FRACTION_MASK: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    /// `str(persistent.TimeStamp.TimeStamp(...))` of Python for the same bytes.
    #[test]
    fn a_stamp_shows_the_time_of_persistent() {
        for (tid, shown) in [
            (0x023c_2b00_0000_0000, "1970-01-01T00:00:00.000000Z"),
            (0x0332_ade0_8000_0000, "2000-02-29T00:00:30.000000Z"),
        ] {
            assert_eq!(Stamp(Tid::new(tid)).to_string(), shown);
        }
    }

    #[test]
    fn a_time_stands_for_all_ids_within_its_precision() {
        for text in [
            "2000-02-29",
            "2000-02-29T00:00",
            "2000-02-29 00:00:30",
            "2000-02-29T00:00:30.000000Z",
            "0x0332ade080000000",
            "0332ade080000000",
        ] {
            let (first, last) = Stamp::parse(text).unwrap();
            let tid = Tid::new(0x0332_ade0_8000_0000);
            assert!(first <= tid && tid <= last, "{text}: {first} {last}");
        }
        let (first, last) = Stamp::parse("2000-02-29").unwrap();
        assert_eq!(Stamp(first).to_string(), "2000-02-29T00:00:00.000000Z");
        assert_eq!(
            last.next(),
            Tid::new(0x0332_ade0_0000_0000 + (1440u64 << 32))
        );
        let (first, last) = Stamp::parse("2000-02-29T00:00:59").unwrap();
        assert_eq!(last, Tid::new(0x0332_ade0_ffff_ffff));
        assert_eq!(Stamp(first).to_string(), "2000-02-29T00:00:59.000000Z");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0x",
            "yesterday",
            "1899-01-01",
            "2000-13-01",
            "2000-02-29T24:00",
            "2000-02-29T00:00:00.1234567",
            "2000-02-29T00:00:00:00",
            "2000-2-+1",
        ] {
            assert_eq!(Stamp::parse(text), Err(StampError), "{text}");
        }
    }
}
