//! Object and transaction ids: eight bytes, big-endian, on disk and on the wire.

use std::fmt;
use std::time::Duration;

/// The id of an object. The root of every database is [`Oid::ROOT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(u64);

impl Oid {
    /// The object every other one is reached from.
    pub const ROOT: Self = Self(0);

    /// The id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Reads the eight big-endian bytes of disk and wire.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The eight big-endian bytes of disk and wire.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The number itself.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The id after this one.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl TryFrom<&[u8]> for Oid {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self::from_bytes(bytes.try_into()?))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// The id of a transaction: a time stamp that only rises.
///
/// The upper 32 bits count minutes in a calendar whose months all have 31 days and which begins
/// in 1900; the lower 32 bits are the fraction of the minute (`persistent.TimeStamp`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(u64);

impl Tid {
    /// Before every transaction; the base of an object that does not exist yet.
    pub const ZERO: Self = Self(0);
    /// After every transaction (`ZODB.utils.maxtid`).
    pub const MAX: Self = Self(0x7fff_ffff_ffff_ffff);

    /// The id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Reads the eight big-endian bytes of disk and wire.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The eight big-endian bytes of disk and wire.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The number itself.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The smallest id after this one. A snapshot that includes `t` loads before `t.next()`.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The id a transaction gets that finishes `now` (since 1970, UTC) after `last`: the time
    /// stamp, or the next id after `last` where the clock stands still or went back.
    #[must_use]
    pub fn after(last: Self, now: Duration) -> Self {
        Self::from_unix_time(now).max(last.next())
    }

    /// The time stamp of a moment since 1970, UTC.
    pub fn from_unix_time(time: Duration) -> Self {
        let minutes = time.as_secs() / 60;
        let (year, month, day) = civil_from_days(minutes / (24 * 60));
        let calendar = ((year - 1900) * 12 + (month - 1)) * 31 + (day - 1);
        let upper = calendar * 24 * 60 + minutes % (24 * 60);
        let nanos =
            u128::from(time.as_secs() % 60) * 1_000_000_000 + u128::from(time.subsec_nanos());
        let lower = (nanos << 32) / (60 * 1_000_000_000);
        let lower = u32::try_from(lower).expect("a fraction of a minute is below one");
        Self((upper << 32) | u64::from(lower))
    }

    /// The moment since 1970, UTC, that this time stamp names; zero for ids before 1970.
    pub fn to_unix_time(self) -> Duration {
        let minutes = self.0 >> 32;
        let calendar = minutes / (24 * 60);
        let (months, day) = (calendar / 31, calendar % 31);
        let days = days_from_civil(1900 + months / 12, months % 12 + 1, day + 1);
        let seconds = days
            .saturating_mul(24 * 60)
            .saturating_add(minutes % (24 * 60))
            * 60;
        let nanos = (u128::from(self.0 & 0xffff_ffff) * 60 * 1_000_000_000) >> 32;
        Duration::from_secs(seconds)
            + Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
    }
}

impl TryFrom<&[u8]> for Tid {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self::from_bytes(bytes.try_into()?))
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

impl fmt::Debug for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tid({self})")
    }
}

/// Year, month and day of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible
/// low-level date algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`]; zero before 1970.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `persistent.TimeStamp.TimeStamp(1970, 1, 1, 0, 0, 0).raw()` and of 2000-02-29.
    #[test]
    fn time_stamps_are_those_of_persistent() {
        for (seconds, raw) in [
            (0u64, 0x023c_2b00_0000_0000u64),
            (951_782_400, 0x0332_ade0_0000_0000),
        ] {
            let tid = Tid::from_unix_time(Duration::from_secs(seconds));
            assert_eq!(tid, Tid::new(raw), "{seconds}");
            assert_eq!(tid.to_unix_time(), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_tid_always_rises_even_when_the_clock_goes_back() {
        let last = Tid::from_unix_time(Duration::from_secs(2_000_000_000));
        assert_eq!(Tid::after(last, Duration::from_secs(1)), last.next());
        let later = Duration::from_secs(2_000_000_060);
        assert_eq!(Tid::after(last, later), Tid::from_unix_time(later));
    }

    proptest::proptest! {
        #[test]
        fn unix_time_survives_the_round_trip(seconds in 0u64..8_000_000_000, nanos in 0u32..1_000_000_000) {
            let time = Duration::new(seconds, nanos);
            let back = Tid::from_unix_time(time).to_unix_time();
            proptest::prop_assert!(back <= time && time - back < Duration::from_nanos(50));
        }
    }
}
