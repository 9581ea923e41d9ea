//! Choosing among members that are equally well.
//!
//! Whatever the method, a member with a free slot is found if there is one: a method says who is better,
//! not who has to wait.

use std::fmt;
use std::str::FromStr;

use crate::Backend;

/// How a pool chooses among members that are equally well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The one with the fewest requests for its slots and weight.
    #[default]
    LeastLoaded,
    /// The one with the fewest requests for its weight.
    LeastConnections,
    /// Each in turn, as often as its weight says, evenly spread: nginx's smooth weighted round robin.
    RoundRobin,
    /// Any, as often as its weight says.
    Random,
    /// The less loaded of two taken at random (Mitzenmacher, "The power of two choices in randomized load
    /// balancing", 2001): nearly as good as the least loaded of all, and several balancers that do
    /// not know of each other do not all run to the same one.
    TwoRandom,
    /// The same one for the same [key](crate::Demand::key), as long as it has not much more than its
    /// part: rendezvous hashing with weights, and with bounded loads (Mirrokni and others, 2017).
    /// Where a member joins or leaves, only its keys move.
    Hash,
    /// As `Hash`, for keys that stand for a part of the site: the fewer of the objects are found in caches, the
    /// longer a request stays with the member that has that part in its cache.
    Affinity,
}

const NAMES: [(&str, Method); 7] = [
    ("least-loaded", Method::LeastLoaded),
    ("least-connections", Method::LeastConnections),
    ("round-robin", Method::RoundRobin),
    ("random", Method::Random),
    ("two-random", Method::TwoRandom),
    ("hash", Method::Hash),
    ("affinity", Method::Affinity),
];

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, method)| method == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// A word that names no [`Method`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no way to choose a member; known are least-loaded, least-connections, round-robin, random, \
     two-random, hash and affinity"
)]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        let found = NAMES.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, method)| *method)
            .ok_or_else(|| UnknownMethod(word.to_owned()))
    }
}

/// A member that may be chosen, if it has a free slot.
pub(crate) struct Candidate {
    /// Where it stands in the pool's list.
    pub(crate) place: usize,
    /// Its weight in thousandths, less while it starts slowly. Not 0.
    pub(crate) share: u32,
}

/// Chooses, and remembers what is needed for the next time.
#[derive(Debug)]
pub(crate) struct Chooser {
    method: Method,
    /// Where the next search begins, so that equals take turns.
    cursor: usize,
    random: SplitMix,
}

impl Chooser {
    pub(crate) fn new(method: Method, seed: u64) -> Self {
        Self {
            method,
            cursor: 0,
            random: SplitMix(seed),
        }
    }

    /// One of the candidates that have a free slot, for a request that is about to get it.
    pub(crate) fn choose(
        &mut self,
        backends: &mut [Backend],
        candidates: &[Candidate],
        key: Option<u64>,
    ) -> Option<usize> {
        let has_free_slot = |c: &&Candidate| backends[c.place].has_free_slot();
        let mut free: Vec<_> = candidates.iter().filter(has_free_slot).collect();
        // Of equals, the first after the one that was chosen last.
        let turn = free.partition_point(|c| c.place < self.cursor);
        free.rotate_left(turn);
        let chosen = match (self.method, key) {
            (Method::RoundRobin, _) => round_robin(backends, &free),
            (Method::Random, _) => self.random(&free),
            (Method::TwoRandom, _) => self.two_random(backends, &free),
            (Method::Hash, Some(key)) => hashed(backends, candidates, &free, key, BOUND_PERMILLE),
            (Method::Affinity, Some(key)) => {
                let bound = affinity_bound(backends, candidates);
                hashed(backends, candidates, &free, key, bound)
            }
            (Method::LeastConnections, _) => {
                least(&free, |c| (backends[c.place].load(), u64::from(c.share)))
            }
            (Method::LeastLoaded | Method::Hash | Method::Affinity, _) => {
                least(&free, |c| load(backends, c))
            }
        }?;
        self.cursor = chosen + 1;
        Some(chosen)
    }

    fn random(&mut self, free: &[&Candidate]) -> Option<usize> {
        let sum: u64 = free.iter().map(|c| u64::from(c.share)).sum();
        let mut left = self.random.below(sum)?;
        let found = free.iter().find(|c| {
            let is_it = left < u64::from(c.share);
            left = left.saturating_sub(u64::from(c.share));
            is_it
        });
        found.map(|c| c.place)
    }

    fn two_random(&mut self, backends: &[Backend], free: &[&Candidate]) -> Option<usize> {
        let first = self.random(free)?;
        let others: Vec<_> = free.iter().filter(|c| c.place != first).copied().collect();
        let second = self.random(&others);
        let two = free
            .iter()
            .filter(|c| c.place == first || Some(c.place) == second);
        least(&two.copied().collect::<Vec<_>>(), |c| load(backends, c))
    }
}

/// A load, as requests and what they are divided by.
fn load(backends: &[Backend], candidate: &Candidate) -> (u32, u64) {
    let backend = &backends[candidate.place];
    let capacity = u64::from(backend.slots().get()) * u64::from(candidate.share);
    (backend.load(), capacity)
}

/// The first of those with the smallest load.
fn least(free: &[&Candidate], load: impl Fn(&Candidate) -> (u32, u64)) -> Option<usize> {
    let is_less = |a: &Candidate, b: &Candidate| {
        let ((requests, capacity), (others, their_capacity)) = (load(a), load(b));
        u64::from(requests) * their_capacity < u64::from(others) * capacity
    };
    let best = free
        .iter()
        .copied()
        .reduce(|best, c| if is_less(c, best) { c } else { best });
    best.map(|c| c.place)
}

/// Each saves its share, and the richest pays what all have saved this time.
fn round_robin(backends: &mut [Backend], free: &[&Candidate]) -> Option<usize> {
    let mut sum = 0;
    for candidate in free {
        backends[candidate.place].credit += i64::from(candidate.share);
        sum += i64::from(candidate.share);
    }
    let credit = |c: &Candidate| backends[c.place].credit;
    let best = free
        .iter()
        .copied()
        .reduce(|best, c| if credit(c) > credit(best) { c } else { best })?;
    backends[best.place].credit -= sum;
    Some(best.place)
}

/// The first in the key's order that has no more than its part, or else the first with a free slot.
fn hashed(
    backends: &[Backend],
    group: &[Candidate],
    free: &[&Candidate],
    key: u64,
    bound_permille: u64,
) -> Option<usize> {
    let requests: u64 = group
        .iter()
        .map(|c| u64::from(backends[c.place].load()))
        .sum();
    let shares: u64 = group.iter().map(|c| u64::from(c.share)).sum();
    let is_within = |c: &Candidate| {
        let part = (requests + 1) * u64::from(c.share) * bound_permille;
        let most = part.div_ceil(shares.max(1) * 1000);
        u64::from(backends[c.place].load()) < most
    };
    let rank = |c: &&&Candidate| {
        let distance = distance(key, backends[c.place].id_hash(), c.share);
        (!is_within(c), distance)
    };
    let order = |a: &(bool, f64), b: &(bool, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    let best = free.iter().min_by(|a, b| order(&rank(a), &rank(b)))?;
    Some(best.place)
}

/// How far a member is from a key: an exponential variable of the rate `share`, so that each member is
/// the nearest for its part of the keys.
fn distance(key: u64, member: u64, share: u32) -> f64 {
    let hash = mix(key ^ mix(member));
    let high = u32::try_from(hash >> 32).unwrap_or(u32::MAX);
    let uniform = (f64::from(high) + 0.5) / 4_294_967_296.0;
    -uniform.ln() / f64::from(share)
}

/// How much more than its part a member may have before its keys go elsewhere.
fn affinity_bound(backends: &[Backend], group: &[Candidate]) -> u64 {
    let hits = group.iter().map(|c| backends[c.place].hits_permille());
    let known: Vec<u64> = hits.flatten().map(u64::from).collect();
    if known.is_empty() {
        return BOUND_PERMILLE;
    }
    let misses = 1000 - (known.iter().sum::<u64>() / known.len() as u64).min(1000);
    (BOUND_PERMILLE + 4 * misses).min(AFFINITY_BOUND_PERMILLE_MAX)
}

/// A quarter more than its part: the bound of HAProxy's and Envoy's documentation.
const BOUND_PERMILLE: u64 = 1250;
/// With one miss among five and more, twice its part.
const AFFINITY_BOUND_PERMILLE_MAX: u64 = 2000;

/// Steele and others, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    /// A number below `end`; none below 0.
    fn below(&mut self, end: u64) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // Shares add up to far less than 2^32, so the remainder is as good as even.
        mix(self.0).checked_rem(end)
    }
}

/// Spreads a number over all bits.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The key of some bytes: the same in every balancer and after every restart.
pub fn key_of(bytes: &[u8]) -> u64 {
    // FNV-1a.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}
