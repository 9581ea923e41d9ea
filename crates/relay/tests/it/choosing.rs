//! Which member a connection gets.

use super::*;

#[tokio::test]
async fn who_refuses_is_passed_over_and_the_next_group_is_for_when_all_do() {
    let (second, _serving) = named("second").await;
    let (backup, _serving_too) = named("backup").await;
    let member = |address: SocketAddr, tier: u8| Member {
        tier,
        ..Member::from(address)
    };
    let refusing = closed_port().await;
    let relay = Relay::start(Options {
        members: vec![member(refusing, 0), member(second, 0), member(backup, 1)],
        ..Options::default()
    });
    for _ in 0..4 {
        assert_eq!(relay.who().await, "second");
    }
    let relay = Relay::start(Options {
        members: vec![member(refusing, 0), member(backup, 1)],
        ..Options::default()
    });
    assert_eq!(relay.who().await, "backup");
}

#[tokio::test]
async fn where_nobody_can_be_reached_the_connection_is_reset() {
    let relay = Relay::to(&[closed_port().await, closed_port().await]);
    let mut stream = relay.connect().await;
    let error = in_time(stream.read(&mut [0]))
        .await
        .expect_err("no plain end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_member_with_the_fewest_connections_is_chosen() {
    let (first, _serving) = named("first").await;
    let (second, _serving_too) = named("second").await;
    let relay = Relay::to(&[first, second]);
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(relay.connect().await);
    }
    // They are carried one after the other, but not at once.
    let counts = || {
        let members = relay.handle.members();
        members
            .iter()
            .map(|member| member.in_flight())
            .collect::<Vec<_>>()
    };
    in_time(async {
        while counts().iter().sum::<u32>() < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(counts(), [5, 5]);
    drop(open);
    in_time(async {
        while counts() != [0, 0] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn by_hash_a_user_stays_with_a_member() {
    let mut members = Vec::new();
    for name in ["a", "b", "c", "d"] {
        members.push(named(name).await.0.into());
    }
    let relay = Relay::start(Options {
        members,
        method: Method::Hash,
        ..Options::default()
    });
    let mut seen = std::collections::BTreeSet::new();
    for user in 1..=12_u8 {
        let ask = async || {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            let from = SocketAddr::from(([127, 0, 0, user], 0));
            socket.bind(from).expect("the address is local");
            let mut stream = socket.connect(relay.address).await.expect("accepted");
            stream.shutdown().await.expect("our side ends");
            let mut name = String::new();
            in_time(stream.read_to_string(&mut name))
                .await
                .expect("a name");
            name
        };
        let name = ask().await;
        for _ in 0..3 {
            assert_eq!(ask().await, name);
        }
        seen.insert(name);
    }
    assert!(seen.len() > 1, "all users have the same: {seen:?}");
}

#[tokio::test]
async fn who_leaves_keeps_its_connections_and_gets_no_new_ones() {
    let (first, _serving) = named("first").await;
    let (second, _serving_too) = named("second").await;
    let relay = Relay::to(&[first]);
    let mut old = relay.connect().await;
    old.write_all(b"x").await.expect("taken");
    in_time(async {
        while relay.handle.members()[0].in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    relay.handle.set_members(&[second.into()]);
    assert_eq!(relay.who().await, "second");
    old.shutdown().await.expect("our side ends");
    let mut name = String::new();
    in_time(old.read_to_string(&mut name))
        .await
        .expect("a name");
    assert_eq!(name, "first");
    in_time(async {
        while relay.handle.members().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_member_that_died_comes_back_by_its_checks() {
    let (address, serving) = named("first").await;
    let check = health::Rules {
        every: Duration::from_millis(20),
        ..health::Rules::default()
    };
    let relay = Relay::start(Options {
        members: vec![address.into()],
        check,
        ..Options::default()
    });
    let is = |health: Health| {
        let handle = relay.handle.clone();
        async move {
            in_time(async {
                while handle.members()[0].health() != health {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    };
    is(Health::Up).await;
    serving.abort();
    let _ = serving.await;
    is(Health::Down).await;
    let listener = TcpListener::bind(address).await.expect("the port is free");
    is(Health::Up).await;
    drop(listener);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_outside() {
    let (first, _serving) = named("first").await;
    let relay = Relay::start(Options {
        members: vec![first.into()],
        connections_max: 1,
        ..Options::default()
    });
    let mut one = relay.connect().await;
    one.write_all(b"x").await.expect("taken");
    in_time(async {
        while relay.handle.members()[0].in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let waiting = relay.who();
    let mut waiting = std::pin::pin!(waiting);
    let early = timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "it was carried beside the other");
    drop(one);
    assert_eq!(in_time(waiting).await, "first");
}
