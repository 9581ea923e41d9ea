//! Bytes both ways, and how streams end.

use super::*;

/// A relayed connection: the client's end and the member's.
async fn pair(options: Options) -> (Relay, TcpStream, TcpStream) {
    let (listener, address) = listener().await;
    let options = Options {
        members: vec![address.into()],
        // Only connections of the test come to the listener.
        check: health::Rules {
            every: Duration::from_secs(3600),
            ..health::Rules::default()
        },
        ..options
    };
    let relay = Relay::start(options);
    // The first check.
    let (check, _) = in_time(listener.accept()).await.expect("it accepts");
    drop(check);
    let client = relay.connect().await;
    let (member, _) = in_time(listener.accept()).await.expect("it accepts");
    (relay, client, member)
}

/// Bytes that are wrong wherever one is lost, or comes twice.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn long_streams_come_through_whole_in_both_directions_at_a_time() {
    let (_relay, client, member) = pair(Options::default()).await;
    let sent = pattern(24 << 20);
    let (mut from_client, mut to_member) = client.into_split();
    let (mut from_member, mut to_client) = member.into_split();
    let send = async |to: &mut tokio::net::tcp::OwnedWriteHalf, bytes: &[u8]| {
        to.write_all(bytes).await.expect("it is taken");
        to.shutdown().await.expect("it ends");
    };
    let mut up = Vec::new();
    let mut down = Vec::new();
    let reversed: Vec<u8> = sent.iter().rev().copied().collect();
    in_time(async {
        let (read_up, read_down, (), ()) = tokio::join!(
            from_member.read_to_end(&mut up),
            from_client.read_to_end(&mut down),
            send(&mut to_member, &sent),
            send(&mut to_client, &reversed),
        );
        read_up.and(read_down).expect("streams end in order");
    })
    .await;
    assert!(up == sent && down == reversed);
}

#[tokio::test]
async fn a_stream_may_be_bulk_and_talk_by_turns() {
    let (_relay, mut client, mut member) = pair(Options::default()).await;
    let bulk = pattern(1 << 20);
    for _ in 0..3 {
        let mut came = vec![0; bulk.len()];
        let both = async { tokio::join!(client.write_all(&bulk), member.read_exact(&mut came)) };
        let (wrote, read) = in_time(both).await;
        wrote.expect("it is taken");
        read.expect("it comes through");
        assert!(came == bulk);
        for word in 0..32_u8 {
            client.write_all(&[word]).await.expect("it is taken");
            assert_eq!(in_time(member.read_u8()).await.expect("it comes"), word);
            member.write_all(&[word]).await.expect("it is taken");
            assert_eq!(in_time(client.read_u8()).await.expect("it comes"), word);
        }
    }
}

#[tokio::test]
async fn each_side_may_end_first_and_the_other_goes_on() {
    for client_first in [true, false] {
        let (_relay, mut client, mut member) = pair(Options::default()).await;
        let (first, second) = match client_first {
            true => (&mut client, &mut member),
            false => (&mut member, &mut client),
        };
        first.write_all(b"last words").await.expect("taken");
        first.shutdown().await.expect("its side ends");
        let mut said = String::new();
        in_time(second.read_to_string(&mut said))
            .await
            .expect("an end in order");
        assert_eq!(said, "last words");
        for _ in 0..3 {
            second.write_all(b"and more").await.expect("taken");
            let mut more = [0; 8];
            in_time(first.read_exact(&mut more))
                .await
                .expect("it comes");
            assert_eq!(&more, b"and more");
        }
        second.shutdown().await.expect("its side ends");
        assert_eq!(
            in_time(first.read(&mut [0]))
                .await
                .expect("an end in order"),
            0
        );
    }
}

/// A plain end would tell the other side that all has come.
#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    for client_resets in [true, false] {
        let (_relay, mut client, mut member) = pair(Options::default()).await;
        client.write_all(b"x").await.expect("taken");
        in_time(member.read_u8()).await.expect("it comes");
        let (first, mut second) = match client_resets {
            true => (client, member),
            false => (member, client),
        };
        socket2::SockRef::from(&first)
            .set_linger(Some(Duration::ZERO))
            .expect("an option of the socket");
        drop(first);
        let error = in_time(second.read(&mut [0]))
            .await
            .expect_err("no plain end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn who_takes_nothing_holds_up_the_sender_and_fills_no_memory() {
    let (_relay, mut client, mut member) = pair(Options::default()).await;
    let portion = pattern(64 << 10);
    let mut sent = 0;
    while timeout(Duration::from_millis(300), client.write_all(&portion))
        .await
        .is_ok()
    {
        sent += portion.len();
        assert!(sent < 64 << 20, "somebody keeps it all");
    }
    // What was written in part is not counted, and comes, too.
    client.shutdown().await.expect("our side ends");
    let mut came = Vec::new();
    in_time(member.read_to_end(&mut came))
        .await
        .expect("it ends");
    assert!((sent..sent + portion.len()).contains(&came.len()));
    let expected = portion.iter().cycle();
    assert!(came.iter().zip(expected).all(|(came, sent)| came == sent));
}

#[tokio::test]
async fn a_connection_that_rests_is_ended_and_one_that_speaks_is_not() {
    let options = Options {
        idle_wait: Some(Duration::from_millis(300)),
        ..Options::default()
    };
    let (_relay, mut client, mut member) = pair(options).await;
    for _ in 0..6 {
        let pause = timeout(Duration::from_millis(100), client.read_u8()).await;
        assert!(pause.is_err(), "it is ended though it speaks");
        member.write_all(b"x").await.expect("taken");
        in_time(client.read_u8()).await.expect("it comes");
    }
    let error = in_time(client.read_u8()).await.expect_err("it rested");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    in_time(member.read_u8()).await.expect_err("on both sides");
}
