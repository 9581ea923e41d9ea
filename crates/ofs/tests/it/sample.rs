//! The sample site: made once, and published natively from end to end.

use std::sync::Arc;

use publisher::Publisher;
use storage::MemoryStorage;
use zodb::{Database, DatabaseOptions};

use crate::support::{self, body, request};

pub(crate) const ADMIN: (&str, &str) = ("admin", "sesame");

/// A publisher of a fresh sample site.
pub(crate) fn site() -> Publisher {
    let storage = Arc::new(MemoryStorage::new());
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    ofs::sample::create(&database, ADMIN).unwrap();
    support::publisher(storage)
}

fn text(publisher: &Publisher, path: &str) -> String {
    let response = publisher.publish(&request("GET", path));
    assert_eq!(response.status, 200, "{path}");
    String::from_utf8(body(response)).unwrap()
}

#[test]
fn every_page_is_rendered() {
    let publisher = site();
    for (path, expected) in [
        ("/", "<h1>It works.</h1>"),
        ("/about", "<h1>About this site</h1>"),
        ("/about", "  http://localhost:8080/about/manage_edit</pre>"),
        ("/news", "<base href=\"http://localhost:8080/news/\" />"),
        ("/news/", "<title>News</title>"),
        ("/news/first-light", "<h1>First light</h1>"),
        ("/news/three-tiers", "Stop a publisher"),
        ("/news/about", "A document with properties of its own"),
    ] {
        let page = text(&publisher, path);
        let is_there = page.contains(expected);
        assert_eq!(is_there, path != "/news/three-tiers", "{path}: {page}");
        assert!(
            page.trim_end().ends_with("</html>"),
            "the footer is there: {path}"
        );
    }
}

#[test]
fn files_are_sent_as_they_are() {
    let publisher = site();
    let guide = text(&publisher, "/guide.txt");
    assert!(guide.len() > 3 * 65_536, "it is long enough to be a chain");
    assert!(guide.contains("\n 4000  "), "to its end");

    let mut ranged = request("GET", "/guide.txt");
    ranged
        .headers
        .push(("range".to_owned(), b"bytes=131000-131099".to_vec()));
    let response = publisher.publish(&ranged);
    assert_eq!(response.status, 206);
    assert_eq!(body(response), &guide.as_bytes()[131_000..131_100]);

    let logo = publisher.publish(&request("GET", "/logo.png"));
    assert_eq!(logo.header("content-type"), Some("image/png"));
    assert_eq!(logo.header("content-disposition"), None);
}

#[test]
fn the_sites_own_error_page_is_shown() {
    let response = site().publish(&request("GET", "/news/nope"));
    assert_eq!(response.status, 404);
    assert_eq!(
        response.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let page = String::from_utf8(body(response)).unwrap();
    assert!(
        page.contains("<pre>NotFound: http://localhost:8080/news/nope"),
        "{page}"
    );
}

#[test]
fn an_existing_database_is_left_alone() {
    let publisher = site();
    let error = ofs::sample::create(publisher.database(), ADMIN).unwrap_err();
    assert!(
        matches!(error, ofs::sample::SampleError::NotEmpty),
        "{error}"
    );
}

#[test]
fn users_and_private_attributes_are_not_shown() {
    let publisher = site();
    // The users' own page is Zope's management screen; nothing of the data comes out.
    assert_eq!(
        publisher.publish(&request("GET", "/acl_users/data")).status,
        501
    );
    for path in [
        "/acl_users/_ofs_migrated",
        "/_objects",
        "/about/raw",
        "/about/__class__",
    ] {
        assert_eq!(
            publisher.publish(&request("GET", path)).status,
            404,
            "{path}"
        );
    }
    assert_eq!(
        publisher.publish(&request("GET", "/manage_main")).status,
        401
    );
}

#[test]
fn strange_virtual_hosts_harm_nobody() {
    let publisher = site();
    // Nothing acts on these names here, and with a monster they are cut by characters.
    let path = "/VirtualHostBase/http/x/VirtualHostRoot/%C3%BC1%C3%BC/_vh_b/about";
    assert_eq!(publisher.publish(&request("GET", path)).status, 404);
}
