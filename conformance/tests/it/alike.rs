//! The same content served by Zodiac and by genuine Zope, and the answers compared.

use conformance::http::{Request, Response};
use conformance::{Cluster, Database, Site, Zope, http};

/// One request a line: method, target, then headers after bars. A line that begins with `~` is one
/// that Zope leaves to its WSGI server to answer: there only the status is compared.
const REQUESTS: &str = "
GET /
GET /index_html
GET /plain
GET /plain/
GET /plain/sub
GET /plain/sub/
GET /plain/sub/deep/
GET /plain//sub/./deep
GET /plain/sub/../
GET /plain/index_html
GET /plain/sub/deep/index_html
HEAD /plain
GET /own
GET /own/
GET /own/below
GET /own/index_html
GET /ordered
GET /ordered/f1.txt
GET /ordered/f3.txt
GET /readme
GET /readme/
GET /readme?with=query
HEAD /readme
GET /plain/readme
GET /plain/sub/deep/readme
GET /text_only
GET /umlauts
GET /page
~GET /page_source
GET /headline
GET /plain/headline
GET /plain/sub/headline
GET /own/headline
GET /readme/headline
GET /footer
GET /plain/sub/footer
GET /style.css
GET /data.xml
GET /plain/data.xml
GET /plain/with_parts
GET /plain/sub/with_parts
GET /files
GET /files/empty.txt
HEAD /files/empty.txt
GET /files/small.txt
HEAD /files/small.txt
GET /plain/sub/files/small.txt
GET /files/latin.txt
GET /files/page.html
GET /files/noextension
GET /files/paper.pdf
GET /files/code.js
GET /files/chunk-minus-one.bin
GET /files/chunk.bin
GET /files/chunk-plus-one.bin
GET /files/two-chunks.bin
GET /files/two-chunks-plus-one.bin
GET /files/several-megabytes.bin
HEAD /files/several-megabytes.bin
GET /files/small.txt | range: bytes=0-4
GET /files/small.txt | range: bytes=5-
GET /files/small.txt | range: bytes=-6
GET /files/small.txt | range: bytes=3-100000
GET /files/small.txt | range: bytes=99999-
GET /files/small.txt | range: lines=1-2
GET /files/small.txt | range: bytes=9-3
GET /files/several-megabytes.bin | range: bytes=0-0
GET /files/several-megabytes.bin | range: bytes=65530-65550
GET /files/several-megabytes.bin | range: bytes=131000-2000000
GET /files/several-megabytes.bin | range: bytes=-70000
GET /files/several-megabytes.bin | range: bytes=5242880-
GET /files/chunk-plus-one.bin | range: bytes=65536-65536
GET /files/small.txt | if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT
GET /files/small.txt | if-modified-since: Thu, 01 Jan 1970 00:00:00 GMT
GET /files/small.txt | if-modified-since: nonsense
GET /files/small.txt | range: bytes=0-4 | if-range: Thu, 01 Jan 1970 00:00:00 GMT
GET /files/small.txt | range: bytes=0-4 | if-range: Fri, 01 Jan 2100 00:00:00 GMT
GET /images/dot.gif
GET /images/dot.png
GET /images/photo.jpg
GET /images/drawing.svg
HEAD /images/dot.png
GET /plain/images/dot.gif
GET /private/secret.txt | authorization: Basic cmVhZGVyOnJlYWRlci1wYXNzd29yZA==
GET /private/secret.txt | authorization: Basic YWRtaW46YWRtaW4tcGFzc3dvcmQ=
GET /private/secret.txt | authorization: Basic Y2hpZWY6Y2hpZWYtcGFzc3dvcmQ=
GET /note.txt | authorization: Basic bm9ib2R5Om5vYm9keS1wYXNzd29yZA==
GET /note.txt | authorization: Basic bm9ib2R5Ondyb25n
GET /private/secret.txt
HEAD /private/secret.txt
GET /private/secret.txt | authorization: Basic bm9ib2R5Om5vYm9keS1wYXNzd29yZA==
GET /private/secret.txt | authorization: Basic cmVhZGVyOndyb25n
GET /private/secret.txt | authorization: Basic !!!
GET /private/inner
GET /private/inner/secret.txt
GET /nope
HEAD /nope
GET /plain/nope
GET /plain/sub/nope/index_html
GET /files/nope.txt
GET /readme/nope
GET /acl_users
GET /_objects
GET /plain/_owner
GET /plain/title
GET /plain/..
GET /files/small.txt/nope
";

/// The headers that must agree; an absent one must be absent from both.
const COMPARED: [&str; 9] = [
    "content-type",
    "content-length",
    "last-modified",
    "accept-ranges",
    "content-range",
    "content-disposition",
    "location",
    "etag",
    "www-authenticate",
];

/// Where we answer otherwise: the request, the parts that differ, the reason. A gap that is closed
/// must leave this list.
const KNOWN: [(&str, &str, &str); 4] = [
    (
        "HEAD /plain",
        "etag",
        "the stored tag of a changed object is not sent yet",
    ),
    (
        "HEAD /readme",
        "etag",
        "the stored tag of a changed object is not sent yet",
    ),
    (
        "GET /files/small.txt | range: bytes=99999-",
        "content-length",
        "Zope announces the file's length for the empty body of a 416",
    ),
    (
        "GET /files/small.txt | if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT",
        "content-length",
        "Zope announces an empty body for a 304, which has none",
    ),
];

#[test]
fn what_zope_answers_zodiac_answers() {
    let site = Site::damaged().unwrap();
    let copy = Site::damaged().unwrap();
    let mut zope = Zope::serve(Database::File(copy.data())).unwrap();
    let cluster = Cluster::start(site.data(), 2).unwrap();
    let host = cluster.balancer().to_string();

    let mut differences = Vec::new();
    let lines = REQUESTS.lines().filter(|line| !line.is_empty());
    let count = lines.clone().count();
    for line in lines {
        let is_left = line.starts_with('~');
        let request = parse(line.trim_start_matches('~'));
        let expected = zope.send(&host, &request).unwrap();
        let found = http::send(cluster.balancer(), &request);
        let parts = match &found {
            Ok(found) => differing(&expected, found, &request.method, is_left),
            Err(error) => vec![("answer", format!("{error:#}"))],
        };
        let known = KNOWN
            .iter()
            .find(|(known, ..)| *known == line)
            .map(|(_, parts, _)| *parts);
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        if names.join(" ") != known.unwrap_or_default() {
            let texts: String = parts
                .iter()
                .map(|(name, text)| format!("    {name}: {text}\n"))
                .collect();
            differences.push(format!("{line} (known to differ: {known:?})\n{texts}"));
        }
    }
    assert!(count >= 100, "only {count} requests");
    assert!(
        differences.is_empty(),
        "{} of {count} answers differ:\n{}",
        differences.len(),
        differences.concat()
    );
}

#[test]
fn what_is_not_published_natively_says_so_with_its_class() {
    let site = sound();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    for (target, class) in [
        ("/template", "ZopePageTemplate"),
        (
            "/script",
            "Products.PythonScripts.PythonScript.PythonScript",
        ),
        ("/gadget", "vanished.product.Gadget"),
    ] {
        let answer = http::get(cluster.balancer(), target).unwrap();
        assert_eq!(answer.status, 501, "{target}: {}", answer.text());
        assert!(answer.text().contains(class), "{target}: {}", answer.text());
    }
}

#[test]
fn a_damaged_object_costs_one_request() {
    let site = Site::damaged().unwrap();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    let publisher = cluster.publisher(1);
    for _ in 0..3 {
        let answer = http::get(cluster.balancer(), "/damaged.txt").unwrap();
        assert!(
            (500..600).contains(&answer.status),
            "{}: {}",
            answer.status,
            answer.text()
        );
        let other = http::get(cluster.balancer(), "/note.txt").unwrap();
        assert_eq!(
            (other.status, other.text()),
            (200, "first note\n".to_owned())
        );
    }
    assert_eq!(
        cluster.publisher(1),
        publisher,
        "the publisher is still the same process"
    );
}

fn sound() -> Site {
    crate::sound_site()
}

fn parse(line: &str) -> Request {
    let mut parts = line.split(" | ");
    let (method, target) = parts
        .next()
        .and_then(|first| first.split_once(' '))
        .expect("a request");
    parts.fold(Request::new(method, target), |request, header| {
        let (name, value) = header.split_once(": ").expect("a header");
        request.header(name, value)
    })
}

/// The parts that differ, each with both sides.
fn differing(
    expected: &Response,
    found: &Response,
    method: &str,
    is_left: bool,
) -> Vec<(&'static str, String)> {
    let mut parts = Vec::new();
    if expected.status != found.status {
        parts.push((
            "status",
            format!("{} from Zope, {} from us", expected.status, found.status),
        ));
    }
    for name in COMPARED {
        let (theirs, ours) = (expected.header(name), found.header(name));
        // An error page gets its length from the WSGI server, as does an answer to HEAD.
        let is_given = name != "content-length" || (theirs.is_some() && method != "HEAD");
        if is_given && !is_left && theirs != ours {
            parts.push((name, format!("{theirs:?} from Zope, {ours:?} from us")));
        }
    }
    if !is_left && expected.body != found.body {
        let (theirs, ours) = (excerpt(&expected.body), excerpt(&found.body));
        parts.push(("body", format!("{theirs} from Zope, {ours} from us")));
    }
    parts
}

fn excerpt(body: &[u8]) -> String {
    let start: Vec<u8> = body.iter().copied().take(300).collect();
    format!("{} bytes {:?}", body.len(), String::from_utf8_lossy(&start))
}
