//! What a pool is told about a member before it joins.

use std::net::SocketAddr;

use crate::Slots;

/// A member as the configuration names it, or as it announces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its part of the requests, beside those of the others.
    pub weight: Weight,
    /// Members of a tier get requests while all members of lower ones are down: 0 is the first choice,
    /// 1 its backup, and so on.
    pub tier: u8,
    /// How many requests it may have at a time, if that is known. What it announces itself counts more.
    pub slots: Option<Slots>,
}

impl From<SocketAddr> for Member {
    /// A member like any other.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            weight: Weight::default(),
            tier: 0,
            slots: None,
        }
    }
}

/// A member's part of the requests. A member of weight 0 ends what it has and gets nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// The largest.
    pub const MAX: u32 = 1000;

    /// This weight, brought into `0..=Weight::MAX`.
    pub fn new(weight: u32) -> Self {
        Self(weight.min(Self::MAX))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// What a member says about itself with a passed check. What it does not say stays as it is, but for
/// `busy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its number of worker threads.
    pub workers: Option<u32>,
    /// How many of them work: of use where requests do not pass through here. By default none but for those.
    pub busy: Option<u32>,
    /// The last transaction whose changes it has seen.
    pub reached: Option<u64>,
    /// How many of a thousand objects that it needed were in its cache.
    pub hits_permille: Option<u32>,
}
