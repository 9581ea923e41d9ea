use std::time::Duration;

use super::*;

mod choosing;

#[allow(
    clippy::disallowed_methods,
    reason = "any instant will do as the beginning of time"
)]
fn start() -> Instant {
    Instant::now()
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], n))
}

fn members_at(ports: impl IntoIterator<Item = u16>) -> Vec<Member> {
    ports.into_iter().map(|port| address(port).into()).collect()
}

fn pool(members: u16, slots: u32, now: Instant) -> Pool {
    let mut pool = Pool::new(Settings {
        slots: Slots::new(slots),
        ..Settings::default()
    });
    pool.set_members(&members_at(1..=members), now);
    for id in pool.backends().iter().map(Backend::id).collect::<Vec<_>>() {
        pool.check_passed(id, &Report::default(), now);
    }
    while pool.poll_event().is_some() {}
    pool
}

fn ask(pool: &mut Pool, now: Instant) -> Admission {
    pool.admit(Demand::first(now + Duration::from_secs(10)), now)
}

fn granted(admission: Admission) -> Grant {
    match admission {
        Admission::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

fn queued(admission: Admission) -> Ticket {
    match admission {
        Admission::Queued(ticket) => ticket,
        other => panic!("not queued: {other:?}"),
    }
}

#[test]
fn equals_take_turns() {
    let now = start();
    let mut pool = pool(3, 4, now);
    let mut ports = Vec::new();
    for _ in 0..6 {
        let grant = granted(ask(&mut pool, now));
        ports.push(grant.address().port());
        pool.release(grant, Outcome::Completed, now);
    }
    assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn the_least_loaded_is_chosen() {
    let now = start();
    let mut pool = pool(2, 4, now);
    let first = granted(ask(&mut pool, now));
    let second = granted(ask(&mut pool, now));
    assert_ne!(first.address(), second.address());
    let freed = second.address();
    pool.release(second, Outcome::Completed, now);
    assert_eq!(granted(ask(&mut pool, now)).address(), freed);
    assert_eq!(first.address().port(), 1);
}

#[test]
fn a_freed_slot_goes_to_the_oldest_waiter() {
    let now = start();
    let mut pool = pool(1, 1, now);
    let grant = granted(ask(&mut pool, now));
    let first = queued(ask(&mut pool, now));
    let second = queued(ask(&mut pool, now));
    pool.release(grant, Outcome::Completed, now);
    let Some(Event::Granted(ticket, grant)) = pool.poll_event() else {
        panic!("nobody's turn")
    };
    assert_eq!(ticket, first);
    assert_eq!(pool.poll_event(), None);
    assert!(pool.cancel(second));
    pool.release(grant, Outcome::Completed, now);
    assert_eq!(pool.poll_event(), None);
    assert_eq!(pool.backends()[0].in_flight(), 0);
}

#[test]
fn a_waiter_is_refused_at_its_deadline_and_never_granted_after() {
    let now = start();
    let mut pool = pool(1, 1, now);
    let grant = granted(ask(&mut pool, now));
    let ticket = queued(ask(&mut pool, now));
    let late = now + Duration::from_secs(10);
    assert_eq!(pool.poll_timeout(), Some(late));
    pool.release(grant, Outcome::Completed, late);
    assert_eq!(
        pool.poll_event(),
        Some(Event::Refused(ticket, Refusal::DeadlinePassed))
    );
    assert_eq!(pool.poll_event(), None);
}

#[test]
fn the_queue_is_bounded() {
    let now = start();
    let mut pool = Pool::new(Settings {
        slots: Slots::new(1),
        waiting_max: 1,
        ..Settings::default()
    });
    pool.set_members(&members_at([1]), now);
    let _grant = granted(ask(&mut pool, now));
    let _ticket = queued(ask(&mut pool, now));
    assert_eq!(ask(&mut pool, now), Admission::Refused(Refusal::QueueFull));
}

#[test]
fn a_backend_that_refuses_connections_is_left_alone_until_checks_pass() {
    let now = start();
    let mut pool = pool(2, 4, now);
    let grant = granted(ask(&mut pool, now));
    let (ejected, dead) = (grant.backend(), grant.address());
    pool.release(grant, Outcome::ConnectFailed, now);
    assert_eq!(
        pool.poll_event(),
        Some(Event::HealthChanged(dead, Health::Down))
    );
    for _ in 0..4 {
        assert_ne!(granted(ask(&mut pool, now)).backend(), ejected);
    }
    let _waits = queued(ask(&mut pool, now));
    pool.check_passed(ejected, &Report::default(), now);
    assert_eq!(pool.poll_event(), None, "one pass is not enough");
    pool.check_passed(ejected, &Report::default(), now);
    assert_eq!(
        pool.poll_event(),
        Some(Event::HealthChanged(dead, Health::Up))
    );
    assert!(
        matches!(pool.poll_event(), Some(Event::Granted(_, grant)) if grant.backend() == ejected)
    );
}

#[test]
fn when_all_are_down_all_are_tried() {
    let now = start();
    let mut pool = pool(3, 1, now);
    for id in pool.backends().iter().map(Backend::id).collect::<Vec<_>>() {
        for _ in 0..3 {
            pool.check_failed(id, now);
        }
    }
    assert!(pool.backends().iter().all(|b| b.health() == Health::Down));
    let mut ports: Vec<u16> = (0..3)
        .map(|_| granted(ask(&mut pool, now)).address().port())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
}

#[test]
fn a_retry_never_meets_the_same_backend() {
    let now = start();
    let mut pool = pool(3, 4, now);
    let mut tried = Vec::new();
    for _ in 0..3 {
        let demand = Demand {
            tried: tried.clone(),
            was_sent: true,
            ..Demand::first(now + Duration::from_secs(1))
        };
        let grant = granted(pool.admit(demand, now));
        assert!(!tried.contains(&grant.backend()));
        tried.push(grant.backend());
        pool.release(grant, Outcome::Broken, now);
    }
    let demand = Demand {
        tried,
        was_sent: true,
        ..Demand::first(now + Duration::from_secs(1))
    };
    assert_eq!(
        pool.admit(demand, now),
        Admission::Refused(Refusal::Exhausted)
    );
}

#[test]
fn a_retry_waits_at_the_front() {
    let now = start();
    let mut pool = pool(2, 1, now);
    let (a, b) = (granted(ask(&mut pool, now)), granted(ask(&mut pool, now)));
    let ordinary = queued(ask(&mut pool, now));
    let demand = Demand {
        tried: vec![a.backend()],
        was_sent: true,
        ..Demand::first(now + Duration::from_secs(1))
    };
    let retry = queued(pool.admit(demand, now));
    pool.release(b, Outcome::Completed, now);
    assert!(matches!(pool.poll_event(), Some(Event::Granted(ticket, _)) if ticket == retry));
    pool.release(a, Outcome::Completed, now);
    assert!(matches!(pool.poll_event(), Some(Event::Granted(ticket, _)) if ticket == ordinary));
}

#[test]
fn a_member_taken_away_ends_its_requests_first() {
    let now = start();
    let mut pool = pool(2, 2, now);
    let grant = granted(ask(&mut pool, now));
    assert_eq!(grant.address(), address(1));
    pool.set_members(&members_at([2]), now);
    assert_eq!(pool.backends().len(), 2);
    for _ in 0..2 {
        assert_eq!(granted(ask(&mut pool, now)).address(), address(2));
    }
    let _waits = queued(ask(&mut pool, now));
    pool.release(grant, Outcome::Completed, now);
    assert_eq!(pool.backends().len(), 1);
    assert_eq!(
        pool.poll_event(),
        None,
        "a draining member's slot is nobody's"
    );
}

#[test]
fn a_member_that_is_named_again_while_it_drains_stays() {
    let now = start();
    let mut pool = pool(1, 1, now);
    let grant = granted(ask(&mut pool, now));
    pool.set_members(&[], now);
    assert_eq!(ask(&mut pool, now), Admission::Refused(Refusal::NoBackends));
    pool.set_members(&members_at([1]), now);
    // It has one request, and no slot for another.
    let ticket = queued(ask(&mut pool, now));
    pool.release(grant, Outcome::Completed, now);
    assert!(matches!(pool.poll_event(), Some(Event::Granted(t, _)) if t == ticket));
    assert_eq!(pool.backends().len(), 1);
}

fn workers(count: u32) -> Report {
    Report {
        workers: Some(count),
        ..Report::default()
    }
}

#[test]
fn announced_workers_are_the_slots() {
    let now = start();
    let mut pool = pool(1, 1, now);
    let _grant = granted(ask(&mut pool, now));
    let ticket = queued(ask(&mut pool, now));
    let id = pool.backends()[0].id();
    pool.check_passed(id, &workers(2), now);
    assert!(matches!(pool.poll_event(), Some(Event::Granted(t, _)) if t == ticket));
    let _waits = queued(ask(&mut pool, now));
    pool.check_passed(id, &workers(1), now);
    assert_eq!(
        pool.poll_event(),
        None,
        "two in flight, one slot: nobody more"
    );
}

#[test]
fn a_checked_member_is_preferred_to_one_that_has_just_joined() {
    let now = start();
    let mut pool = pool(1, 4, now);
    pool.set_members(&members_at([1, 2]), now);
    for _ in 0..4 {
        assert_eq!(granted(ask(&mut pool, now)).address(), address(1));
    }
}

#[test]
fn retries_stop_when_the_budget_is_spent() {
    let now = start();
    let mut pool = pool(2, 1000, now);
    let tried = vec![pool.backends()[0].id()];
    let mut retries = 0;
    loop {
        let demand = Demand {
            tried: tried.clone(),
            was_sent: true,
            ..Demand::first(now + Duration::from_secs(1))
        };
        match pool.admit(demand, now) {
            Admission::Granted(_) => retries += 1,
            other => {
                assert_eq!(other, Admission::Refused(Refusal::BudgetSpent));
                break;
            }
        }
    }
    assert_eq!(retries, crate::budget::RETRY_RESERVE_MAX);
}

/// Two are dead and one has come back, all are still held for down: the one that answers carries
/// everybody until the checks see it.
#[test]
fn when_all_are_down_the_one_that_answers_is_found_and_kept() {
    let now = start();
    let mut pool = pool(3, 8, now);
    for id in pool.backends().iter().map(Backend::id).collect::<Vec<_>>() {
        for _ in 0..3 {
            pool.check_failed(id, now);
        }
    }
    let alive = address(2);
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut tried = Vec::new();
        loop {
            let demand = Demand {
                tried: tried.clone(),
                was_sent: false,
                ..Demand::first(now + Duration::from_secs(1))
            };
            let grant = granted(pool.admit(demand, now));
            tried.push(grant.backend());
            if grant.address() == alive {
                pool.release(grant, Outcome::Completed, now);
                break;
            }
            pool.release(grant, Outcome::ConnectFailed, now);
            refused += 1;
        }
    }
    assert!(refused <= 2, "each dead member is met once, not {refused}");
}
