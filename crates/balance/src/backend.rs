//! One backend: its address, its health, and how many requests it has now.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::method::key_of;
use crate::{Member, Report, Weight};

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
    address_hash: u64,
    weight: Weight,
    tier: u8,
    health: Health,
    /// Good checks in a row while not up.
    passed: u32,
    /// Failures in a row while not down.
    failed: u32,
    /// Whether it did not even accept a connection when it was tried last.
    refuses: bool,
    /// Since when it is up.
    up_since: Option<Instant>,
    /// Whether its part grows since then, as others carried the load before.
    starts_slowly: bool,
    /// How it is tried while it is down.
    probe: Option<Probe>,
    slots: Slots,
    in_flight: u32,
    /// Requests that came, or will come, by another way: as it said last, and those sent there since.
    elsewhere: u32,
    draining: bool,
    reached: Option<u64>,
    hits_permille: Option<u32>,
    /// What it has saved in a round robin.
    pub(crate) credit: i64,
}

/// A request is tried at a member that is down, after a pause that doubles.
#[derive(Clone, Copy, Debug)]
struct Probe {
    due: Instant,
    pause: Duration,
}

impl Backend {
    pub(crate) fn new(id: BackendId, member: &Member, slots: Slots) -> Self {
        let mut this = Self {
            id,
            address: member.address,
            address_hash: key_of(member.address.to_string().as_bytes()),
            weight: member.weight,
            tier: member.tier,
            health: Health::Unknown,
            passed: 0,
            failed: 0,
            refuses: false,
            up_since: None,
            starts_slowly: false,
            probe: None,
            slots,
            in_flight: 0,
            elsewhere: 0,
            draining: false,
            reached: None,
            hits_permille: None,
            credit: 0,
        };
        this.adopt(member);
        this
    }

    /// Takes over what the configuration says now.
    pub(crate) fn adopt(&mut self, member: &Member) {
        self.weight = member.weight;
        self.tier = member.tier;
        self.draining = false;
        if let Some(slots) = member.slots {
            self.slots = slots;
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

    /// How many requests it has now, with those that users were [sent to it](crate::Pool::recommend) with.
    pub fn load(&self) -> u32 {
        self.in_flight.saturating_add(self.elsewhere)
    }

    /// Its part of the requests.
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// Which choice it is: 0 is the first.
    pub fn tier(&self) -> u8 {
        self.tier
    }

    /// The last transaction whose changes it has seen, if it tells.
    pub fn reached(&self) -> Option<u64> {
        self.reached
    }

    /// How many of a thousand objects it found in its cache, if it tells.
    pub fn hits_permille(&self) -> Option<u32> {
        self.hits_permille
    }

    /// Whether it may get a request that needs to see that transaction. Who does not tell is believed.
    pub(crate) fn has_reached(&self, needed: u64) -> bool {
        self.reached.is_none_or(|reached| reached >= needed)
    }

    pub(crate) fn id_hash(&self) -> u64 {
        self.address_hash
    }

    pub(crate) fn refuses(&self) -> bool {
        self.refuses
    }

    /// Whether it shows no sign of life.
    pub(crate) fn is_silent(&self) -> bool {
        self.health == Health::Down && self.passed == 0
    }

    /// Its weight in thousandths; a part of that while it starts slowly.
    pub(crate) fn share(&self, slow_start: Duration, now: Instant) -> u32 {
        let whole = self.weight.get() * 1000;
        let is_slow = self.starts_slowly && !slow_start.is_zero();
        let Some(up_since) = self.up_since.filter(|_| is_slow) else {
            return whole;
        };
        let part = now.saturating_duration_since(up_since).as_secs_f64() / slow_start.as_secs_f64();
        match SHARE_STEPS.iter().find(|step| part < step.0) {
            Some((_, permille)) => self.weight.get() * permille,
            None => whole,
        }
    }

    /// Whether it is time to try one request.
    pub(crate) fn is_probe_due(&self, now: Instant) -> bool {
        self.in_flight == 0 && self.probe.is_some_and(|probe| probe.due <= now)
    }

    pub(crate) fn has_free_slot(&self) -> bool {
        self.in_flight < self.slots.get()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.draining && self.in_flight == 0
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

    /// A user is sent to it.
    pub(crate) fn recommend(&mut self) {
        self.elsewhere = self.elsewhere.saturating_add(1);
    }

    /// What it said about itself.
    pub(crate) fn hear(&mut self, report: &Report) {
        if let Some(workers) = report.workers {
            self.slots = Slots::new(workers);
        }
        // Who does not say is believed to be done with those that were sent to it before.
        self.elsewhere = report.busy.unwrap_or(0).saturating_sub(self.in_flight);
        self.reached = report.reached.or(self.reached);
        self.hits_permille = report.hits_permille.or(self.hits_permille);
    }

    /// A good check. From unknown one is enough; from down it takes `rise` in a row.
    pub(crate) fn pass(&mut self, rise: u32) {
        self.failed = 0;
        self.refuses = false;
        self.passed = self.passed.saturating_add(1);
        if self.health == Health::Unknown || self.passed >= rise {
            self.health = Health::Up;
            self.probe = None;
        }
    }

    /// It is up from now on. Where others carry the load its part grows.
    pub(crate) fn begin(&mut self, others_carry: bool, now: Instant) {
        self.up_since = Some(now);
        self.starts_slowly = others_carry;
    }

    /// Whether it has been up for so long.
    pub(crate) fn is_up_for(&self, time: Duration, now: Instant) -> bool {
        self.up_since
            .is_some_and(|since| now.saturating_duration_since(since) >= time)
    }

    /// It answered a request. That is as good as a passed check where it is needed.
    pub(crate) fn answer(&mut self, rise: u32) {
        if self.health == Health::Down {
            self.pass(rise);
        }
    }

    /// A failed check or a connection broken in the middle: `fall` in a row take it down.
    pub(crate) fn fail(&mut self, fall: u32, pause: Duration, now: Instant) {
        self.passed = 0;
        self.failed = self.failed.saturating_add(1);
        if self.health == Health::Down || self.failed >= fall {
            self.go_down(pause, now);
        }
    }

    /// A check did not get a connection.
    pub(crate) fn refuse(&mut self) {
        self.refuses = true;
    }

    /// It refused a connection: down at once.
    pub(crate) fn eject(&mut self, pause: Duration, now: Instant) {
        self.passed = 0;
        self.refuses = true;
        self.go_down(pause, now);
    }

    fn go_down(&mut self, pause: Duration, now: Instant) {
        self.health = Health::Down;
        self.up_since = None;
        let pause = match self.probe {
            // What fails before it is due says nothing new.
            Some(probe) if now < probe.due => return,
            Some(probe) => (probe.pause * 2).min(PROBE_PAUSE_MAX),
            None => pause,
        };
        self.probe = Some(Probe {
            due: now + pause,
            pause,
        });
    }
}

/// Up to which part of the slow start it has which part of its weight, in thousandths.
const SHARE_STEPS: [(f64, u32); 5] = [(0.1, 100), (0.3, 200), (0.5, 400), (0.75, 600), (1.0, 800)];
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(slots: u32) -> Backend {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        Backend::new(BackendId(1), &address.into(), Slots::new(slots))
    }

    const PAUSE: Duration = Duration::from_secs(1);

    #[allow(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning of time"
    )]
    fn start() -> Instant {
        Instant::now()
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
        backend.eject(PAUSE, start());
        backend.pass(2);
        assert_eq!(backend.health(), Health::Down);
        backend.pass(2);
        assert_eq!(backend.health(), Health::Up);
    }

    #[test]
    fn failures_count_only_in_a_row() {
        let now = start();
        let mut backend = backend(1);
        backend.pass(2);
        backend.fail(3, PAUSE, now);
        backend.fail(3, PAUSE, now);
        backend.pass(2);
        backend.fail(3, PAUSE, now);
        backend.fail(3, PAUSE, now);
        assert_eq!(backend.health(), Health::Up);
        backend.fail(3, PAUSE, now);
        assert_eq!(backend.health(), Health::Down);
    }

    #[test]
    fn who_is_down_is_tried_after_pauses_that_double() {
        let start = start();
        let mut backend = backend(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        backend.eject(PAUSE, start);
        assert!(!backend.is_probe_due(start));
        assert!(backend.is_probe_due(at(1)));
        backend.occupy();
        assert!(!backend.is_probe_due(at(1)), "one at a time");
        backend.vacate();
        backend.eject(PAUSE, at(1));
        // A check that fails in the meantime says nothing new.
        backend.fail(3, PAUSE, at(2));
        assert!(!backend.is_probe_due(at(2)));
        assert!(backend.is_probe_due(at(3)));
        for round in 0..20 {
            backend.fail(3, PAUSE, at(100 * (round + 1)));
        }
        assert!(!backend.is_probe_due(at(2000 + 59)));
        assert!(backend.is_probe_due(at(2000 + 60)));
        backend.pass(1);
        assert!(!backend.is_probe_due(at(5000)), "it is up");
    }

    #[test]
    fn a_slow_start_ends() {
        let start = start();
        let mut backend = backend(1);
        let slow = Duration::from_secs(10);
        assert_eq!(backend.share(slow, start), 100_000);
        backend.begin(true, start);
        let shares: Vec<u32> = (0..=10)
            .map(|seconds| backend.share(slow, start + Duration::from_secs(seconds)))
            .collect();
        assert_eq!(shares[0], 10_000);
        assert!(shares.is_sorted());
        assert_eq!(shares[10], 100_000);
        assert_eq!(backend.share(Duration::ZERO, start + PAUSE), 100_000);
        backend.begin(false, start);
        assert_eq!(backend.share(slow, start), 100_000, "there is nobody else");
    }
}
