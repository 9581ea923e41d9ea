//! The judges themselves: a harness that accepts anything would prove nothing.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use conformance::http::Request;
use conformance::{Database, Site, Zope};

#[test]
fn the_site_is_sound_and_holds_what_the_tests_ask_for() {
    let site = Site::sound().unwrap();
    let found = site.check(&["/", "files", "drop"]).unwrap();
    assert_eq!(found["counter"], 0);
    assert_eq!(found["folders"]["drop"].as_array().map(Vec::len), Some(0));
    let files = found["folders"]["files"].as_array().unwrap();
    assert!(
        files.iter().any(|id| id == "several-megabytes.bin"),
        "{files:?}"
    );
}

#[test]
fn a_broken_file_is_called_broken() {
    let site = Site::sound().unwrap();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(site.data())
        .unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.set_len(middle + 200_000).unwrap();
    file.write_all(&[0xff; 100_000]).unwrap();
    site.check(&[]).unwrap_err();
}

#[test]
fn genuine_zope_serves_the_site() {
    let site = Site::damaged().unwrap();
    let mut zope = Zope::serve(Database::File(site.data())).unwrap();
    let mut ask = |request: &Request| zope.send("localhost:8080", request).unwrap();
    let page = ask(&Request::new("GET", "/readme"));
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("by Ann &quot;A&quot;"),
        "{}",
        page.text()
    );
    let secret = Request::new("GET", "/private/secret.txt");
    assert_eq!(ask(&secret).status, 401);
    assert_eq!(
        ask(&secret.basic("reader", "reader-password")).text(),
        "the secret\n"
    );
    assert_ne!(ask(&Request::new("GET", "/damaged.txt")).status, 200);
    assert_eq!(
        ask(&Request::new("GET", "/note.txt")).text(),
        "first note\n"
    );
}
