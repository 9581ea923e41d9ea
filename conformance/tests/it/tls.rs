//! TLS with the certificates of ZEO's own tests: genuine clients at our server, our client at a genuine server.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use conformance::{PATIENCE, judge, poll, zodiac_binary};
use serde_json::{Value, json};
use storage::{Oid, Record, Storage, StorageError, Tid, TransactionMeta};
use zeo_net::{ClientOptions, TlsClientOptions, ZeoStorage};

/// The directory of the genuine certificates: self-signed ones that call themselves authorities,
/// with SHA-1 and with a host name in the common name only.
fn certificates() -> PathBuf {
    let said = judge::run("zeo_tls.py", &json!({})).unwrap();
    said["certificates"].as_str().unwrap().into()
}

fn pem(name: &str) -> String {
    certificates().join(name).display().to_string()
}

fn server_section() -> String {
    let [certificate, key] = ["server.pem", "server_key.pem"].map(pem);
    let client = pem("client.pem");
    format!("certificate {certificate}\nkey {key}\nauthenticate {client}")
}

fn client_section() -> String {
    let [certificate, key] = ["client.pem", "client_key.pem"].map(pem);
    let server = pem("server.pem");
    format!("certificate {certificate}\nkey {key}\nauthenticate {server}\nserver-hostname zodb.org")
}

/// A server with a `zeo.conf`; it is ended with it.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn zodiac() -> Command {
    let mut command = Command::new(zodiac_binary().unwrap());
    command.arg("zeo");
    command
}

pub(crate) fn runzeo() -> Command {
    let mut command = Command::new(judge::python().unwrap());
    command.args(["-B", "-m", "ZEO.runzeo"]);
    command
}

impl Server {
    fn start(command: Command, ssl: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, command, ssl, "<mappingstorage 1/>")
    }

    /// A server whose directory may have files already.
    pub(crate) fn start_in(
        folder: tempfile::TempDir,
        mut command: Command,
        ssl: &str,
        storage: &str,
    ) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let configuration =
            format!("<zeo>\naddress {address}\n<ssl>\n{ssl}\n</ssl>\n</zeo>\n{storage}\n");
        fs::write(folder.path().join("zeo.conf"), configuration).unwrap();
        let said = File::create(folder.path().join("said")).unwrap();
        let child = command
            .args(["-C", "zeo.conf"])
            .current_dir(&folder)
            .env_remove("INSTANCE_HOME")
            .env_remove("ZEO_MSGPACK")
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            address,
            folder,
        };
        poll("a server that listens", PATIENCE, || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("{status}: {}", server.said());
            }
            TcpStream::connect(&server.address).ok()
        })
        .unwrap();
        server
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    /// What a genuine client finds.
    pub(crate) fn visit(&self, ssl: Option<&str>, write: Option<&str>) -> Value {
        let wanted = json!({ "server": self.address, "ssl": ssl, "write": write });
        judge::run("zeo_tls.py", &wanted).unwrap()
    }

    fn connect(&self, tls: TlsClientOptions) -> Result<Arc<ZeoStorage>, StorageError> {
        ZeoStorage::connect(ClientOptions {
            servers: vec![self.address.clone()],
            wait: Duration::from_secs(5),
            tls: Some(tls),
            ..ClientOptions::default()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

fn our_client(certificate: &str, key: &str) -> TlsClientOptions {
    TlsClientOptions {
        key: Some(certificates().join(key)),
        server_hostname: Some("zodb.org".to_owned()),
        ..TlsClientOptions::new(
            certificates().join(certificate),
            certificates().join("server.pem"),
        )
    }
}

fn refused() -> Value {
    json!({ "refused": "ClientDisconnected" })
}

#[test]
fn genuine_clients_come_in_with_the_genuine_certificates_and_only_with_them() {
    let server = Server::start(zodiac(), &server_section());
    let found = server.visit(Some(&client_section()), Some("encrypted"));
    assert_eq!(found, json!({ "visits": ["encrypted"] }));

    // The server's own certificate is none that a client may show.
    let stranger = client_section()
        .replace("client.pem", "server.pem")
        .replace("client_key.pem", "server_key.pem");
    assert_eq!(server.visit(Some(&stranger), None), refused());
    let said = server.said();
    assert!(
        said.contains("neither listed nor signed by a listed authority"),
        "{said}"
    );
    assert!(said.contains("20:88:CB:E3"), "{said}");

    // A client that believes another server, and one that asks for another host.
    for other in [
        client_section().replace("/server.pem", "/serverpw.pem"),
        client_section().replace("zodb.org", "example.org"),
    ] {
        assert_eq!(server.visit(Some(&other), None), refused());
    }
    let said = server.said();
    assert!(
        said.contains("closed the connection during the handshake"),
        "{said}"
    );

    assert_eq!(server.visit(None, None), refused());
    let found = server.visit(Some(&client_section()), None);
    assert_eq!(found, json!({ "visits": ["encrypted"] }));
}

#[test]
fn the_password_of_a_genuine_key_comes_from_a_command() {
    let [certificate, key] = ["serverpw.pem", "serverpw_key.pem"].map(pem);
    let client = pem("client.pem");
    let section = format!(
        "certificate {certificate}\nkey {key}\nauthenticate {client}\n\
         password-function ZEO.tests.testssl.pwfunc"
    );
    let mut command = zodiac();
    command.env("ZODIAC_ZEO_TLS_PASSWORD_COMMAND", "echo 1234");
    let server = Server::start(command, &section);
    let client = client_section().replace("/server.pem", "/serverpw.pem");
    let found = server.visit(Some(&client), Some("unlocked"));
    assert_eq!(found, json!({ "visits": ["unlocked"] }));
}

#[test]
fn our_client_comes_in_at_a_genuine_server() {
    let server = Server::start(runzeo(), &server_section());
    let client = server
        .connect(our_client("client.pem", "client_key.pem"))
        .unwrap();
    let storage: Arc<dyn Storage> = client.clone();
    let data = vec![7; 3_000_000];
    let mut commit = storage.begin(TransactionMeta::default()).unwrap();
    let oid = Oid::new(1);
    commit
        .store(oid, Tid::ZERO, Record::from(data.clone()))
        .unwrap();
    let tid = commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    let other = server
        .connect(our_client("client.pem", "client_key.pem"))
        .unwrap();
    let seen = other.load_before(oid, Tid::MAX).unwrap().unwrap();
    assert_eq!((seen.tid, &*seen.record), (tid, &*data));

    let stranger = server.connect(our_client("server.pem", "server_key.pem"));
    assert!(matches!(stranger, Err(StorageError::Disconnected { .. })));
    let mut elsewhere = our_client("client.pem", "client_key.pem");
    elsewhere.server_hostname = Some("example.org".to_owned());
    let elsewhere = server.connect(elsewhere);
    assert!(matches!(elsewhere, Err(StorageError::Disconnected { .. })));
    other.ping().unwrap();
}
