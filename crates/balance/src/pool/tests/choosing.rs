//! Which member gets a request.

use super::*;
use crate::Weight;

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

#[test]
fn users_are_sent_to_the_least_loaded_as_it_says() {
    let now = start();
    let mut pool = pool(2, 4, now);
    let ids: Vec<_> = pool.backends().iter().map(Backend::id).collect();
    let busy = |busy| Report {
        busy: Some(busy),
        ..Report::default()
    };
    let send = |pool: &mut Pool| pool.recommend(&usual(now), now).unwrap().port();
    let ports: Vec<_> = (0..20).map(|_| send(&mut pool)).collect();
    assert_eq!(ports[..4], [1, 2, 1, 2], "nobody waits");
    pool.check_passed(ids[0], &busy(0), now);
    pool.check_passed(ids[1], &busy(3), now);
    let ports: Vec<_> = (0..4).map(|_| send(&mut pool)).collect();
    assert_eq!(ports, [1, 1, 1, 2], "those sent since count as well");
    pool.set_members(&[], now);
    assert_eq!(pool.recommend(&usual(now), now), None);
}
