//! Users are told of the backends, or sent to them.

use std::net::SocketAddr;

use proxy::{Joining, Mirrors, Redirect};

use crate::support::{Balancer, Origin, until};

const URLS: [&str; 2] = ["https://www1.example.org", "https://www2.example.org/"];

fn mirrors(origins: &[&Origin], redirect: Option<Redirect>) -> Mirrors {
    let addresses = origins.iter().map(|origin| origin.address);
    let urls = addresses
        .zip(URLS)
        .map(|(a, url)| (a, url.parse().unwrap()));
    Mirrors {
        urls: urls.collect(),
        path: Some("/mirrors".to_owned()),
        redirect,
    }
}

#[tokio::test]
async fn a_redirect_keeps_path_and_query_and_is_not_kept() {
    let (one, two) = (Origin::answering("1").await, Origin::answering("2").await);
    let balancer = Balancer::start(&[&one, &two], |options| {
        options.mirrors = mirrors(&[&one, &two], Some(Redirect::Found));
    });
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = balancer.get("/a%20b/c?d=e").await;
        assert_eq!(answer.status, 302);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        seen.push(answer.header("location").unwrap().to_owned());
    }
    for url in ["https://www1.example.org", "https://www2.example.org"] {
        let sent = seen.iter().filter(|l| **l == format!("{url}/a%20b/c?d=e"));
        assert_eq!(sent.count(), 2, "{seen:?}");
    }
    let post = "POST /form HTTP/1.1\r\nHost: site\r\nContent-Length: 3\r\n\r\na=b";
    assert_eq!(balancer.ask(post).await.status, 307);
    assert!(one.seen().is_empty() && two.seen().is_empty());
    balancer.stop().await;
}

#[tokio::test]
async fn nobody_is_sent_to_a_mirror_that_is_down() {
    let living = Origin::answering("1").await;
    let mut dead = Origin::answering("2").await;
    let urls = mirrors(&[&living, &dead], Some(Redirect::Temporary));
    dead.kill().await;
    let balancer = Balancer::start(&[&living, &dead], |options| options.mirrors = urls);
    let is_down = |address: SocketAddr| {
        let members = balancer.handle.members();
        let member = members.iter().find(|m| m.address == address);
        member.is_some_and(|m| m.health.to_string() == "down")
    };
    until(|| is_down(dead.address)).await;
    for _ in 0..4 {
        let answer = balancer.get("/").await;
        assert_eq!(answer.status, 307);
        assert_eq!(answer.header("location"), Some("https://www1.example.org/"));
    }
    let list = balancer.get("/mirrors").await;
    assert_eq!(
        list.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let rows: Vec<_> = list.text().lines().filter(|l| l.contains("<td>")).collect();
    assert!(rows[0].contains("www1.example.org/\"") && rows[0].contains("<td>up</td>"));
    assert!(rows[1].contains("www2.example.org") && rows[1].contains("<td>down</td>"));
    balancer.stop().await;
}

#[tokio::test]
async fn the_list_tells_of_those_that_have_an_address_alone() {
    let (one, two) = (Origin::answering("1").await, Origin::answering("2").await);
    let balancer = Balancer::start(&[&one], |options| {
        let hidden = Joining::from(two.address);
        options.members.push(hidden);
        options.mirrors = mirrors(&[&one], None);
    });
    until(|| {
        let members = balancer.handle.members();
        members.iter().all(|m| m.health.to_string() == "up")
    })
    .await;
    let json = "GET /mirrors HTTP/1.1\r\nHost: site\r\nAccept: application/json\r\n\r\n";
    for answer in [
        balancer.get("/mirrors.json").await,
        balancer.ask(json).await,
    ] {
        let found: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        let expected = serde_json::json!({ "mirrors": [{
            "url": "https://www1.example.org", "state": "up", "busy": 0, "workers": 4,
            "weight": 100, "tier": 0,
        }]});
        assert_eq!(found, expected);
    }
    // Whatever else begins like it is the site's.
    let page = balancer.get("/mirrors/of/history").await;
    assert!(["1", "2"].contains(&page.text()));
    balancer.stop().await;
}
