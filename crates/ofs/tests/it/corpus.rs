//! Requests that Zope 6.3 answered, answered again: `data/http.json` for `fixture.fs`, a site of
//! everything, and `data/site.json` for `site.fs`, one of names and rights (`make_site.py`).
//!
//! Nothing may be answered differently, except by saying that it cannot be answered yet (501), or
//! for a reason given in [`DEVIATIONS`].

use std::path::Path;

use filestorage::{FileStorage, Options};
use publisher::{Publisher, Request, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support;

/// The corpora, and how many cases of each are answered as Zope does. It only rises.
const CORPORA: &[(&str, &str, usize)] = &[
    ("http.json", "fixture.fs", 133),
    ("site.json", "site.fs", 828),
];

/// Cases that are answered otherwise on purpose.
const DEVIATIONS: &[(&str, &str)] = &[
    (
        "path/GET /Control_Panel",
        "Zope has set a content type for its management screen before it refuses",
    ),
    (
        "hdr-bytes=999-/GET /pub/f.txt",
        "Zope announces the whole file's length and sends nothing, which leaves clients waiting",
    ),
];

/// The parts of the site that need only files, folders, users and plain DTML: all cases of these
/// paths agree.
const NATIVE_PATHS: &[&str] = &[
    "/pub",
    "/pub/sub/",
    "/pub/sub/shared",
    "/pub/f.txt",
    "/pub/big.bin",
    "/pub/i.gif",
    "/pub/s.svg",
    "/pub/empty",
    "/pub/dd",
    "/pub/dm_quote",
    "/pub/getId",
    "/pub/title_or_id",
    "/pub/absolute_url",
    "/pub/getProperty",
    "/pub/nope",
    "/pub/sub/pub/f.txt",
    "/pub/sub/sub/sub",
    "/plain/only",
    "/priv/secret",
    "/priv/open",
    "/priv/auth",
    "/priv/local",
    "/uf/page",
    "/favicon.ico",
];

#[test]
fn zope_is_answered_alike_or_not_at_all() {
    for (cases, file, floor) in CORPORA {
        let publisher = publisher(file);
        let mut agreeing = 0;
        let mut wrong = Vec::new();
        for case in self::cases(cases) {
            let response = publisher.publish(&request(&case));
            let status = response.status;
            let Some(difference) = difference(&case["expect"], response) else {
                agreeing += 1;
                continue;
            };
            let id = case["id"].as_str().unwrap();
            let is_listed = DEVIATIONS.iter().any(|(known, _)| *known == id);
            if (status != 501 || is_native(&case)) && !is_listed {
                wrong.push(format!("{id}: {difference}"));
            }
            if std::env::var_os("SHOW").is_some() {
                println!("{status} {id}: {difference}");
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {cases}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        assert_eq!(agreeing, *floor, "{cases}: raise the floor where it rose");
    }
}

#[test]
fn every_deviation_is_one() {
    let publisher = publisher("fixture.fs");
    let cases = cases("http.json");
    for (id, reason) in DEVIATIONS {
        let case = cases.iter().find(|case| case["id"] == **id).unwrap();
        let response = publisher.publish(&request(case));
        assert_ne!(
            difference(&case["expect"], response),
            None,
            "{id} agrees now: {reason}"
        );
    }
}

/// Whether a case needs nothing but what is published natively.
fn is_native(case: &Value) -> bool {
    // Methods of scripts reach the folder by POST, converters by the query.
    let is_plain = case["method"] != "POST" && case["query"] == "";
    is_plain && NATIVE_PATHS.contains(&case["path"].as_str().unwrap())
}

fn publisher(file: &str) -> Publisher {
    let options = Options {
        create: false,
        read_only: true,
        ..Options::default()
    };
    support::publisher(FileStorage::open(data(file), options).unwrap())
}

fn cases(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(data(name)).unwrap();
    let mut corpus: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(cases) = corpus["cases"].take() else {
        panic!("{name} has a list of cases");
    };
    cases
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn request(case: &Value) -> Request {
    let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    let mut headers: Vec<(String, Vec<u8>)> = case["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (
                name.to_lowercase(),
                value.as_str().unwrap().as_bytes().to_vec(),
            )
        })
        .collect();
    if let Some(content_type) = case.get("content_type").and_then(Value::as_str) {
        headers.push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
    }
    Request {
        method: text("method"),
        scheme: "http".to_owned(),
        host: text("host"),
        // The corpus holds paths decoded.
        path: publisher::quote(&text("path")),
        query: text("query"),
        headers,
        body: text("body").into_bytes(),
        remote_addr: text("remote_addr").parse().ok(),
        id: String::new(),
    }
}

/// What differs from the expected answer, in words.
fn difference(expect: &Value, response: Response) -> Option<String> {
    if let Some(error) = expect.get("error") {
        // The exception left Zope; its server makes a 500 of that.
        return (response.status != 500).then(|| format!("{error} and {}", response.status));
    }
    let status = expect["status"].as_u64().unwrap();
    if u64::from(response.status) != status {
        return Some(format!("status {status}, here {}", response.status));
    }
    if let Some(difference) = header_difference(expect, &response) {
        return Some(difference);
    }
    body_difference(expect, response)
}

fn header_difference(expect: &Value, response: &Response) -> Option<String> {
    let mut expected: Vec<(String, String)> = expect["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            let text = |index: usize| pair[index].as_str().unwrap().to_owned();
            (text(0), text(1))
        })
        .collect();
    let mut found = response.headers.clone();
    if !expected.iter().any(|(name, _)| name == "content-length") {
        found.retain(|(name, _)| name != "content-length");
    }
    for (name, value) in &mut found {
        if name == "content-type" {
            *value = without_boundary(value);
        }
    }
    expected.sort();
    found.sort();
    (expected != found).then(|| format!("headers {expected:?}\n  here {found:?}"))
}

fn body_difference(expect: &Value, response: Response) -> Option<String> {
    let boundary = response
        .header("content-type")
        .and_then(boundary)
        .map(str::to_owned);
    let mut body = support::body(response);
    if let Some(boundary) = boundary {
        let text = String::from_utf8(body).unwrap();
        body = text
            .replace(&boundary, &"B".repeat(boundary.len()))
            .into_bytes();
    }
    if let Some(hash) = expect.get("body_sha256") {
        let found: String = Sha256::digest(&body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        return (hash.as_str() != Some(&found)).then(|| "another body".to_owned());
    }
    let expected = match (expect.get("body"), expect.get("body_latin1")) {
        (Some(text), _) => text.as_str().unwrap().as_bytes().to_vec(),
        (None, Some(text)) => text
            .as_str()
            .unwrap()
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect(),
        (None, None) => panic!("a case without a body"),
    };
    (expected != body).then(|| {
        format!(
            "body {}\n  here {}",
            String::from_utf8_lossy(&expected),
            String::from_utf8_lossy(&body)
        )
    })
}

fn boundary(content_type: &str) -> Option<&str> {
    content_type
        .split_once("boundary=")
        .map(|(_, boundary)| boundary)
}

fn without_boundary(content_type: &str) -> String {
    match boundary(content_type) {
        Some(boundary) => content_type.replace(boundary, &"B".repeat(boundary.len())),
        None => content_type.to_owned(),
    }
}
