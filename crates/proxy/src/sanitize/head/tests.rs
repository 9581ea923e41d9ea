use proptest::prelude::*;

use super::*;

fn status(head: &[u8]) -> u16 {
    match judge(head, 100) {
        Ok(_) => 200,
        Err(refusal) => refusal.status,
    }
}

/// The probes that tell careful servers from others, as far as heads go.
#[test]
fn ambiguous_heads_are_refused() {
    for head in [
        &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a@b/ HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Content-Length\r\n\r\n",
        b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\nHost: a\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
    ] {
        assert_eq!(status(head), 400, "{}", head.escape_ascii());
    }
}

#[test]
fn other_refusals_say_what_they_are() {
    let refused = |head: &[u8]| status(head);
    assert_eq!(refused(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 501);
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
        501
    );
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\n"), 505);
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"),
        417
    );
    let mut many = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    many.extend_from_slice(&b"X: y\r\n".repeat(100));
    many.extend_from_slice(b"\r\n");
    assert_eq!(refused(&many), 431);
}

#[test]
fn ordinary_heads_pass_with_their_framing() {
    let framing = |head: &[u8]| judge(head, 100).unwrap();
    assert_eq!(
        framing(b"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n"),
        Framing::Empty
    );
    assert_eq!(framing(b"GET / HTTP/1.0\r\n\r\n"), Framing::Empty);
    assert_eq!(
        framing(b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
        Framing::Empty
    );
    assert_eq!(
        framing(b"GET http://A:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n"),
        Framing::Empty
    );
    assert_eq!(
        framing(b"PUT / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:\t12 \r\n\r\n"),
        Framing::Length(12)
    );
    assert_eq!(
        framing(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: Chunked\r\n\r\n"),
        Framing::Chunked
    );
    assert_eq!(
        framing(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"),
        Framing::Empty
    );
}

proptest! {
    /// Whatever passes, hyper must read the same way: the properties its parser relies on.
    #[test]
    fn what_passes_is_plain(mut head in prop::collection::vec(any::<u8>(), 0..200)) {
        head.extend_from_slice(b"\r\n\r\n");
        let mut whole = b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec();
        whole.extend_from_slice(&head);
        if judge(&whole, 100).is_ok() {
            let bare = whole.split(|&b| b == b'\n').rev().skip(1).any(|line| !line.ends_with(b"\r"));
            prop_assert!(!bare);
            prop_assert!(!whole.contains(&0));
        }
    }

    /// Any two framing headers together are refused, whatever they say.
    #[test]
    fn two_framing_headers_never_pass(a in 0usize..3, b in 0usize..3) {
        let framing = ["Content-Length: 4", "content-length: 4", "Transfer-Encoding: chunked"];
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n{}\r\n\r\n", framing[a], framing[b]);
        prop_assert_eq!(status(head.as_bytes()), 400);
    }
}
