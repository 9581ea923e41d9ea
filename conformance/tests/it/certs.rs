//! `zodiac zeo certs`: its files for genuine servers and clients and for ours, the tools that speak TLS, and
//! what clients may do by their certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use conformance::{Cluster, PATIENCE, http, judge, poll, zodiac_binary};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::runzeo::free_address;
use crate::sound_site;
use crate::tls::{Server, runzeo, zodiac};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(zodiac_binary().unwrap());
    command.args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

/// A directory `certs` in a new one, with a server for this machine and these clients.
fn certificates(clients: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let certs = path(&folder, "");
    let mut words = vec![
        "zeo",
        "certs",
        &certs,
        "--server",
        "localhost,127.0.0.1,::1",
    ];
    words.extend(clients.iter().flat_map(|name| ["--client", name]));
    let made = run(&words);
    assert!(made.status.success(), "{}", said(&made));
    folder
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join("certs").join(name).display().to_string()
}

fn section(folder: &TempDir, name: &str) -> String {
    let [certificate, key] = ["pem", "key"].map(|end| path(folder, &format!("{name}.{end}")));
    let authority = path(folder, "ca.pem");
    format!("certificate {certificate}\nkey {key}\nauthenticate {authority}")
}

/// The flags of our tools.
fn flags(folder: &TempDir, name: &str) -> Vec<String> {
    let flag = |name: &str, file: &str| [format!("--tls-{name}"), path(folder, file)];
    [
        flag("certificate", &format!("{name}.pem")),
        flag("key", &format!("{name}.key")),
        flag("authenticate", "ca.pem"),
    ]
    .concat()
}

fn run_with(words: &[&str], flags: &[String]) -> Output {
    let words: Vec<&str> = words
        .iter()
        .copied()
        .chain(flags.iter().map(String::as_str))
        .collect();
    run(&words)
}

fn openssl(words: &[&str]) -> Option<String> {
    let output = Command::new("openssl").args(words).output().ok()?;
    Some(said(&output))
}

#[test]
fn certificates_are_made_once_and_keys_are_nobody_elses() {
    let folder = certificates(&["zope1"]);
    let certs = path(&folder, "");
    for (name, mode) in [
        ("ca.key", 0o600),
        ("zope1.key", 0o600),
        ("zope1.pem", 0o644),
    ] {
        let found = fs::metadata(path(&folder, name)).unwrap().permissions();
        assert_eq!(found.mode() & 0o777 & !0o044, mode & !0o044, "{name}");
        assert_eq!(found.mode() & 0o077 == 0, mode == 0o600, "{name}");
    }
    let list = || {
        let names = fs::read_dir(&certs).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
            .into_iter()
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = list();
    for (words, complaint) in [
        (
            &["--client", "zope2", "--client", "zope1"][..],
            "zope1.pem is there already",
        ),
        (&["--client", "zope2", "--client", "zope2"], "named twice"),
        (&["--client", "ca"], "authority"),
        (&["--client", "../zope2"], "no name"),
        (&["--server", "not a host"], "neither a host name"),
        (
            &["--client", "zope2", "--days", "9999"],
            "--days must not be more",
        ),
        (&[], "name servers and clients"),
    ] {
        let refused = run(&[&["zeo", "certs", &certs], words].concat());
        assert!(!refused.status.success());
        assert!(said(&refused).contains(complaint), "{}", said(&refused));
        assert_eq!(list(), before);
    }

    let later = run(&[
        "zeo", "certs", &certs, "--client", "zope2", "--days", "30", "--json",
    ]);
    let report: Value = serde_json::from_slice(&later.stdout).unwrap();
    let made = &report["made"][0];
    assert_eq!(
        (&made["kind"], &made["name"]),
        (&json!("client"), &json!("zope2"))
    );
    is_as_openssl_wants(&folder, made);
}

/// Where there is an openssl to ask.
fn is_as_openssl_wants(folder: &TempDir, made: &Value) {
    let pem = made["certificate"].as_str().unwrap();
    let authority = path(folder, "ca.pem");
    if let Some(verified) = openssl(&["verify", "-x509_strict", "-CAfile", &authority, pem]) {
        assert!(verified.contains("zope2.pem: OK"), "{verified}");
        let shown = openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in", pem]).unwrap();
        let fingerprint = made["fingerprint"].as_str().unwrap();
        assert!(shown.contains(fingerprint), "{shown} {fingerprint}");
        let server = path(folder, "localhost.pem");
        let purpose = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            &authority,
        ];
        let verified = openssl(&[&purpose[..], &["-verify_ip", "::1", &server]].concat()).unwrap();
        assert!(verified.contains("localhost.pem: OK"), "{verified}");
        let verified = openssl(&[&purpose[..], &[pem]].concat()).unwrap();
        assert!(
            verified.contains("unsuitable certificate purpose"),
            "{verified}"
        );
    }
}

#[test]
fn a_foreign_authority_is_not_signed_with() {
    let folder = certificates(&[]);
    let other = certificates(&[]);
    fs::copy(path(&other, "ca.key"), path(&folder, "ca.key")).unwrap();
    let certs = path(&folder, "");
    let refused = run(&["zeo", "certs", &certs, "--client", "zope1"]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("ca.pem"), "{}", said(&refused));
    fs::remove_file(path(&folder, "ca.key")).unwrap();
    let refused = run(&["zeo", "certs", &certs, "--client", "zope1"]);
    assert!(
        said(&refused).contains("ca.key is missing"),
        "{}",
        said(&refused)
    );
    assert!(!Path::new(&path(&folder, "zope1.pem")).exists());
}

/// Genuine clients and our tools at both servers, with what one command made.
fn everybody_meets(server: Command) {
    let folder = certificates(&["zope1"]);
    let (own, client) = (section(&folder, "localhost"), section(&folder, "zope1"));
    let flags = flags(&folder, "zope1");
    let place = tempfile::tempdir().unwrap();
    let server = Server::start_in(
        place,
        server,
        &own,
        "<filestorage 1>\npath Data.fs\n</filestorage>",
    );
    let found = server.visit(Some(&client), Some("certified"));
    assert_eq!(found, json!({ "visits": ["certified"] }));

    let asked = run_with(&["zeo-nagios", &server.address], &flags);
    assert_eq!((asked.status.code(), said(&asked).trim()), (Some(0), "OK"));
    let asked = run(&["zeo-nagios", &server.address]);
    assert_eq!(asked.status.code(), Some(2), "{}", said(&asked));

    let packed = run_with(&["zeopack", "--wait", "5", &server.address], &flags);
    assert!(packed.status.success(), "{}", said(&packed));
    let refused = run(&["zeopack", "--wait", "1", &server.address]);
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(server.folder.path().join("Data.fs.old").exists());

    let copy = server.folder.path().join("copy.fs");
    let copy = copy.to_str().unwrap();
    let source = format!("zeo://{}", server.address);
    let copied = run_with(&["fs", "copy", &source, copy], &flags);
    assert!(copied.status.success(), "{}", said(&copied));
    let verified = run(&["fs", "verify", copy]);
    assert!(verified.status.success(), "{}", said(&verified));
}

#[test]
fn our_server_has_the_certificates_that_were_made() {
    everybody_meets(zodiac());
}

#[test]
fn a_genuine_server_has_the_certificates_that_were_made() {
    everybody_meets(runzeo());
}

/// Wherever somebody looks, until another one is put in its place.
#[test]
fn a_certificate_that_expires_soon_is_told() {
    let folder = certificates(&["zope1"]);
    let names = ["localhost.pem", "localhost.key"];
    let lasting = names.map(|name| {
        let path = path(&folder, name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        (path, bytes)
    });
    let certs = path(&folder, "");
    let hosts = "localhost,127.0.0.1,::1";
    let made = run(&["zeo", "certs", &certs, "--server", hosts, "--days", "10"]);
    assert!(made.status.success(), "{}", said(&made));

    let metrics = free_address();
    let mut server = zodiac();
    server.args(["--metrics", &metrics]);
    let place = tempfile::tempdir().unwrap();
    let storage = "<filestorage 1>\npath Data.fs\n</filestorage>";
    let server = Server::start_in(place, server, &section(&folder, "localhost"), storage);
    server.visit(Some(&section(&folder, "zope1")), Some("here"));

    let log = server.said();
    let warning = "the server's certificate expires soon";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    assert!(log.contains("days=9"), "{log}");
    let flags = flags(&folder, "zope1");
    let nagios = || run_with(&["zeo-nagios", "-m", &server.address], &flags);
    let asked = nagios();
    assert_eq!(asked.status.code(), Some(1));
    let message = said(&asked);
    assert!(
        message.starts_with("The server's certificate expires in 9 days|")
            && message.contains("certificate_days=9"),
        "{message}"
    );
    let top = || {
        said(&run(&[
            "top",
            "--once",
            "--interval",
            "0.1",
            "--address",
            &metrics,
        ]))
    };
    assert!(top().contains("certificate expires in 9d"), "{}", top());
    let text = http::get(metrics.parse().unwrap(), "/metrics")
        .unwrap()
        .text();
    assert!(text.contains("\nzodiac_zeo_certificate_expiry_timestamp_seconds "));

    for (path, bytes) in lasting {
        fs::write(path, bytes).unwrap();
    }
    poll("the other certificate", PATIENCE, || {
        (nagios().status.code() == Some(0)).then_some(())
    })
    .unwrap();
    let view = top();
    assert!(
        view.contains("certificate ") && !view.contains("expires in"),
        "{view}"
    );
}

fn tries(server: &Server, ssl: &str, falls_back: bool) -> Value {
    let wanted = json!({ "server": server.address, "ssl": ssl, "read_only_fallback": falls_back });
    judge::run("zeo_rights.py", &wanted).unwrap()
}

#[test]
fn genuine_clients_may_do_what_their_certificates_say() {
    let folder = certificates(&["zope1", "writer", "reports", "packer", "former"]);
    let place = tempfile::tempdir().unwrap();
    let rules = "[zeo]\ntls-rights = []\ntls-clients = [
        { name = 'zope1', rights = ['read', 'write', 'undo', 'pack'] },
        { name = 'writer', rights = ['read', 'write'] },
        { name = 'reports', rights = ['read'] },
        { name = 'packer', rights = ['pack'] },
    ]\n";
    fs::write(place.path().join("zodiac.toml"), rules).unwrap();
    let own = section(&folder, "localhost");
    let data = "<filestorage 1>\npath Data.fs\n</filestorage>";
    let server = Server::start_in(place, zodiac(), &own, data);
    let client = |name: &str| section(&folder, name);

    let made = server.visit(Some(&client("zope1")), Some("first"));
    assert_eq!(made, json!({ "visits": ["first"] }));
    let found = tries(&server, &client("zope1"), false);
    let expected = json!({
        "connect": "ok", "read_only": false, "supports_undo": true,
        "load": "ok", "commit": "ok", "undo": "ok", "pack": "ok",
    });
    assert_eq!(found, expected);

    let found = tries(&server, &client("reports"), false);
    assert_eq!(found, json!({ "connect": "ClientDisconnected" }));
    let found = tries(&server, &client("reports"), true);
    let expected = json!({
        "connect": "ok", "read_only": true, "supports_undo": false, "load": "ok",
        "commit": "ReadOnlyError: ", "pack": "ReadOnlyError: this client has no right to pack",
    });
    assert_eq!(found, expected);

    let found = tries(&server, &client("writer"), false);
    assert_eq!(found["supports_undo"], json!(false), "{found}");
    assert_eq!(found["commit"], json!("ok"), "{found}");
    assert_eq!(
        found["undo"],
        json!("ReadOnlyError: this client has no right to undo"),
        "{found}"
    );

    let found = tries(&server, &client("packer"), true);
    assert_eq!(found["pack"], json!("ok"), "{found}");
    let load = found["load"].as_str().unwrap();
    assert!(load.contains("no right to read"), "{found}");

    let found = tries(&server, &client("former"), true);
    assert_eq!(found, json!({ "connect": "ClientDisconnected" }));
    let said = server.said();
    for refused in [
        "register was refused: this client has no right to write",
        "pack was refused: this client has no right to pack",
        "register was refused: this client has no rights here",
    ] {
        assert!(said.contains(refused), "{refused}: {said}");
    }
}

#[test]
fn a_cluster_speaks_tls_within() {
    let site = sound_site();
    let folder = certificates(&["publisher"]);
    let config = path(&folder, "zodiac.toml");
    let keys = |name: &str| {
        let [certificate, key] = ["pem", "key"].map(|end| path(&folder, &format!("{name}.{end}")));
        let authority = path(&folder, "ca.pem");
        format!(
            "tls-certificate = '{certificate}'\ntls-key = '{key}'\ntls-authenticate = '{authority}'\n"
        )
    };
    // A publisher needs no more.
    let rights = "tls-rights = ['read', 'write']\n";
    let text = format!(
        "[zeo]\n{}{rights}[publish]\n{}",
        keys("localhost"),
        keys("publisher")
    );
    fs::write(&config, text).unwrap();
    let cluster = Cluster::start_with(site.data(), 2, &["--config", &config]).unwrap();
    let page = http::get(cluster.balancer(), "/note.txt").unwrap();
    assert_eq!((page.status, page.text().as_str()), (200, "first note\n"));
    let server = cluster.zeo().address.to_string();
    let asked = run_with(&["zeo-nagios", &server], &flags(&folder, "publisher"));
    assert_eq!(said(&asked).trim(), "OK");
    let asked = run(&["zeo-nagios", &server]);
    assert_eq!(asked.status.code(), Some(2), "{}", said(&asked));
    assert!(cluster.stop().unwrap().success());
}

#[test]
fn rules_without_tls_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zodiac.toml");
    fs::write(&file, "[zeo]\ntls-rights = ['read']\n").unwrap();
    let data = folder.path().join("Data.fs");
    let [file, data] = [file, data].map(|path| path.display().to_string());
    let refused = run(&[
        "zeo",
        "--config",
        &file,
        "--data",
        &data,
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("does not speak TLS"),
        "{}",
        said(&refused)
    );
}
