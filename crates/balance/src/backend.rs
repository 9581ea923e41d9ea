//! One backend: its address, its health, and how many requests it has now.

use std::fmt;
use std::net::SocketAddr;

/// Names a backend for as long as its pool lives. A backend that left and came back is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub(crate) u64);

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How many requests a backend works on at a time: its number of worker threads. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slots(u32);

impl Slots {
    /// The most that is believed of a backend's own announcement.
    pub const MAX: u32 = 4096;

    /// This many slots, brought into `1..=Slots::MAX`.
    pub fn new(count: u32) -> Self {
        Self(count.clamp(1, Self::MAX))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// What is known of a backend's health. In order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Its checks pass.
    Up,
    /// Not checked yet since it joined.
    Unknown,
    /// Its checks fail, or it refused a connection.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Unknown => "unknown",
            Self::Down => "down",
        })
    }
}

/// A member of a pool.
#[derive(Clone, Debug)]
pub struct Backend {
    id: BackendId,
    address: SocketAddr,
    health: Health,
    /// Good checks in a row while not up.
    passed: u32,
    /// Failures in a row while not down.
    failed: u32,
    slots: Slots,
    in_flight: u32,
    draining: bool,
}

impl Backend {
    pub(crate) fn new(id: BackendId, address: SocketAddr, slots: Slots) -> Self {
        Self {
            id,
            address,
            health: Health::Unknown,
            passed: 0,
            failed: 0,
            slots,
            in_flight: 0,
            draining: false,
        }
    }

    /// Its name.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is known of its health.
    pub fn health(&self) -> Health {
        self.health
    }

    /// How many requests it works on at a time.
    pub fn slots(&self) -> Slots {
        self.slots
    }

    /// How many requests it has now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether it finishes what it has and gets nothing new.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    pub(crate) fn has_free_slot(&self) -> bool {
        self.in_flight < self.slots.get()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.draining && self.in_flight == 0
    }

    /// Whether of two members of the same health this is the one to choose: among those that are
    /// down one that showed signs of life since, else the less loaded.
    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        let is_silent = |backend: &Self| backend.health == Health::Down && backend.passed == 0;
        match (is_silent(self), is_silent(other)) {
            (mine, theirs) if mine != theirs => theirs,
            _ => self.is_freer_than(other),
        }
    }

    /// Whether it is less loaded than `other`: in flight divided by slots, without the division.
    pub(crate) fn is_freer_than(&self, other: &Self) -> bool {
        let mine = u64::from(self.in_flight) * u64::from(other.slots.get());
        let theirs = u64::from(other.in_flight) * u64::from(self.slots.get());
        mine < theirs
    }

    pub(crate) fn occupy(&mut self) {
        assert!(
            self.has_free_slot(),
            "a backend is never given more requests than it has slots"
        );
        self.in_flight += 1;
    }

    pub(crate) fn vacate(&mut self) {
        self.in_flight = self
            .in_flight
            .checked_sub(1)
            .expect("every release had its grant: grants are unique");
    }

    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn set_slots(&mut self, slots: Slots) {
        self.slots = slots;
    }

    /// A good check. From unknown one is enough; from down it takes `rise` in a row.
    pub(crate) fn pass(&mut self, rise: u32) {
        self.failed = 0;
        self.passed = self.passed.saturating_add(1);
        if self.health == Health::Unknown || self.passed >= rise {
            self.health = Health::Up;
        }
    }

    /// It answered a request. That is as good as a passed check where it is needed.
    pub(crate) fn answer(&mut self, rise: u32) {
        if self.health == Health::Down {
            self.pass(rise);
        }
    }

    /// A failed check or a connection broken in the middle: `fall` in a row take it down.
    pub(crate) fn fail(&mut self, fall: u32) {
        self.passed = 0;
        self.failed = self.failed.saturating_add(1);
        if self.failed >= fall {
            self.health = Health::Down;
        }
    }

    /// It refused a connection: down at once.
    pub(crate) fn eject(&mut self) {
        self.passed = 0;
        self.health = Health::Down;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(slots: u32) -> Backend {
        Backend::new(
            BackendId(1),
            "127.0.0.1:1".parse().unwrap(),
            Slots::new(slots),
        )
    }

    #[test]
    fn slots_are_at_least_one_and_bounded() {
        assert_eq!(Slots::new(0).get(), 1);
        assert_eq!(Slots::new(u32::MAX).get(), Slots::MAX);
    }

    #[test]
    fn one_pass_lets_a_new_member_in_but_a_fallen_one_needs_rise() {
        let mut backend = backend(1);
        backend.pass(2);
        assert_eq!(backend.health(), Health::Up);
        backend.eject();
        backend.pass(2);
        assert_eq!(backend.health(), Health::Down);
        backend.pass(2);
        assert_eq!(backend.health(), Health::Up);
    }

    #[test]
    fn failures_count_only_in_a_row() {
        let mut backend = backend(1);
        backend.pass(2);
        backend.fail(3);
        backend.fail(3);
        backend.pass(2);
        backend.fail(3);
        backend.fail(3);
        assert_eq!(backend.health(), Health::Up);
        backend.fail(3);
        assert_eq!(backend.health(), Health::Down);
    }

    #[test]
    fn load_is_relative_to_slots() {
        let (mut small, mut large) = (backend(2), backend(8));
        small.occupy();
        large.occupy();
        large.occupy();
        assert!(large.is_freer_than(&small));
        assert!(!small.is_freer_than(&large));
    }
}
