//! Sessions stay with their backend while it is well.

use proxy::{Joining, Sessions};

use crate::support::{Balancer, Origin, Response, until};

fn cookie(answer: &Response) -> Option<String> {
    let given = answer.header("set-cookie")?;
    given.split(';').next().map(str::to_owned)
}

async fn ask(balancer: &Balancer, cookie: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: site\r\nCookie: a=b; {cookie}\r\n\r\n");
    balancer.ask(&request).await
}

#[tokio::test]
async fn a_session_stays_and_moves_when_its_backend_is_gone() {
    let (one, mut two) = (Origin::answering("1").await, Origin::answering("2").await);
    let balancer = Balancer::start(&[&one, &two], |options| {
        options.sessions = Some(Sessions::new("member", b"secret").unwrap());
    });
    let (mut of_one, mut of_two) = (String::new(), String::new());
    for _ in 0..10 {
        let answer = balancer.get("/").await;
        let cookie = cookie(&answer).expect("a session begins");
        match answer.text() {
            "1" => of_one = cookie,
            _ => of_two = cookie,
        }
    }
    for _ in 0..5 {
        for (session, expected) in [(&of_one, "1"), (&of_two, "2")] {
            let answer = ask(&balancer, session).await;
            assert_eq!(answer.text(), expected);
            assert_eq!(cookie(&answer), None, "it is known");
        }
    }
    let forged = ask(&balancer, "member=0123456789abcdef.0123456789abcdef").await;
    assert!(cookie(&forged).is_some(), "a new session begins");
    two.kill().await;
    let moved = ask(&balancer, &of_two).await;
    assert_eq!((moved.text(), cookie(&moved)), ("1", Some(of_one.clone())));
    balancer.handle.set_members(&[Joining::from(one.address)]);
    until(|| balancer.handle.members().len() == 1).await;
    let moved = ask(&balancer, &of_two).await;
    assert_eq!(cookie(&moved), Some(of_one));
    balancer.stop().await;
}
