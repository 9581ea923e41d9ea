//! Changes: what is stored, who may, and what happens when several change the same thing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use publisher::{Publisher, Request, Response};
use storage::{MemoryStorage, StorageError};
use zodb::{Database, DatabaseOptions, Object, Reference};

use crate::sample::{ADMIN, site};
use crate::support::{self, body, request};

/// `admin:sesame`.
const AUTHORIZATION: &[u8] = b"Basic YWRtaW46c2VzYW1l";

pub(crate) fn put(path: &str, content_type: &str, data: &[u8]) -> Request {
    let mut request = request("PUT", path);
    request
        .headers
        .push(("authorization".to_owned(), AUTHORIZATION.to_vec()));
    if !content_type.is_empty() {
        request
            .headers
            .push(("content-type".to_owned(), content_type.as_bytes().to_vec()));
    }
    request.body = data.to_vec();
    request
}

fn get(publisher: &Publisher, path: &str) -> Response {
    publisher.publish(&request("GET", path))
}

/// The object at a path of ids below the application.
pub(crate) fn stored(publisher: &Publisher, path: &[&str]) -> Arc<Object> {
    let connection = publisher.database().connect();
    let root = connection.root().unwrap();
    let mut reference = root
        .state()
        .get("data")
        .and_then(|data| data.get("Application"));
    let mut object = root.clone();
    for name in std::iter::once(None).chain(path.iter().map(|name| Some(*name))) {
        if let Some(name) = name {
            reference = object.state().get(name);
        }
        let oid = Reference::read(reference.unwrap()).unwrap().oid();
        object = connection.load(oid).unwrap();
        reference = None;
    }
    object
}

#[test]
fn a_file_is_replaced() {
    let publisher = site();
    let before = stored(&publisher, &["style.css"]);
    let response = publisher.publish(&put("/style.css", "text/html", b"a { color: red }"));
    assert_eq!(response.status, 204);
    let response = get(&publisher, "/style.css");
    assert_eq!(
        response.header("content-type"),
        Some("text/css; charset=utf-8"),
        "by its name"
    );
    assert_eq!(body(response), b"a { color: red }");

    let after = stored(&publisher, &["style.css"]);
    assert_eq!(after.oid(), before.oid());
    assert_eq!(
        after.state().get("size").and_then(pickle::Value::as_int),
        Some(16)
    );
    let keys = |object: &Object| -> BTreeSet<String> {
        object
            .state()
            .entries()
            .map(|(key, _)| key.as_str().unwrap().to_owned())
            .collect()
    };
    let mut expected = keys(&before);
    expected.insert("_EtagSupport__etag".to_owned());
    assert_eq!(keys(&after), expected, "nothing else was touched");
}

#[test]
fn a_large_file_becomes_a_chain_of_links() {
    let publisher = site();
    let data: Vec<u8> = (0..200_000u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    assert_eq!(
        publisher.publish(&put("/news/big.bin", "", &data)).status,
        201
    );
    assert_eq!(body(get(&publisher, "/news/big.bin")), data);

    let file = stored(&publisher, &["news", "big.bin"]);
    let connection = publisher.database().connect();
    let mut link = file.state().get("data").and_then(Reference::read);
    let mut sizes = Vec::new();
    while let Some(reference) = link {
        let object = connection.load(reference.oid()).unwrap();
        assert_eq!(object.class().to_string(), "OFS.Image.Pdata");
        sizes.push(
            object
                .state()
                .get("data")
                .unwrap()
                .as_bytes()
                .unwrap()
                .len(),
        );
        let next = object.state().get("next").filter(|next| !next.is_none());
        link = next.and_then(Reference::read);
    }
    // As Zope cuts it: whole links from the end, the rest in front.
    assert_eq!(sizes, [200_000 - 2 * 65_536, 65_536, 65_536]);
}

/// Zope reads a body without a type as a form, and refuses one of this size.
#[test]
fn a_large_file_needs_no_content_type() {
    let publisher = site();
    let data = vec![b'x'; (1 << 20) + 1];
    let response = publisher.publish(&put("/news/large.bin", "", &data));
    assert_eq!(response.status, 201);
    assert_eq!(body(get(&publisher, "/news/large.bin")).len(), data.len());
}

#[test]
fn a_new_item_is_listed_and_owned() {
    let publisher = site();
    let gif = b"GIF89a\x02\x00\x03\x00rest";
    assert_eq!(
        publisher
            .publish(&put("/news/dot.gif", "image/gif", gif))
            .status,
        201
    );
    let image = stored(&publisher, &["news", "dot.gif"]);
    assert_eq!(image.class().to_string(), "OFS.Image.Image");
    assert_eq!(
        image.state().get("width").and_then(pickle::Value::as_int),
        Some(2)
    );
    let owners = image
        .state()
        .get("__ac_local_roles__")
        .and_then(|roles| roles.get("admin"));
    assert_eq!(
        owners.unwrap().elements().next().unwrap().as_str(),
        Some("Owner")
    );
    assert!(
        image.state().get("_owner").is_none(),
        "the folder's owner is acquired"
    );

    let folder = stored(&publisher, &["news"]);
    let last = folder
        .state()
        .get("_objects")
        .unwrap()
        .elements()
        .next_back()
        .unwrap();
    assert_eq!(last.get("id").unwrap().as_str(), Some("dot.gif"));
    assert_eq!(last.get("meta_type").unwrap().as_str(), Some("Image"));

    assert_eq!(
        publisher
            .publish(&put("/note.dtml", "", b"<dtml-var id>"))
            .status,
        201
    );
    let note = stored(&publisher, &["note.dtml"]);
    assert_eq!(note.class().to_string(), "OFS.DTMLDocument.DTMLDocument");
    assert!(note.state().get("globals").is_some() && note.state().get("_vars").is_some());
    assert!(
        note.state().get("_owner").is_some(),
        "the root has no owner to acquire"
    );
    assert_eq!(body(get(&publisher, "/note.dtml")), b"note.dtml");
}

#[test]
fn what_cannot_be_made_natively_is_not_made_at_all() {
    let publisher = site();
    assert_eq!(
        publisher
            .publish(&put("/a.html", "text/html", b"<p>"))
            .status,
        501
    );
    assert_eq!(get(&publisher, "/a.html").status, 404);
    assert_eq!(publisher.publish(&put("/news", "", b"x")).status, 405);
    assert_eq!(
        publisher.publish(&put("/no/folder/a.txt", "", b"x")).status,
        409
    );
    assert_eq!(publisher.publish(&put("/a__", "", b"x")).status, 400);
}

#[test]
fn a_name_that_is_acquired_is_made_where_it_was_put() {
    let publisher = site();
    assert_eq!(
        publisher
            .publish(&put("/news/style.css", "", b"b {}"))
            .status,
        201
    );
    assert_eq!(body(get(&publisher, "/news/style.css")), b"b {}");
    assert_ne!(body(get(&publisher, "/style.css")), b"b {}");
}

#[test]
fn a_page_is_edited_by_a_form() {
    let publisher = site();
    let mut form = request("POST", "/about/manage_edit");
    form.headers
        .push(("authorization".to_owned(), AUTHORIZATION.to_vec()));
    let kind = b"application/x-www-form-urlencoded".to_vec();
    form.headers.push(("content-type".to_owned(), kind));
    form.body = b"title=New+%3Ctitle%3E&data=%3Cdtml-var+title%3E%0D%0A%C3%BC".to_vec();
    let response = publisher.publish(&form);
    assert_eq!(response.status, 200);
    let page = String::from_utf8(body(response)).unwrap();
    assert!(
        page.contains("Saved changes.") && page.contains("New &lt;title&gt; (about)"),
        "{page}"
    );
    assert_eq!(
        body(get(&publisher, "/about")),
        "New <title>\r\nü".as_bytes()
    );

    form.body = b"title=x".to_vec();
    assert_eq!(publisher.publish(&form).status, 400, "data is required");
    form.headers.remove(0);
    assert_eq!(publisher.publish(&form).status, 401);
}

#[test]
fn a_source_with_a_mistake_is_refused_or_kept_with_a_warning() {
    let publisher = site();
    let broken = b"<dtml-if x>no end";
    assert_eq!(publisher.publish(&put("/about", "", broken)).status, 500);
    assert_eq!(publisher.publish(&put("/new.dtml", "", broken)).status, 500);
    assert_eq!(get(&publisher, "/about").status, 200);
    assert_eq!(get(&publisher, "/new.dtml").status, 404);
    // What only cannot be rendered here is stored for Zope to render.
    let later = b"<dtml-in objectIds><dtml-var sequence-item></dtml-in>";
    assert_eq!(publisher.publish(&put("/about", "", later)).status, 204);
    assert_eq!(get(&publisher, "/about").status, 501);

    let mut form = request("POST", "/about/manage_edit");
    form.headers
        .push(("authorization".to_owned(), AUTHORIZATION.to_vec()));
    form.query = "title=t&data=%3Cdtml-if+x%3E".to_owned();
    let page = String::from_utf8(body(publisher.publish(&form))).unwrap();
    assert!(
        page.contains("Saved changes.") && page.contains("It cannot be rendered"),
        "{page}"
    );
    let raw = stored(&publisher, &["about"]);
    assert_eq!(
        raw.state().get("raw").unwrap().as_str(),
        Some("<dtml-if x>")
    );
}

#[test]
fn text_of_eight_letters_is_no_reference() {
    // An object id is eight bytes, too.
    let publisher = site();
    assert_eq!(
        publisher.publish(&put("/a.css", "text/css", b"x")).status,
        201
    );
    let mut head = request("HEAD", "/a.css");
    assert_eq!(publisher.publish(&head).status, 200);
    head.method = "GET".to_owned();
    head.path = "/a.css/content_type".to_owned();
    assert_eq!(publisher.publish(&head).status, 404);
}

#[test]
fn nobody_and_wrong_passwords_change_nothing() {
    let publisher = site();
    let before = publisher.database().storage().last_tid();
    for (authorization, status) in [
        (&b""[..], 401),
        (b"Basic YWRtaW46d3Jvbmc=", 401),
        (b"Basic !", 400),
        (b"Bearer x", 401),
    ] {
        let mut request = put("/news/x.txt", "", b"x");
        request.headers[0].1 = authorization.to_vec();
        let response = publisher.publish(&request);
        assert_eq!(
            response.status,
            status,
            "{}",
            String::from_utf8_lossy(authorization)
        );
        let challenge = response.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401);
    }
    assert_eq!(publisher.database().storage().last_tid(), before);
}

#[test]
fn the_transaction_says_who_and_what() {
    let storage = Arc::new(support::Recorder::new(MemoryStorage::new()));
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    ofs::sample::create(&database, ADMIN).unwrap();
    let publisher = support::publisher(storage.clone());
    publisher.publish(&put("/style.css", "", b"x"));
    publisher.publish(&put("/news/y.txt", "", b"x"));
    let metas = storage.metas();
    let shown: Vec<_> = metas
        .iter()
        .map(|meta| {
            (
                String::from_utf8_lossy(&meta.user),
                String::from_utf8_lossy(&meta.description),
            )
        })
        .collect();
    // As Zope writes them, the leading space of the root's users included.
    assert_eq!(shown[1], (" admin".into(), "/style.css/PUT".into()));
    assert_eq!(shown[2], (" admin".into(), "/news/PUT".into()));
}

#[test]
fn eight_writers_in_one_folder_lose_nothing() {
    const WRITERS: usize = 8;
    const FILES: usize = 12;
    let storage = Arc::new(MemoryStorage::new());
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    ofs::sample::create(&database, ADMIN).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let storage = storage.clone();
            scope.spawn(move || {
                // Each is a process of its own: no cache is shared.
                let publisher = support::publisher(storage);
                for number in 0..FILES {
                    let path = format!("/news/{writer}-{number}.txt");
                    // Refused after the last repetition, a client tries again.
                    while publisher.publish(&put(&path, "", path.as_bytes())).status == 503 {}
                }
            });
        }
    });
    let publisher = support::publisher(storage);
    let folder = stored(&publisher, &["news"]);
    let listed: BTreeSet<_> = folder
        .state()
        .get("_objects")
        .unwrap()
        .elements()
        .map(|item| item.get("id").unwrap().as_str().unwrap().to_owned())
        .collect();
    for writer in 0..WRITERS {
        for number in 0..FILES {
            let name = format!("{writer}-{number}.txt");
            assert!(listed.contains(&name), "{name} is listed");
            let path = format!("/news/{name}");
            assert_eq!(body(get(&publisher, &path)), path.as_bytes());
        }
    }
}

#[test]
fn a_conflict_is_repeated_on_a_fresh_snapshot_and_given_up_in_the_end() {
    // Another writer is faster, so many times.
    for (times, status) in [(1, 201), (3, 201), (4, 503)] {
        let storage = Arc::new(support::Recorder::new(MemoryStorage::new()));
        let database = Database::new(storage.clone(), DatabaseOptions::default());
        ofs::sample::create(&database, ADMIN).unwrap();
        let publisher = support::publisher(storage.clone());
        let other = support::publisher(storage.clone());
        let mut number = 0;
        storage.before_votes(times, move || {
            number += 1;
            let path = format!("/news/other-{number}.txt");
            assert_eq!(other.publish(&put(&path, "", b"other")).status, 201);
        });
        let response = publisher.publish(&put("/news/mine.txt", "", b"mine"));
        assert_eq!(response.status, status, "after {times} conflicts");
        assert_eq!(response.header("retry-after").is_some(), status == 503);
        let found = get(&publisher, "/news/mine.txt").status;
        assert_eq!(found, if status == 201 { 200 } else { 404 });
        for number in 1..=times {
            assert_eq!(
                get(&publisher, &format!("/news/other-{number}.txt")).status,
                200
            );
        }
    }
}

#[test]
fn a_commit_that_broke_off_is_repeated_but_a_wait_in_vain_is_not() {
    for (waited, status) in [(0, 201), (30, 503)] {
        let storage = Arc::new(support::Recorder::new(MemoryStorage::new()));
        let database = Database::new(storage.clone(), DatabaseOptions::default());
        ofs::sample::create(&database, ADMIN).unwrap();
        let publisher = support::publisher(storage.clone());
        let waited = Duration::from_secs(waited);
        storage.refuse(1, StorageError::Disconnected { waited });
        let response = publisher.publish(&put("/news/mine.txt", "", b"mine"));
        assert_eq!(response.status, status, "waited {waited:?}");
    }
}

#[test]
fn a_page_that_includes_itself_ends() {
    let publisher = site();
    let page = b"x<dtml-var standard_html_footer>";
    assert_eq!(
        publisher
            .publish(&put("/standard_html_footer", "", page))
            .status,
        204
    );
    assert_eq!(get(&publisher, "/about").status, 500);
    assert_eq!(get(&publisher, "/style.css").status, 200);
}
