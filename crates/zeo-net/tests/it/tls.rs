//! TLS between a server and its clients, and what happens to those who cannot do it right.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sha2::{Digest, Sha256};
use storage::{CommitError, MemoryStorage, Oid, Storage, StorageError, Tid};
use tempfile::TempDir;
use zeo_net::{
    ClientName, ClientOptions, ClientRights, ClientRule, Rights, Server, ServerOptions,
    TlsClientOptions, TlsServerOptions, ZeoStorage,
};

use crate::raw::in_time;
use crate::world::{PATIENCE, TestServer, any_port, commit};

const OID: Oid = Oid::new(1);

/// A directory with a server's certificate for `localhost`, and clients' that the server takes.
struct Pki(TempDir);

impl Pki {
    fn new(clients: &[&str]) -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.make("server");
        clients.iter().for_each(|name| pki.make(name));
        pki.authenticate(clients);
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes `name.pem`, certificate and key.
    fn make(&self, name: &str) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(self.path(&format!("{name}.crt")), &certificate).unwrap();
        let both = certificate + &key.serialize_pem();
        fs::write(self.path(&format!("{name}.pem")), both).unwrap();
    }

    /// Lists these clients at the server.
    fn authenticate(&self, clients: &[&str]) {
        let read = |name: &&str| fs::read_to_string(self.path(&format!("{name}.crt"))).unwrap();
        let all: String = clients.iter().map(read).collect();
        fs::write(self.path("clients.new"), all).unwrap();
        fs::rename(self.path("clients.new"), self.path("clients")).unwrap();
    }

    fn server(&self) -> TlsServerOptions {
        TlsServerOptions {
            look_interval: Duration::ZERO,
            ..TlsServerOptions::new(self.path("server.pem"), self.path("clients"))
        }
    }

    fn client(&self, name: &str) -> TlsClientOptions {
        let certificate = self.path(&format!("{name}.pem"));
        TlsClientOptions {
            server_hostname: Some("localhost".to_owned()),
            ..TlsClientOptions::new(certificate, self.path("server.crt"))
        }
    }
}

fn start(tls: TlsServerOptions) -> TestServer {
    let options = ServerOptions {
        tls: Some(tls),
        ..ServerOptions::default()
    };
    TestServer::start_with(Arc::new(MemoryStorage::new()), any_port(), options)
}

/// One who waits until it is served, or for a moment only.
fn connect(
    server: &TestServer,
    tls: Option<TlsClientOptions>,
    wait: Duration,
) -> Result<Arc<ZeoStorage>, StorageError> {
    ZeoStorage::connect(ClientOptions {
        servers: vec![server.address.to_string()],
        wait,
        tls,
        connect_timeout: wait,
        ..ClientOptions::default()
    })
}

fn is_served(server: &TestServer, tls: TlsClientOptions) {
    let client = connect(server, Some(tls), PATIENCE).unwrap();
    client.ping().unwrap();
}

/// Long enough for a handshake that succeeds, many times over.
const MOMENT: Duration = Duration::from_millis(700);

fn is_refused(server: &TestServer, tls: Option<TlsClientOptions>) {
    let refused = connect(server, tls, MOMENT);
    assert!(matches!(refused, Err(StorageError::Disconnected { .. })));
}

#[test]
fn commits_and_loads_of_all_sizes_travel_encrypted() {
    let pki = Pki::new(&["one", "two"]);
    let server = start(pki.server());
    let writer = connect(&server, Some(pki.client("one")), PATIENCE).unwrap();
    let reader = connect(&server, Some(pki.client("two")), PATIENCE).unwrap();
    let mut base = Tid::ZERO;
    // Around the sizes of records and buffers, and beyond what the socket takes at once.
    for size in [1, 16_383, 16_384, 65_536, 262_145, 9_000_000] {
        let data = vec![7; size];
        base = commit(&writer, OID, base, &data).unwrap();
        reader.sync().unwrap();
        let seen = reader.load_before(OID, Tid::MAX).unwrap().unwrap();
        assert_eq!((seen.tid, &*seen.record), (base, &*data));
    }
}

#[test]
fn many_threads_share_one_encrypted_connection() {
    let pki = Pki::new(&["one"]);
    let server = start(pki.server());
    let client = connect(&server, Some(pki.client("one")), PATIENCE).unwrap();
    let tid = commit(&client, OID, Tid::ZERO, &[1; 100_000]).unwrap();
    // Without what the cache has from the commit.
    let client = connect(&server, Some(pki.client("one")), PATIENCE).unwrap();
    let threads = (0..8_u64).map(|number| {
        let client = client.clone();
        std::thread::spawn(move || {
            for round in 0..25 {
                client.ping().unwrap();
                let oid = Oid::new(100 + number * 25 + round);
                assert!(client.load_before(oid, Tid::MAX).is_err());
                let seen = client.load_before(OID, Tid::MAX).unwrap().unwrap();
                assert_eq!(seen.tid, tid);
                commit(&client, oid, Tid::ZERO, &[2; 3_000]).unwrap();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    in_time(move || {
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap())
    });
}

#[test]
fn only_listed_clients_are_served() {
    let pki = Pki::new(&["one"]);
    pki.make("stranger");
    let server = start(pki.server());
    is_refused(&server, Some(pki.client("stranger")));
    is_refused(&server, None);
    is_served(&server, pki.client("one"));
}

#[test]
fn a_client_believes_the_listed_server_under_its_name_only() {
    let pki = Pki::new(&["one"]);
    pki.make("stranger");
    let server = start(pki.server());
    let mut other_server = pki.client("one");
    other_server.authenticate = Some(pki.path("stranger.crt"));
    is_refused(&server, Some(other_server));
    let mut other_name = pki.client("one");
    other_name.server_hostname = Some("example.org".to_owned());
    is_refused(&server, Some(other_name.clone()));
    // The address is no name of the server's, either.
    other_name.server_hostname = None;
    is_refused(&server, Some(other_name.clone()));
    other_name.check_hostname = false;
    is_served(&server, other_name);
}

#[test]
fn a_client_with_tls_gives_a_server_without_up() {
    let pki = Pki::new(&["one"]);
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    is_refused(&server, Some(pki.client("one")));
    connect(&server, None, PATIENCE).unwrap().ping().unwrap();
}

/// Shows the certificate of one, with the key of another.
#[test]
fn a_certificate_without_its_key_is_worth_nothing() {
    let pki = Pki::new(&["one"]);
    pki.make("thief");
    let server = start(pki.server());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(pki.path("server.crt")).unwrap();
        roots.add(own).unwrap();
        let shown = CertificateDer::from_pem_file(pki.path("one.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(pki.path("thief.pem")).unwrap();
        let provider = Arc::new(default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![shown], key));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(resolver));
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = silent(server.address);
        // Under TLS 1.3 the client's handshake is over before the server has looked.
        let greeted = tls.complete_io(&mut socket).and_then(|_| {
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.read(&mut [0; 1])
        });
        let error = greeted.unwrap_err().to_string();
        assert!(error.contains("alert"), "{version:?}: {error}");
    }
}

fn silent(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits for the server to close.
fn wait_for_end(mut stream: TcpStream) {
    let end = stream.read_to_end(&mut Vec::new());
    assert!(end.is_ok() || end.is_err_and(|error| !is_timeout(&error)));
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

#[test]
fn who_stalls_in_the_handshake_is_dropped_and_holds_nobody_up() {
    let pki = Pki::new(&["one"]);
    let server = start(TlsServerOptions {
        handshake_timeout: Duration::from_millis(500),
        handshakes_max: 1,
        ..pki.server()
    });
    // More of those who say nothing than there are places.
    let wordless = [silent(server.address), silent(server.address)];
    is_served(&server, pki.client("one"));
    // One that begins, and takes the only place.
    let mut begun = silent(server.address);
    begun.write_all(&client_hello()).unwrap();
    begun.read_exact(&mut [0; 5]).unwrap();
    is_served(&server, pki.client("one"));
    wait_for_end(begun);
    wordless.into_iter().for_each(wait_for_end);
}

/// The first words of a client.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn garbage_instead_of_a_handshake_ends_that_connection_alone() {
    let pki = Pki::new(&["one"]);
    let server = start(pki.server());
    let client = connect(&server, Some(pki.client("one")), PATIENCE).unwrap();
    let mut cut = client_hello();
    cut.truncate(cut.len() / 2);
    let mut broken = client_hello();
    for position in (5..broken.len()).step_by(7) {
        broken[position] ^= 0x55;
    }
    for words in [b"\0\0\0\x04ruok".to_vec(), vec![0xff; 70_000], broken] {
        let mut stream = silent(server.address);
        // The server may have enough before it has heard everything.
        let _written = stream.write_all(&words);
        wait_for_end(stream);
    }
    let mut stream = silent(server.address);
    stream.write_all(&cut).unwrap();
    drop(stream);
    client.ping().unwrap();
}

#[test]
fn certificates_that_change_count_from_the_next_connection_on() {
    let pki = Pki::new(&["one"]);
    pki.make("two");
    let server = start(pki.server());
    let first = connect(&server, Some(pki.client("one")), MOMENT).unwrap();
    is_refused(&server, Some(pki.client("two")));
    pki.authenticate(&["two"]);
    is_served(&server, pki.client("two"));
    is_refused(&server, Some(pki.client("one")));
    // Who was connected with a certificate that is gone, is gone, too.
    let gone = first.ping();
    assert!(matches!(gone, Err(StorageError::Disconnected { .. })));
    // The server's own, too.
    pki.make("server");
    is_served(&server, pki.client("two"));
}

#[test]
fn who_lost_its_certificate_is_cut_off_though_nobody_else_comes() {
    let pki = Pki::new(&["one", "two"]);
    let server = start(TlsServerOptions {
        watch_interval: Duration::from_millis(10),
        ..pki.server()
    });
    let stays = connect(&server, Some(pki.client("one")), MOMENT).unwrap();
    let goes = connect(&server, Some(pki.client("two")), MOMENT).unwrap();
    goes.ping().unwrap();
    pki.authenticate(&["one"]);
    in_time(move || while goes.ping().is_ok() {});
    stays.ping().unwrap();
}

fn rule(client: ClientName, rights: Rights) -> ClientRule {
    ClientRule { client, rights }
}

#[test]
fn what_a_client_may_do_depends_on_its_certificate() {
    let names = ["reader", "writer", "guest", "nobody"];
    let pki = Pki::new(&names);
    let certificate = CertificateDer::from_pem_file(pki.path("reader.crt")).unwrap();
    let digest = sha256(&certificate);
    let reads = Rights {
        read: true,
        ..Rights::NONE
    };
    let name = |name: &str| ClientName::Name(name.to_owned());
    let server = start(TlsServerOptions {
        rights: ClientRights {
            rules: vec![
                rule(ClientName::Fingerprint(digest.parse().unwrap()), reads),
                rule(name("writer"), Rights::ALL),
                rule(name("nobody"), Rights::NONE),
                // A name of the server's among those that each of these certificates has.
                rule(name("LOCALHOST"), reads),
            ],
            others: Rights::NONE,
        },
        ..pki.server()
    });
    let writer = connect(&server, Some(pki.client("writer")), PATIENCE).unwrap();
    let tid = commit(&writer, OID, Tid::ZERO, b"one").unwrap();
    for reader in ["reader", "guest"] {
        is_refused(&server, Some(pki.client(reader)));
        let options = ClientOptions {
            servers: vec![server.address.to_string()],
            tls: Some(pki.client(reader)),
            read_only_fallback: true,
            ..ClientOptions::default()
        };
        let reader = ZeoStorage::connect(options).unwrap();
        assert_eq!(reader.load_before(OID, Tid::MAX).unwrap().unwrap().tid, tid);
    }
    let refused = connect(&server, Some(pki.client("nobody")), PATIENCE);
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("no rights here"), "{refused}");
}

/// The SHA-256, in hexadecimal digits.
fn sha256(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_change_for_the_worse_leaves_the_old_certificates_in_force() {
    let pki = Pki::new(&["one"]);
    pki.make("two");
    let server = start(pki.server());
    is_served(&server, pki.client("one"));
    fs::write(pki.path("clients"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    is_served(&server, pki.client("one"));
    fs::remove_file(pki.path("clients")).unwrap();
    is_served(&server, pki.client("one"));
    is_refused(&server, Some(pki.client("two")));
    pki.authenticate(&["two"]);
    is_served(&server, pki.client("two"));
}

#[test]
fn a_stop_ends_encrypted_connections_and_handshakes() {
    let pki = Pki::new(&["one"]);
    let mut server = start(pki.server());
    let client = connect(&server, Some(pki.client("one")), PATIENCE).unwrap();
    let mut begun = silent(server.address);
    begun.write_all(&client_hello()).unwrap();
    begun.read_exact(&mut [0; 5]).unwrap();
    in_time(move || server.stop());
    wait_for_end(begun);
    client.close();
    let lost = commit(&client, OID, Tid::ZERO, b"lost");
    assert!(matches!(
        lost,
        Err(CommitError::Storage(StorageError::Disconnected { .. }))
    ));
}

#[test]
fn files_that_are_of_no_use_are_named_at_once() {
    let pki = Pki::new(&["one"]);
    let mut tls = pki.server();
    tls.authenticate = pki.path("nobody");
    let options = ServerOptions {
        tls: Some(tls),
        ..ServerOptions::default()
    };
    let error = Server::bind(any_port(), options).err().unwrap().to_string();
    assert!(error.contains("nobody"), "{error}");
    let server = start(pki.server());
    let refused = connect(&server, Some(pki.client("nobody")), PATIENCE);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("nobody.pem"), "{error}");
}
