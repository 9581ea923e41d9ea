//! Two genuine Zopes as clients of one storage server: what one does the other one shows.

use conformance::http::{Request, Response};
use conformance::{Database, PATIENCE, Zope, poll};

use crate::up::role;
use crate::{by_admin, sound_site};

const HOST: &str = "localhost:8080";

#[test]
fn edits_and_undos_of_one_zope_are_seen_in_the_other() {
    let site = sound_site();
    let data = site.data().to_str().unwrap();
    let zeo = role(site.directory(), &["zeo", "--data", data]);
    let server = zeo.listening().unwrap();
    let mut zopes = [0, 1].map(|_| Zope::serve(Database::Zeo(server)).unwrap());
    for zope in &mut zopes {
        assert!(page(zope).contains("first text"));
    }
    // Each edits once, and each takes back what the other one has done.
    for (editor, other) in [(0, 1), (1, 0)] {
        let text = format!("the text of number {editor}");
        edit(&mut zopes[editor], &text);
        sees(&mut zopes[other], &text);
        sees(&mut zopes[editor], &text);
        undo_newest(&mut zopes[other]);
        sees(&mut zopes[editor], "first text");
        sees(&mut zopes[other], "first text");
    }
    // An undo can be undone, by either.
    undo_newest(&mut zopes[0]);
    for zope in &mut zopes {
        sees(zope, "the text of number 1");
    }
    drop(zopes);
    zeo.stop().unwrap();
    site.check(&[]).unwrap();
}

fn page(zope: &mut Zope) -> String {
    let answer = zope.send(HOST, &Request::new("GET", "/page")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// Invalidations come by themselves; that they have come, nobody tells.
fn sees(zope: &mut Zope, text: &str) {
    let seen = poll(text, PATIENCE, || page(zope).contains(text).then_some(()));
    seen.unwrap();
}

fn edit(zope: &mut Zope, text: &str) {
    let fields = [
        ("data", format!("<p>{text} of &dtml-title;</p>\n")),
        ("title", "A page".to_owned()),
    ];
    post(zope, "/page/manage_edit", &fields);
}

/// Through the form that people use: its first entry is the newest transaction.
fn undo_newest(zope: &mut Zope) {
    let request = by_admin(Request::new(
        "GET",
        "/Control_Panel/Database/main/manage_UndoForm",
    ));
    let form = zope.send(HOST, &request).unwrap();
    assert_eq!(form.status, 200, "{}", form.text());
    let text = form.text();
    let (_, rest) = text.split_once("name=\"transaction_info:list\"").unwrap();
    let (_, rest) = rest.split_once("value=\"").unwrap();
    let (entry, _) = rest.split_once('"').unwrap();
    let entry = entry
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    post(
        zope,
        "/Control_Panel/Database/main/manage_undo_transactions",
        &[("transaction_info:list", entry)],
    );
}

fn post(zope: &mut Zope, target: &str, fields: &[(&str, String)]) -> Response {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    let body = fields.collect::<Vec<_>>().join("&");
    let request = Request::new("POST", target)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let answer = zope.send(HOST, &by_admin(request)).unwrap();
    assert!(
        answer.status < 400,
        "{target}: {}: {}",
        answer.status,
        answer.text()
    );
    answer
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
