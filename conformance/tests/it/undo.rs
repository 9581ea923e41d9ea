//! Undo, history and iteration through a genuine client.

use conformance::judge;
use serde_json::json;

use crate::sound_site;
use crate::up::role;

#[test]
fn a_genuine_client_undoes_and_walks_through_the_server() {
    check("pickle");
}

#[test]
fn a_genuine_client_does_so_in_msgpack() {
    check("msgpack");
}

fn check(encoding: &str) {
    let site = sound_site();
    let config = format!("[zeo]\nencoding = \"{encoding}\"\n");
    std::fs::write(site.directory().join("zodiac.toml"), config).unwrap();
    let data = site.data().to_str().unwrap();
    let zeo = role(site.directory(), &["zeo", "--data", data]);
    let server = zeo.listening().unwrap();
    let wanted = json!({ "server": server.to_string(), "data": data });
    let said = judge::run("undo.py", &wanted).unwrap();
    zeo.stop().unwrap();

    let refused = "Undo error 0x00: Some data were modified by a later transaction";
    assert_eq!(said["refused"], refused);
    assert_eq!(said["transactions"], said["undoable"], "nothing is packed");
    let checked = site.check(&[]).unwrap();
    let found = checked["transactions"].as_array().unwrap().len();
    assert_eq!(said["transactions"], found);
}
