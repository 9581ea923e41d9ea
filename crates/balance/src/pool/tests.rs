use std::time::Duration;

use super::*;
use crate::Weight;

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

/// The ports that so many requests come to, each of which ends before the next.
fn ports(pool: &mut Pool, requests: usize, demand: &Demand, now: Instant) -> Vec<u16> {
    let mut ports = Vec::new();
    for _ in 0..requests {
        let grant = granted(pool.admit(demand.clone(), now));
        ports.push(grant.address().port());
        pool.release(grant, Outcome::Completed, now);
    }
    ports
}

fn pool_with(settings: Settings, members: &[Member], now: Instant) -> Pool {
    let mut pool = Pool::new(settings);
    pool.set_members(members, now);
    for id in pool.backends().iter().map(Backend::id).collect::<Vec<_>>() {
        pool.check_passed(id, &Report::default(), now);
    }
    while pool.poll_event().is_some() {}
    pool
}

fn with_weights(method: Method, weights: &[u32], slots: u32, now: Instant) -> Pool {
    let members: Vec<Member> = (1..)
        .zip(weights)
        .map(|(port, weight)| Member {
            weight: Weight::new(*weight),
            ..address(port).into()
        })
        .collect();
    let settings = Settings {
        slots: Slots::new(slots),
        method,
        slow_start: Duration::ZERO,
        ..Settings::default()
    };
    pool_with(settings, &members, now)
}

fn usual(now: Instant) -> Demand {
    Demand::first(now + Duration::from_secs(10))
}

#[test]
fn a_round_robin_spreads_weights_evenly() {
    let now = start();
    let mut pool = with_weights(Method::RoundRobin, &[3, 1, 2], 4, now);
    let ports = ports(&mut pool, 6, &usual(now), now);
    // The order of the smooth weighted round robin, in which nobody comes three times in a row.
    assert_eq!(ports, [1, 3, 1, 2, 3, 1]);
}

#[test]
fn random_choices_have_the_parts_of_the_weights() {
    let now = start();
    for method in [Method::Random, Method::TwoRandom] {
        let mut pool = with_weights(method, &[10, 30, 60], 4, now);
        let ports = ports(&mut pool, 6_000, &usual(now), now);
        let part = |port| ports.iter().filter(|p| **p == port).count();
        let parts = [part(1), part(2), part(3)];
        assert!(parts.is_sorted(), "{method}: {parts:?}");
        assert!(method != Method::Random || (500..700).contains(&parts[0]));
        assert!(parts[0] > 300, "{method}: {parts:?}");
    }
}

#[test]
fn of_two_the_less_loaded_is_taken() {
    let now = start();
    let mut pool = with_weights(Method::TwoRandom, &[100, 100], 8, now);
    let held: Vec<_> = (0..16).map(|_| granted(ask(&mut pool, now))).collect();
    for pair in held.chunks(2) {
        assert_ne!(pair[0].address(), pair[1].address());
    }
}

#[test]
fn connections_count_without_slots_where_that_is_asked() {
    let now = start();
    let mut pool = with_weights(Method::LeastConnections, &[100, 100], 2, now);
    let large = pool.backends()[1].id();
    pool.check_passed(large, &workers(8), now);
    let ports: Vec<_> = (0..4)
        .map(|_| granted(ask(&mut pool, now)).address().port())
        .collect();
    assert_eq!(ports, [1, 2, 1, 2]);
}

/// The member of each of many keys.
fn homes(pool: &mut Pool, now: Instant) -> Vec<u16> {
    (0..1000u64)
        .map(|n| {
            let demand = Demand {
                key: Some(crate::key_of(&n.to_le_bytes())),
                ..usual(now)
            };
            ports(pool, 1, &demand, now)[0]
        })
        .collect()
}

#[test]
fn only_the_keys_of_a_member_that_leaves_move() {
    let now = start();
    for method in [Method::Hash, Method::Affinity] {
        let mut pool = with_weights(method, &[100, 100, 200], 4, now);
        let before = homes(&mut pool, now);
        let part = |port| before.iter().filter(|p| **p == port).count();
        assert!((180..320).contains(&part(1)), "{}", part(1));
        assert!((420..580).contains(&part(3)), "{}", part(3));
        assert_eq!(before, homes(&mut pool, now), "a key has a home");
        let stay: Vec<Member> = (1..)
            .zip([100, 100])
            .map(|(port, weight)| Member {
                weight: Weight::new(weight),
                ..address(port).into()
            })
            .collect();
        pool.set_members(&stay, now);
        let after = homes(&mut pool, now);
        for (before, after) in before.iter().zip(after) {
            assert!(*before == after || *before == 3);
        }
    }
}

#[test]
fn a_key_that_everybody_asks_for_is_shared() {
    let now = start();
    let demand = Demand {
        key: Some(7),
        ..usual(now)
    };
    let at_home = |pool: &mut Pool| {
        let held: Vec<_> = (0..12)
            .map(|_| granted(pool.admit(demand.clone(), now)))
            .collect();
        let home = held[0].address();
        let count = held.iter().filter(|g| g.address() == home).count();
        for grant in held {
            pool.release(grant, Outcome::Completed, now);
        }
        count
    };
    let mut pool = with_weights(Method::Affinity, &[100; 3], 100, now);
    let known = at_home(&mut pool);
    assert_eq!(known, 5, "a quarter more than 4 of 12");
    for id in pool.backends().iter().map(Backend::id).collect::<Vec<_>>() {
        let cold = Report {
            hits_permille: Some(500),
            ..Report::default()
        };
        pool.check_passed(id, &cold, now);
    }
    assert_eq!(at_home(&mut pool), 8, "twice as many where misses are dear");
}

#[test]
fn a_backup_works_while_the_others_are_down() {
    let now = start();
    let backup = Member {
        tier: 1,
        ..address(2).into()
    };
    let members = [address(1).into(), backup];
    let mut pool = pool_with(Settings::default(), &members, now);
    assert_eq!(ports(&mut pool, 3, &usual(now), now), [1, 1, 1]);
    let first = pool.backends()[0].id();
    for _ in 0..3 {
        pool.check_failed(first, now);
    }
    assert_eq!(ports(&mut pool, 3, &usual(now), now), [2, 2, 2]);
}

#[test]
fn a_member_without_weight_gets_nothing() {
    let now = start();
    let mut pool = with_weights(Method::LeastLoaded, &[0, 100], 4, now);
    assert_eq!(ports(&mut pool, 3, &usual(now), now), [2, 2, 2]);
    let mut pool = with_weights(Method::LeastLoaded, &[0], 4, now);
    assert_eq!(ask(&mut pool, now), Admission::Refused(Refusal::NoBackends));
}

#[test]
fn who_comes_back_gets_little_at_first() {
    let now = start();
    let mut pool = pool(2, 100, now);
    let id = pool.backends()[0].id();
    let now = now + Duration::from_secs(60);
    for _ in 0..3 {
        pool.check_failed(id, now);
    }
    let held: Vec<_> = (0..50).map(|_| granted(ask(&mut pool, now))).collect();
    for _ in 0..2 {
        pool.check_passed(id, &Report::default(), now);
    }
    let mut part = |at| {
        let held: Vec<_> = (0..50).map(|_| granted(ask(&mut pool, at))).collect();
        let part = held.iter().filter(|g| g.backend() == id).count();
        for grant in held {
            pool.release(grant, Outcome::Completed, at);
        }
        part
    };
    let (early, late) = (part(now), part(now + Duration::from_secs(60)));
    assert!((5..12).contains(&early), "{early}");
    assert_eq!(late, 50, "it catches up");
    assert_eq!(held.len(), 50);
}

#[test]
fn most_of_all_failing_at_once_is_not_believed() {
    let now = start();
    let mut pool = pool(5, 4, now);
    let ids: Vec<_> = pool.backends().iter().map(Backend::id).collect();
    for id in &ids[..2] {
        (0..3).for_each(|_| pool.check_failed(*id, now));
    }
    let used = ports(&mut pool, 10, &usual(now), now);
    assert!(used.iter().all(|port| *port > 2), "two of five are down");
    (0..3).for_each(|_| pool.check_failed(ids[2], now));
    let used = ports(&mut pool, 10, &usual(now), now);
    for port in 1..=5 {
        assert!(used.contains(&port), "three of five: nobody is left out");
    }
    // Who refuses connections is of no use in any case.
    pool.check_refused(ids[1], now);
    let refused = loop {
        let grant = granted(ask(&mut pool, now));
        if grant.backend() == ids[0] {
            break grant;
        }
        pool.release(grant, Outcome::Unknown, now);
    };
    pool.release(refused, Outcome::ConnectFailed, now);
    let used = ports(&mut pool, 10, &usual(now), now);
    assert!(!used.contains(&1) && !used.contains(&2));
    assert!(used.contains(&3));
}

#[test]
fn one_request_is_tried_where_all_was_down() {
    let now = start();
    let mut pool = pool(2, 4, now);
    let grant = granted(ask(&mut pool, now));
    let ejected = grant.backend();
    pool.release(grant, Outcome::ConnectFailed, now);
    let later = now + Duration::from_secs(1);
    let may_probe = Demand {
        may_probe: true,
        ..usual(later)
    };
    assert_ne!(
        granted(ask(&mut pool, later)).backend(),
        ejected,
        "no write"
    );
    let probe = granted(pool.admit(may_probe.clone(), later));
    assert_eq!(probe.backend(), ejected);
    assert_ne!(
        granted(pool.admit(may_probe.clone(), later)).backend(),
        ejected,
        "one at a time"
    );
    pool.release(probe, Outcome::Completed, later);
    let again = granted(pool.admit(may_probe, later));
    assert_eq!(again.backend(), ejected, "two good answers bring it back");
    pool.release(again, Outcome::Completed, later);
    assert!(pool.backends().iter().all(|b| b.health() == Health::Up));
}

#[test]
fn lower_classes_wait_less() {
    let now = start();
    let mut pool = pool(1, 1, now);
    let mut grant = granted(ask(&mut pool, now));
    let mut wait = |class| {
        queued(pool.admit(
            Demand {
                class,
                ..usual(now)
            },
            now,
        ))
    };
    let tickets = [wait(100), wait(200), wait(0), wait(100), wait(0)];
    for turn in [2, 4, 0, 3, 1] {
        pool.release(grant, Outcome::Completed, now);
        let Some(Event::Granted(ticket, next)) = pool.poll_event() else {
            panic!("somebody waits");
        };
        assert_eq!(ticket, tickets[turn]);
        grant = next;
    }
}

#[test]
fn a_session_stays_with_its_member_until_that_is_down() {
    let now = start();
    let mut pool = pool(3, 1, now);
    let demand = Demand {
        session: Some(address(2)),
        ..usual(now)
    };
    assert_eq!(ports(&mut pool, 3, &demand, now), [2, 2, 2]);
    let busy = granted(pool.admit(demand.clone(), now));
    let waits = queued(pool.admit(demand.clone(), now));
    // Others need not wait behind it.
    assert_ne!(granted(ask(&mut pool, now)).address(), address(2));
    pool.release(busy, Outcome::ConnectFailed, now);
    let down = pool.poll_event();
    assert_eq!(down, Some(Event::HealthChanged(address(2), Health::Down)));
    let moved = pool.poll_event();
    assert!(
        matches!(&moved, Some(Event::Granted(t, g)) if *t == waits && g.address() != address(2)),
        "{moved:?}"
    );
}

#[test]
fn who_wrote_reads_where_it_can_be_seen() {
    let now = start();
    let mut pool = pool(2, 4, now);
    let ids: Vec<_> = pool.backends().iter().map(Backend::id).collect();
    let reached = |tid| Report {
        reached: Some(tid),
        ..Report::default()
    };
    pool.check_passed(ids[0], &reached(10), now);
    pool.check_passed(ids[1], &reached(12), now);
    let needs = |tid| Demand {
        needs: tid,
        ..usual(now)
    };
    assert_eq!(ports(&mut pool, 3, &needs(11), now), [2, 2, 2]);
    let waits = queued(pool.admit(needs(13), now));
    pool.check_passed(ids[0], &reached(13), now);
    let granted = pool.poll_event();
    assert!(
        matches!(&granted, Some(Event::Granted(t, g)) if *t == waits && g.backend() == ids[0]),
        "{granted:?}"
    );
}

#[test]
fn methods_have_names() {
    for method in ["least-loaded", "round-robin", "affinity", "hash"] {
        assert_eq!(method.parse::<Method>().unwrap().to_string(), method);
    }
    let error = "leastconn".parse::<Method>().unwrap_err().to_string();
    assert!(error.contains("least-connections"), "{error}");
}
