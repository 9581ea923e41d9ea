use super::*;

fn key(number: u64) -> TransactionKey {
    TransactionKey(number)
}

fn objects(wanted: &[(u64, Intent)]) -> Claim {
    let wanted = wanted.iter().map(|(oid, intent)| (Oid::new(*oid), *intent));
    Claim::Objects(wanted.collect())
}

fn change(oids: &[u64]) -> Claim {
    let wanted: Vec<_> = oids.iter().map(|oid| (*oid, Intent::Change)).collect();
    objects(&wanted)
}

#[test]
fn those_who_touch_different_objects_are_side_by_side() {
    let mut claims = Claims::default();
    assert!(claims.claim(key(1), change(&[1, 2])));
    assert!(claims.claim(key(2), change(&[3])));
    assert!(!claims.claim(key(3), change(&[2, 3])));
    assert_eq!(claims.waiting(), 1);
    assert_eq!(claims.release(key(1)), []);
    assert_eq!(claims.release(key(2)), [key(3)]);
    assert_eq!(claims.waiting(), 0);
    assert_eq!(claims.release(key(3)), []);
    assert!(claims.queues.is_empty() && claims.claims.is_empty());
}

#[test]
fn many_may_rely_on_what_nobody_changes() {
    let rely = objects(&[(1, Intent::Rely)]);
    let mut claims = Claims::default();
    assert!(claims.claim(key(1), rely.clone()));
    assert!(claims.claim(key(2), rely.clone()));
    assert!(!claims.claim(key(3), change(&[1])));
    assert!(!claims.claim(key(4), rely.clone()), "nobody is overtaken");
    assert!(!claims.claim(key(5), rely));
    assert_eq!(claims.release(key(2)), []);
    assert_eq!(claims.release(key(1)), [key(3)]);
    assert_eq!(claims.release(key(3)), [key(4), key(5)]);
}

#[test]
fn everything_is_everything() {
    let mut claims = Claims::default();
    assert!(claims.claim(key(1), change(&[1])));
    assert!(!claims.claim(key(2), Claim::Everything));
    assert!(!claims.claim(key(3), change(&[3])));
    assert!(!claims.claim(key(4), Claim::Everything));
    assert!(!claims.claim(key(5), change(&[3])));
    assert_eq!(claims.release(key(1)), [key(2)]);
    assert_eq!(claims.release(key(2)), [key(3)]);
    assert_eq!(claims.release(key(4)), [], "it has given up");
    assert_eq!(claims.waiting(), 1);
    assert_eq!(claims.release(key(3)), [key(5)]);
}

#[test]
fn who_gives_up_waiting_lets_those_behind_pass() {
    let mut claims = Claims::default();
    assert!(claims.claim(key(1), change(&[1])));
    assert!(!claims.claim(key(2), change(&[1, 2])));
    assert!(!claims.claim(key(3), change(&[2])));
    assert_eq!(claims.release(key(2)), [key(3)]);
    assert_eq!(claims.waiting(), 0);
}

/// Against the plain rule: a claim is held when no earlier one that is still there excludes it.
#[test]
fn the_queues_do_what_the_rule_says() {
    let mut state = 7u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let excludes = |one: &Claim, other: &Claim| match (one, other) {
        (Claim::Objects(these), Claim::Objects(those)) => these.iter().any(|(oid, intent)| {
            let other = those.get(oid);
            other.is_some_and(|other| *intent.max(other) == Intent::Change)
        }),
        _ => true,
    };
    let mut claims = Claims::default();
    let mut model: BTreeMap<u64, (Claim, bool)> = BTreeMap::new();
    let mut most = 0;
    for number in 0..20_000 {
        if random(2) == 0 && model.len() < 12 {
            let claim = match random(10) {
                0 => Claim::Everything,
                _ => {
                    let intent = |value| match value {
                        0 => Intent::Rely,
                        _ => Intent::Change,
                    };
                    let wanted: Vec<_> = (0..random(4))
                        .map(|_| (random(12), intent(random(2))))
                        .collect();
                    objects(&wanted)
                }
            };
            let is_free = !model.values().any(|(other, _)| excludes(&claim, other));
            assert_eq!(claims.claim(key(number), claim.clone()), is_free);
            model.insert(number, (claim, is_free));
        } else if !model.is_empty() {
            let place = usize::try_from(random(model.len() as u64)).unwrap();
            let gone = *model.keys().nth(place).unwrap();
            model.remove(&gone);
            let admitted = claims.release(key(gone));
            let mut expected = Vec::new();
            let numbers: Vec<_> = model.keys().copied().collect();
            for number in numbers {
                let (claim, held) = &model[&number];
                let mut earlier = model.range(..number).map(|(_, (claim, _))| claim);
                if !held && !earlier.any(|other| excludes(claim, other)) {
                    expected.push(key(number));
                }
            }
            assert_eq!(admitted.len(), expected.len());
            for key in expected {
                assert!(admitted.contains(&key));
                model.get_mut(&key.0).unwrap().1 = true;
            }
        }
        let waiting = model.values().filter(|(_, held)| !held).count();
        assert_eq!(claims.waiting(), waiting);
        most = most.max(waiting);
    }
    assert!(most > 5, "something was tried: {most}");
}
