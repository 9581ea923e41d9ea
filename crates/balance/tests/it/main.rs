//! Any sequence of events: no slot is lost, none is used twice, and nobody is passed in the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use balance::{
    Admission, BackendId, Demand, Event, Grant, Member, Method, Outcome, Pool, Report, Settings,
    Slots, Ticket,
};
use proptest::prelude::*;

const SLOTS: u32 = 2;
const WAIT: Duration = Duration::from_secs(10);
const METHODS: &[Method] = &[
    Method::LeastLoaded,
    Method::LeastConnections,
    Method::RoundRobin,
    Method::Random,
    Method::TwoRandom,
    Method::Hash,
    Method::Affinity,
];

#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// Ends the nth running request.
    Finish(usize, Outcome),
    /// The nth waiter hangs up.
    HangUp(usize),
    Check(usize, bool),
    /// Bit n: member n is in the list.
    Members(u8),
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Completed),
        1 => Just(Outcome::ConnectFailed),
        1 => Just(Outcome::Broken),
        1 => Just(Outcome::Unknown),
    ];
    prop_oneof![
        6 => Just(Step::Ask),
        6 => (any::<usize>(), outcome).prop_map(|(n, outcome)| Step::Finish(n, outcome)),
        1 => any::<usize>().prop_map(Step::HangUp),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, good)| Step::Check(n, good)),
        1 => (0u8..16).prop_map(Step::Members),
        1 => (0u64..4).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
    ]
}

struct World {
    pool: Pool,
    now: Instant,
    running: Vec<Grant>,
    waiting: Vec<Ticket>,
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning of time"
    )]
    fn new(method: Method) -> Self {
        let settings = Settings {
            slots: Slots::new(SLOTS),
            method,
            // What is free is judged by health alone.
            panic_percent: 0,
            ..Settings::default()
        };
        let mut pool = Pool::new(settings);
        let now = Instant::now();
        pool.set_members(&members(0b0111), now);
        Self {
            pool,
            now,
            running: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn demand(&self) -> Demand {
        Demand {
            key: Some(self.running.len() as u64),
            ..Demand::first(self.now + WAIT)
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Ask => match self.pool.admit(self.demand(), self.now) {
                Admission::Granted(grant) => {
                    assert!(self.waiting.is_empty(), "a newcomer passed those who wait");
                    self.running.push(grant);
                }
                Admission::Queued(ticket) => self.waiting.push(ticket),
                Admission::Refused(_) => {
                    assert!(self.pool.backends().iter().all(|b| b.is_draining()))
                }
            },
            Step::Finish(n, outcome) if !self.running.is_empty() => {
                let grant = self.running.swap_remove(n % self.running.len());
                self.pool.release(grant, outcome, self.now);
            }
            Step::HangUp(n) if !self.waiting.is_empty() => {
                let ticket = self.waiting.remove(n % self.waiting.len());
                assert!(self.pool.cancel(ticket));
                assert!(!self.pool.cancel(ticket));
            }
            Step::Check(n, good) if !self.pool.backends().is_empty() => {
                let id = self.pool.backends()[n % self.pool.backends().len()].id();
                if good {
                    self.pool.check_passed(id, &Report::default(), self.now);
                } else {
                    self.pool.check_failed(id, self.now);
                }
            }
            Step::Members(mask) => self.pool.set_members(&members(mask), self.now),
            Step::Pass(time) => {
                self.now += time;
                self.pool.handle_timeout(self.now);
            }
            _ => {}
        }
        self.drain();
        self.check();
    }

    fn drain(&mut self) {
        while let Some(event) = self.pool.poll_event() {
            match event {
                Event::Granted(ticket, grant) => {
                    assert_eq!(self.waiting.remove(0), ticket, "first in, first out");
                    self.running.push(grant);
                }
                Event::Refused(ticket, _) => {
                    assert_eq!(
                        self.waiting.remove(0),
                        ticket,
                        "deadlines pass in order of arrival"
                    );
                }
                Event::HealthChanged(..) => {}
            }
        }
    }

    fn check(&self) {
        let mut held: BTreeMap<BackendId, u32> = BTreeMap::new();
        for grant in &self.running {
            *held.entry(grant.backend()).or_default() += 1;
        }
        for backend in self.pool.backends() {
            let expected = held.remove(&backend.id()).unwrap_or(0);
            assert_eq!(backend.in_flight(), expected, "the pool counts what is out");
            assert!(expected <= SLOTS, "a backend has more requests than slots");
        }
        assert!(held.is_empty(), "a backend left while it had requests");
        assert_eq!(self.pool.waiting(), self.waiting.len());
        let best = self
            .pool
            .backends()
            .iter()
            .filter(|b| !b.is_draining())
            .map(|b| b.health())
            .min();
        let idle = self.pool.backends().iter().any(|b| {
            !b.is_draining() && Some(b.health()) == best && b.in_flight() < b.slots().get()
        });
        assert!(
            !idle || self.waiting.is_empty(),
            "somebody waits beside a free slot"
        );
    }
}

fn members(mask: u8) -> Vec<Member> {
    (0..4u16)
        .filter(|n| mask & (1 << n) != 0)
        .map(|n| SocketAddr::from(([127, 0, 0, 1], 8101 + n)).into())
        .collect()
}

proptest! {
    #[test]
    fn slots_and_queue_hold_under_any_sequence(
        steps in prop::collection::vec(step(), 1..200),
        method in prop::sample::select(METHODS),
    ) {
        let mut world = World::new(method);
        for step in steps {
            world.run(step);
        }
        // In the end everything is given back, and nothing stays behind.
        world.pool.set_members(&members(0b0001), world.now);
        world.drain();
        while let Some(grant) = world.running.pop() {
            world.pool.release(grant, Outcome::Completed, world.now);
            world.drain();
            world.check();
        }
        prop_assert_eq!(world.pool.waiting(), 0);
        prop_assert_eq!(world.pool.backends().len(), 1);
        prop_assert_eq!(world.pool.backends()[0].in_flight(), 0);
    }

    #[test]
    fn all_members_work(count in 1u16..12, slots in 1u32..6) {
        let mut world = World::new(Method::LeastLoaded);
        let all: Vec<Member> =
            (0..count).map(|n| SocketAddr::from(([127, 0, 0, 1], 9000 + n)).into()).collect();
        world.pool = Pool::new(Settings { slots: Slots::new(slots), ..Settings::default() });
        world.pool.set_members(&all, world.now);
        let mut used = BTreeSet::new();
        for _ in 0..count {
            let demand = Demand::first(world.now + WAIT);
            let Admission::Granted(grant) = world.pool.admit(demand, world.now) else {
                return Err(TestCaseError::fail("there are free slots"));
            };
            used.insert(grant.address());
            world.running.push(grant);
        }
        prop_assert_eq!(used.len(), usize::from(count));
    }
}
