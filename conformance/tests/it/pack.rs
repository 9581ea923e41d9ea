//! Packing through a genuine client, while another one commits.

use conformance::judge;
use serde_json::json;

use crate::sound_site;
use crate::up::role;

#[test]
fn a_genuine_client_packs_while_another_one_commits() {
    let site = sound_site();
    let data = site.data().to_str().unwrap();
    let zeo = role(site.directory(), &["zeo", "--data", data]);
    let server = zeo.listening().unwrap();
    let wanted = json!({ "server": server.to_string(), "history": 300 });
    let said = judge::run("pack.py", &wanted).unwrap();
    zeo.stop().unwrap();

    assert!(said["commits"].as_u64().unwrap() > 20, "{said}");
    let undo = &said["undo"];
    let disabled = "Undo is currently disabled for database maintenance.<p>";
    assert!(undo.is_null() || undo == disabled, "{said}");
    // The original reads what is left, and finds nothing wrong.
    site.check(&[]).unwrap();
    assert!(site.data().with_extension("fs.old").exists());
}
