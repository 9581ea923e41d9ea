//! How many answers of a kind a network gets.
//!
//! A name server over UDP can be made to answer somebody who never asked, with more bytes than were sent. So answers of
//! the same kind to the same network are counted, as BIND's response rate limiting does it: above the limit most are
//! not sent, and some are sent without records and marked as cut off. Who really asks repeats that over TCP,
//! where nobody can ask in another's name.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Send,
    /// Without its records, marked as cut off.
    Slip,
    Drop,
}

/// Answers that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Category {
    /// Records, or that there are none of the type.
    Name,
    /// That there is no such name, in a zone: invented names are as many as one likes.
    NoName,
    /// Refusals and errors.
    Error,
}

/// Counts answers. Its size is fixed: networks that were not seen for long are forgotten first.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    slip: u32,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    start: Instant,
}

type Shard = Vec<[Account; WAYS]>;

/// What a network may still get.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Zero where it is free.
    key: u64,
    /// In thousandths of an answer; below 0 for who has had too much.
    credit: i64,
    /// Milliseconds since the start.
    seen: u64,
    /// Answers above the limit.
    over: u32,
}

impl Limiter {
    /// `per_second` 0 is no limit.
    pub(crate) fn new(per_second: u32, slip: u32, now: Instant) -> Self {
        let sets = match per_second {
            0 => 0,
            _ => ACCOUNTS_MAX / SHARDS / WAYS,
        };
        let shard = || Mutex::new(vec![[Account::default(); WAYS]; sets]);
        Self {
            per_second,
            slip,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            start: now,
        }
    }

    /// An answer of that kind, about `name`, is about to go to `peer`.
    pub(crate) fn judge(
        &self,
        peer: IpAddr,
        category: Category,
        name: impl std::hash::Hash,
        now: Instant,
    ) -> Verdict {
        if self.per_second == 0 {
            return Verdict::Send;
        }
        let key = self.hasher.hash_one((network(peer), category, name)) | 1;
        let [shard, set] =
            [key >> 8, key >> 24].map(|bits| usize::try_from(bits & 0xffff).unwrap_or(0));
        let since = now.saturating_duration_since(self.start).as_millis();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        let mut shard = self.shards[shard % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let set_count = shard.len();
        let set = &mut shard[set % set_count];
        let account = match set.iter().position(|account| account.key == key) {
            Some(place) => &mut set[place],
            None => self.open(set, key, now),
        };
        self.charge(account, now)
    }

    /// An account in the place of the one that was not seen for the longest time.
    fn open<'a>(&self, set: &'a mut [Account; WAYS], key: u64, now: u64) -> &'a mut Account {
        let mut oldest = 0;
        for place in 1..WAYS {
            if set[place].seen < set[oldest].seen {
                oldest = place;
            }
        }
        set[oldest] = Account {
            key,
            credit: self.credit_max(),
            seen: now,
            over: 0,
        };
        &mut set[oldest]
    }

    fn charge(&self, account: &mut Account, now: u64) -> Verdict {
        let rate = i64::from(self.per_second);
        let pause = i64::try_from(now.saturating_sub(account.seen)).unwrap_or(i64::MAX);
        let earned = pause.saturating_mul(rate);
        account.credit = account.credit.saturating_add(earned).min(self.credit_max());
        account.seen = now;
        account.credit = (account.credit - 1000).max(-rate * WINDOW_MILLISECONDS);
        if account.credit >= 0 {
            return Verdict::Send;
        }
        account.over = account.over.wrapping_add(1);
        match account.over.checked_rem(self.slip) {
            Some(0) => Verdict::Slip,
            _ => Verdict::Drop,
        }
    }

    /// What can be saved: the answers of a second.
    fn credit_max(&self) -> i64 {
        i64::from(self.per_second) * 1000
    }
}

/// The network that an address counts with: who has one address of it has them all, more or less.
fn network(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> (128 - 56);
            // No IPv4 network has this bit.
            u64::try_from(bits).unwrap_or(0) | 1 << 63
        }
    }
}

/// Networks and names that are counted at a time: 2 MB.
const ACCOUNTS_MAX: usize = 1 << 16;
const SHARDS: usize = 64;
const WAYS: usize = 4;
/// How far back too many answers are held against somebody, as in BIND.
const WINDOW_MILLISECONDS: i64 = 15_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning of time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn verdicts(limiter: &Limiter, peer: &str, count: usize, now: Instant) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..count {
            let verdict = limiter.judge(address(peer), Category::Name, "www", now);
            counts[verdict as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_network_gets_its_rate_and_then_every_second_answer_is_cut_off() {
        let now = start();
        let limiter = Limiter::new(10, 2, now);
        assert_eq!(verdicts(&limiter, "192.0.2.1", 10, now), [10, 0, 0]);
        assert_eq!(verdicts(&limiter, "192.0.2.200", 10, now), [0, 5, 5]);
        assert_eq!(
            verdicts(&limiter, "192.0.3.1", 10, now),
            [10, 0, 0],
            "another"
        );
        // What was too much is held against it for a while.
        let later = now + Duration::from_secs(1);
        assert_eq!(verdicts(&limiter, "192.0.2.1", 1, later)[0], 0);
        let much_later = now + Duration::from_secs(3);
        assert_eq!(verdicts(&limiter, "192.0.2.1", 10, much_later)[0], 10);
    }

    #[test]
    fn a_flood_is_forgotten_after_the_window() {
        let now = start();
        let limiter = Limiter::new(10, 0, now);
        assert_eq!(
            verdicts(&limiter, "192.0.2.1", 100_000, now),
            [10, 0, 99_990]
        );
        let after = now + Duration::from_secs(17);
        assert_eq!(verdicts(&limiter, "192.0.2.1", 10, after)[0], 10);
    }

    #[test]
    fn ipv6_counts_by_56_bits_and_a_mapped_address_as_ipv4() {
        let network_of = |text: &str| network(address(text));
        assert_eq!(
            network_of("2001:db8:0:1::1"),
            network_of("2001:db8:0:ff::2")
        );
        assert_ne!(
            network_of("2001:db8:0:100::1"),
            network_of("2001:db8:0:ff::2")
        );
        assert_eq!(network_of("::ffff:192.0.2.1"), network_of("192.0.2.77"));
        assert_ne!(network_of("::1"), network_of("0.0.0.1"));
    }

    #[test]
    fn kinds_and_names_count_apart() {
        let now = start();
        let limiter = Limiter::new(1, 0, now);
        let judge = |category, name: &str| limiter.judge(address("192.0.2.1"), category, name, now);
        assert_eq!(judge(Category::Name, "www"), Verdict::Send);
        assert_eq!(judge(Category::Name, "www"), Verdict::Drop);
        assert_eq!(judge(Category::Name, "ftp"), Verdict::Send);
        assert_eq!(judge(Category::NoName, "www"), Verdict::Send);
    }

    #[test]
    fn more_networks_than_there_is_room_for_cost_no_memory() {
        let now = start();
        let limiter = Limiter::new(1, 0, now);
        for n in 0..200_000_u32 {
            let peer = IpAddr::from(n.wrapping_mul(256).to_be_bytes());
            limiter.judge(peer, Category::Error, 0, now);
        }
        let sizes = limiter
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len());
        assert_eq!(sizes.sum::<usize>() * WAYS, ACCOUNTS_MAX);
    }

    #[test]
    fn zero_is_no_limit() {
        let now = start();
        let limiter = Limiter::new(0, 2, now);
        assert_eq!(verdicts(&limiter, "192.0.2.1", 1000, now), [1000, 0, 0]);
    }
}
