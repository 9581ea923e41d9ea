//! The two manners of the stream.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use edge::Patient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::{PATIENCE, connect, patiently};

/// Both ends of one connection.
async fn pair(write_wait: Duration) -> (Patient, TcpStream) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = TcpListener::bind(any).await.unwrap();
    let client = connect(listener.local_addr().unwrap()).await;
    let (stream, _) = patiently(listener.accept()).await.unwrap();
    (Patient::new(stream, write_wait), client)
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up() {
    let (mut ours, _theirs) = pair(Duration::from_millis(50)).await;
    let flood = async { while ours.write_all(&[b'x'; 1 << 16]).await.is_ok() {} };
    patiently(flood).await;
    let error = patiently(ours.write_all(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn last_words_arrive_though_the_peer_sends_on() {
    let (mut ours, mut theirs) = pair(PATIENCE).await;
    theirs.write_all(&[b'x'; 10_000]).await.unwrap();
    let close = tokio::spawn(async move {
        ours.write_all(b"enough").await.unwrap();
        ours.shutdown().await.unwrap();
    });
    let mut words = [0; 6];
    patiently(theirs.read_exact(&mut words)).await.unwrap();
    // A reset would show here: the first write provokes it, the second one meets it.
    for _ in 0..10 {
        theirs.write_all(&[b'x'; 1000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (&words, theirs.read(&mut [0; 1]).await.unwrap()),
        (b"enough", 0)
    );
    drop(theirs);
    patiently(close).await.unwrap();
}

#[tokio::test]
async fn lingering_ends_with_the_peer_or_after_a_moment() {
    let (mut ours, theirs) = pair(PATIENCE).await;
    drop(theirs);
    let begin = Instant::now();
    patiently(ours.shutdown()).await.unwrap();
    let with_the_peer = begin.elapsed();

    let (mut ours, _theirs) = pair(PATIENCE).await;
    let begin = Instant::now();
    patiently(ours.shutdown()).await.unwrap();
    let alone = begin.elapsed();
    assert!(
        with_the_peer < alone && alone < PATIENCE / 2,
        "{with_the_peer:?} with it, {alone:?} without"
    );
}
