//! What crosses the balancer, and how.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Act, Balancer, Origin, patiently, until};

#[tokio::test]
async fn a_backend_learns_who_asks() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let request = "GET /a%20b?c=d HTTP/1.1\r\nHost: Site:8080\r\nX-Forwarded-For: 6.6.6.6\r\n\
        X-Request-Id: outside\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n\r\n";
    assert_eq!(balancer.ask(request).await.status, 200);
    let seen = &origin.seen()[0];
    assert!(
        seen.head.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert_eq!(seen.header("host"), Some("Site:8080"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("Site:8080"));
    assert_eq!(seen.header("x-kept"), Some("2"));
    assert_eq!(
        (seen.header("x-hop"), seen.header("connection")),
        (None, None)
    );
    let id = seen.header("x-request-id").unwrap();
    assert!(id.len() == 16 && id != "outside");
    balancer.stop().await;
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let mut client = balancer.client().await;
    for _ in 0..20 {
        client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "ok");
    }
    assert_eq!((origin.seen().len(), origin.connections()), (20, 1));
    balancer.stop().await;
}

#[tokio::test]
async fn bodies_arrive_whole_whatever_their_framing() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let large = vec![b'x'; 300_000];
    let announced = format!(
        "PUT /f HTTP/1.1\r\nHost: site\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    let chunked = b"PUT /f HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n", large.len());

    let mut client = balancer.client().await;
    client
        .send(b"POST /f HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client
        .send(b"3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nTrailer: 1\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    client.send(&[announced.as_bytes(), &large].concat()).await;
    assert_eq!(client.response().await.status, 200);
    client
        .send(&[chunked, chunk.as_bytes(), &large, b"\r\n0\r\n\r\n"].concat())
        .await;
    assert_eq!(client.response().await.status, 200);

    let seen = origin.seen();
    assert_eq!(seen[0].body, b"abcdef");
    assert_eq!(seen[0].header("content-length"), Some("6"));
    assert_eq!(seen[1].body, large);
    assert_eq!(seen[2].header("transfer-encoding"), Some("chunked"));
    assert_eq!(
        seen[2].body.iter().filter(|&&byte| byte == b'x').count(),
        large.len()
    );
    balancer.stop().await;
}

#[tokio::test]
async fn a_client_that_expects_is_told_to_continue() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let mut client = balancer.client().await;
    let head = b"PUT / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.head().await.status, 100);
    client.send(b"body").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(origin.seen()[0].body, b"body");
    assert_eq!(origin.seen()[0].header("expect"), None);
    balancer.stop().await;
}

#[tokio::test]
async fn answers_without_a_body_keep_their_heads() {
    let origin = Origin::start(|seen| match seen.path() {
        "/304" => {
            Act::Raw(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n".into())
        }
        "/204" => Act::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".into()),
        "/100" => Act::Raw(
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        ),
        _ => Act::Answer("seven b"),
    })
    .await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let mut client = balancer.client().await;
    client.send(b"HEAD / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    assert_eq!(client.head().await.header("content-length"), Some("7"));
    client
        .send(b"GET /304 HTTP/1.1\r\nHost: site\r\n\r\n")
        .await;
    let response = client.head().await;
    assert_eq!((response.status, response.header("etag")), (304, Some("x")));
    client
        .send(b"GET /204 HTTP/1.1\r\nHost: site\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 204);
    client
        .send(b"GET /100 HTTP/1.1\r\nHost: site\r\n\r\n")
        .await;
    assert_eq!(client.response().await.text(), "ok");
    balancer.stop().await;
}

#[tokio::test]
async fn an_old_client_gets_an_answer_that_ends_with_the_connection() {
    let origin = Origin::start(|_| {
        Act::Raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into(),
        )
    })
    .await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    let host = balancer.address.to_string();
    assert_eq!(origin.seen()[0].header("host"), Some(host.as_str()));
    balancer.stop().await;
}

/// A client that reads nothing stops the backend, not the balancer's memory.
#[tokio::test]
async fn a_large_answer_waits_for_its_client() {
    const LENGTH: usize = 64 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (progress, mut written) = tokio::sync::watch::channel(0usize);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let progress = progress.clone();
            tokio::spawn(async move {
                let mut head = [0; 4];
                if stream.read_exact(&mut head).await.is_err() {
                    return;
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let piece = vec![b'x'; 1 << 16];
                for sent in 1..=LENGTH / piece.len() {
                    stream.write_all(&piece).await.unwrap();
                    progress.send_replace(sent * piece.len());
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    let balancer = Balancer::start(&[], |options| options.members = vec![address.into()]);
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    // The backend gets stuck: for half a second it makes no progress, long before the end.
    let stuck = async {
        while tokio::time::timeout(std::time::Duration::from_millis(500), written.changed())
            .await
            .is_ok()
        {}
    };
    patiently(stuck).await;
    assert!(
        *written.borrow() < LENGTH / 2,
        "{} bytes are buffered somewhere",
        *written.borrow()
    );
    let mut body = vec![0; LENGTH];
    patiently(client.0.read_exact(&mut body)).await.unwrap();
    assert!(body.iter().all(|&byte| byte == b'x'));
    until(|| balancer.handle.members()[0].in_flight == 0).await;
    balancer.stop().await;
}

#[tokio::test]
async fn several_threads_share_one_port_and_one_pool() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.threads = std::num::NonZeroUsize::new(4).unwrap();
    });
    for _ in 0..40 {
        assert_eq!(balancer.get("/").await.text(), "ok");
    }
    assert_eq!(origin.seen().len(), 40);
    let taken = proxy::Server::bind(balancer.address, proxy::Options::default());
    assert!(
        taken.is_err(),
        "a port in use is an error, not silently shared"
    );
    balancer.stop().await;
}

#[tokio::test]
async fn a_stopping_balancer_ends_what_it_began() {
    let (open, gate) = tokio::sync::oneshot::channel();
    let gate = std::sync::Mutex::new(Some(gate));
    let origin = Origin::start(move |_| Act::Wait(gate.lock().unwrap().take().unwrap())).await;
    let balancer = Balancer::start(&[&origin], |_| {});
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    until(|| origin.in_flight() == 1).await;
    let address = balancer.address;
    let stopping = tokio::spawn(balancer.stop());
    patiently(async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
    open.send(()).unwrap();
    let response = client.response().await;
    assert_eq!(
        (response.text(), response.header("connection")),
        ("waited", Some("close"))
    );
    drop(client);
    patiently(stopping).await.unwrap();
}

/// Whatever keeps its connection open: clients between requests, and some that never asked.
#[tokio::test]
async fn idle_clients_do_not_hold_up_the_end() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.shutdown_wait = std::time::Duration::from_secs(3600);
    });
    let (mut kept, mut begun) = (balancer.client().await, balancer.client().await);
    let mut silent = balancer.client().await;
    kept.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    assert_eq!(kept.response().await.text(), "ok");
    begun.send(b"GET / HT").await;
    // The balancer has taken the silent one, too, when it has served one that came after.
    assert_eq!(balancer.get("/").await.text(), "ok");
    let stopping = tokio::spawn(balancer.stop());
    for client in [&mut kept, &mut begun, &mut silent] {
        assert_eq!(client.rest().await.unwrap(), b"", "closed without a word");
    }
    patiently(stopping).await.unwrap();
}
