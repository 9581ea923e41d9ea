//! Damaged chains of file data: they end with an error, and nobody is promised what is not there.

use std::sync::Arc;

use publisher::{Body, Publisher, Request, Response};
use storage::{Oid, TransactionMeta};
use zodb::{Object, Reference};

use crate::sample::site;
use crate::support::{body, request};
use crate::writes::{put, stored};

const LINK_BYTES: u64 = 65_536;

/// A site with a file `/big` of so many links.
fn with_file(links: u64) -> Publisher {
    let publisher = site();
    let data = vec![b'x'; usize::try_from(links * LINK_BYTES).unwrap()];
    let response = publisher.publish(&put("/big", "application/octet-stream", &data));
    assert_eq!(response.status, 201);
    publisher
}

/// The links of `/big`.
fn links(publisher: &Publisher) -> Vec<Arc<Object>> {
    let connection = publisher.database().connect();
    let file = stored(publisher, &["big"]);
    let mut links: Vec<Arc<Object>> = Vec::new();
    let mut next = file.state().get("data").and_then(Reference::read);
    while let Some(reference) = next {
        let link = connection.load(reference.oid()).unwrap();
        next = link
            .state()
            .get("next")
            .filter(|next| !next.is_none())
            .and_then(Reference::read);
        links.push(link);
    }
    links
}

/// Changes an attribute of an object.
fn change(
    publisher: &Publisher,
    object: &Object,
    name: &str,
    make: impl FnOnce(&mut pickle::Pickles) -> pickle::NodeId,
) {
    let mut connection = publisher.database().connect();
    let mut pickles = object.pickles().clone();
    let value = make(&mut pickles);
    pickles.dict_set(object.state().id(), name, value);
    connection.store(object.oid(), pickles).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
}

/// Leads the last link back to another one.
fn lead_back(publisher: &Publisher, to: usize) {
    let links = links(publisher);
    let (last, to) = (links.last().unwrap(), links[to].reference());
    change(publisher, last, "next", |pickles| to.write(pickles));
}

fn set_size(publisher: &Publisher, size: u64) {
    let size = i64::try_from(size).unwrap();
    let file = stored(publisher, &["big"]);
    change(publisher, &file, "size", |pickles| pickles.int(size));
}

fn ask(publisher: &Publisher, range: &str) -> Response {
    let mut request: Request = request("GET", "/big");
    if !range.is_empty() {
        let header = ("range".to_owned(), range.as_bytes().to_vec());
        request.headers.push(header);
    }
    publisher.publish(&request)
}

/// Reads a stream to its end: how many bytes it has, and the error that ended it.
fn read(response: Response) -> (u64, Option<String>) {
    let Body::Stream { length, chunks } = response.body else {
        panic!("status {} and no stream", response.status);
    };
    let mut count = 0;
    for chunk in chunks {
        match chunk {
            Ok(chunk) => count += chunk.len() as u64,
            Err(error) => return (count, Some(error.to_string())),
        }
        assert!(count <= length, "more than was promised");
    }
    (count, None)
}

#[test]
fn a_whole_chain_is_sent_whole() {
    for count in [3, 8, 9, 40] {
        let publisher = with_file(count);
        let size = count * LINK_BYTES;
        assert_eq!(read(ask(&publisher, "")), (size, None));
        assert_eq!(read(ask(&publisher, "bytes=-1")), (1, None));
    }
}

#[test]
fn a_short_chain_that_leads_back_is_promised_to_nobody() {
    for to in 0..3 {
        let publisher = with_file(3);
        lead_back(&publisher, to);
        set_size(&publisher, 1 << 60);
        for range in [
            "",
            "bytes=0-",
            "bytes=-5",
            "bytes=0-1,1000000000-1000000001",
        ] {
            let response = ask(&publisher, range);
            assert_eq!(response.status, 500, "{range}");
            let page = String::from_utf8(body(response)).unwrap();
            assert!(page.contains("leads back to itself"), "{page}");
        }
        // What is there can still be had.
        assert_eq!(read(ask(&publisher, "bytes=0-99")), (100, None));
    }
}

#[test]
fn a_long_chain_that_leads_back_ends_with_an_error() {
    for to in [0, 1, 7, 18, 19] {
        let publisher = with_file(20);
        lead_back(&publisher, to);
        set_size(&publisher, 1 << 60);
        let (count, error) = read(ask(&publisher, ""));
        assert!(error.unwrap().contains("leads back to itself"));
        assert!(count < 100 * LINK_BYTES, "soon: {count}");
    }
}

#[test]
fn a_chain_that_is_too_short_is_promised_to_nobody() {
    let publisher = with_file(3);
    set_size(&publisher, 3 * LINK_BYTES + 1);
    assert_eq!(ask(&publisher, "").status, 500);
    assert_eq!(ask(&publisher, "bytes=-1").status, 500);
    assert_eq!(read(ask(&publisher, "bytes=0-9")), (10, None));

    let publisher = with_file(20);
    set_size(&publisher, 20 * LINK_BYTES + 1);
    let (count, error) = read(ask(&publisher, ""));
    assert_eq!(count, 20 * LINK_BYTES);
    assert!(error.unwrap().contains("shorter than the file's size"));
}

#[test]
fn a_size_is_counted_where_none_is_stored() {
    let publisher = with_file(3);
    let file = stored(&publisher, &["big"]);
    change(&publisher, &file, "size", pickle::Pickles::none);
    assert_eq!(read(ask(&publisher, "")), (3 * LINK_BYTES, None));
    lead_back(&publisher, 0);
    assert_eq!(ask(&publisher, "").status, 500);
}

#[test]
fn a_file_without_data_has_no_length() {
    let publisher = with_file(1);
    let file = stored(&publisher, &["big"]);
    change(&publisher, &file, "data", |pickles| pickles.bytes(b""));
    let response = ask(&publisher, "");
    assert_eq!(response.header("content-length"), Some("0"));
    assert_eq!(body(response), b"");
}

#[test]
fn a_chain_to_another_kind_of_object_is_an_error() {
    let publisher = with_file(2);
    let root = Reference::Strong {
        oid: Oid::ROOT,
        class: None,
    };
    let file = stored(&publisher, &["big"]);
    change(&publisher, &file, "data", |pickles| root.write(pickles));
    assert_eq!(ask(&publisher, "").status, 500);
}
