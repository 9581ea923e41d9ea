//! A storage server as those see it who watch it: metrics, health, slow calls, `zodiac top`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use storage::{Commit, Oid, Record, Storage, Tid, TransactionMeta, Voted};
use zeo_net::{ClientOptions, ZeoStorage};

use crate::{Running, scratch};

/// A server with its addresses.
struct Server {
    running: Running,
    metrics: String,
    clients: String,
    directory: std::path::PathBuf,
}

impl Server {
    fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let directory = scratch(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_zodiac"));
        command
            .args(["zeo", "--supervised", "--json", "--log-format", "json"])
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .arg("--data")
            .arg(directory.join("Data.fs"))
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (metrics, clients) = addresses(stdout);
        Self {
            running: Running { child },
            metrics,
            clients,
            directory,
        }
    }

    fn child(&mut self) -> &mut Child {
        &mut self.running.child
    }

    fn client(&self, label: &str) -> Arc<ZeoStorage> {
        let options = ClientOptions {
            servers: vec![self.clients.clone()],
            label: Some(label.to_owned()),
            ..ClientOptions::default()
        };
        ZeoStorage::connect(options).expect("the server takes a client")
    }

    /// Status and body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.metrics).expect("the listener is there");
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// The value of one line of the metrics.
    fn metric(&self, line: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let found = text
            .lines()
            .find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
        let value = found.unwrap_or_else(|| panic!("no {line} in {text}"));
        value.parse().expect("a number")
    }

    fn top(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
            .args([
                "top",
                "--once",
                "--interval",
                "0.2",
                "--address",
                &self.metrics,
            ])
            .args(arguments)
            .output()
            .expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        assert!(output.status.success(), "{}", text(output.stderr));
        text(output.stdout)
    }

    /// Stops it, and tells what it has logged.
    fn stop(mut self) -> String {
        drop(self.child().stdin.take());
        let mut log = String::new();
        let mut stderr = self.child().stderr.take().expect("stderr is piped");
        stderr.read_to_string(&mut log).expect("log lines are text");
        assert!(self.child().wait().expect("it ends").success(), "{log}");
        std::fs::remove_dir_all(&self.directory).expect("the directory goes");
        log
    }
}

/// Where it listens, for those who watch and for clients.
fn addresses(stdout: ChildStdout) -> (String, String) {
    let (mut metrics, mut clients) = (None, None);
    for line in BufReader::new(stdout).lines() {
        let line = line.expect("lines are text");
        let event: Value = serde_json::from_str(&line).expect("lines are JSON");
        let address = event["address"].as_str().map(str::to_owned);
        match event["event"].as_str() {
            Some("metrics") => metrics = address,
            Some("listening") => clients = address,
            other => panic!("{other:?}"),
        }
        if clients.is_some() {
            break;
        }
    }
    let metrics = metrics.expect("those who watch come first");
    (metrics, clients.expect("the server listens"))
}

fn vote(client: &Arc<ZeoStorage>, oid: u64, base: Tid, data: Vec<u8>) -> Box<dyn Voted> {
    begin(client, oid, base, data)
        .vote()
        .expect("nothing is in the way")
}

fn begin(client: &Arc<ZeoStorage>, oid: u64, base: Tid, data: Vec<u8>) -> Box<dyn Commit> {
    let meta = TransactionMeta {
        user: b"kitchen".to_vec(),
        description: b"/site/soup".to_vec(),
        ..TransactionMeta::default()
    };
    let mut commit = client.clone().begin(meta).expect("a transaction");
    let stored = commit.store(Oid::new(oid), base, Record::from(data));
    stored.expect("it is sent");
    commit
}

fn finish(voted: Box<dyn Voted>) -> Tid {
    voted.finish(Box::new(|_| {})).expect("it is finished")
}

#[test]
fn metrics_count_what_clients_do() {
    // Every call is slow.
    let server = Server::start("metrics", &[("ZODIAC_ZEO_SLOW_REQUEST", "0.000000001")]);
    assert_eq!(server.get("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(server.get("/nothing").0, 404);
    let (writer, reader) = (server.client("writer"), server.client("reader"));
    let mut tid = Tid::ZERO;
    for number in 0..3 {
        tid = finish(vote(&writer, 1, tid, vec![number; 1000]));
    }
    reader.sync().expect("the server is there");
    let found = reader
        .load_before(Oid::new(1), Tid::MAX)
        .expect("it is loaded");
    assert_eq!(found.expect("a revision").tid, tid);
    let missing = reader.load_before(Oid::new(77), Tid::MAX);
    assert!(missing.is_err());

    let one = |name: &str| server.metric(&format!("zodiac_zeo_{name}{{storage=\"1\"}}"));
    assert_eq!(one("transactions_committed_total"), 3.0);
    assert_eq!(one("written_transactions_total"), 3.0);
    assert_eq!(one("clients"), 2.0);
    assert_eq!(one("invalidations_sent_total"), 3.0);
    assert_eq!(one("storage_objects"), 1.0);
    assert_eq!(one("turn_duration_seconds_count"), 3.0);
    assert_eq!(one("transactions_active"), 0.0);
    assert!(one("sync_duration_seconds_count") >= 3.0);
    assert!(one("storage_bytes") > 3_000.0);
    let calls = |what: &str, method: &str| {
        let labels = format!("{{storage=\"1\",method=\"{method}\"}}");
        server.metric(&format!("zodiac_zeo_{what}{labels}"))
    };
    assert_eq!(calls("call_duration_seconds_count", "vote"), 3.0);
    assert_eq!(calls("call_duration_seconds_count", "tpc_finish"), 3.0);
    assert_eq!(calls("call_duration_seconds_count", "storea"), 3.0);
    assert_eq!(calls("call_duration_seconds_count", "loadBefore"), 2.0);
    assert_eq!(calls("calls_refused_total", "loadBefore"), 1.0);
    assert!(calls("call_duration_seconds_sum", "tpc_finish") > 0.0);
    assert!(server.metric("zodiac_zeo_received_bytes_total") > 3_000.0);
    assert!(server.metric("process_resident_memory_bytes") > 1e6);
    let held = vote(&writer, 2, Tid::ZERO, b"kept".to_vec());
    assert_eq!(one("transactions_active"), 1.0);
    assert!(one("turn_held_seconds") > 0.0);
    finish(held);

    check_top(&server);
    drop((writer, reader));
    let log = server.stop();
    check_slow(&log);
}

fn check_top(server: &Server) {
    let view: Value = serde_json::from_str(&server.top(&["--json"])).expect("JSON");
    assert_eq!(view["ready"], true);
    assert_eq!(view["storages"][0]["objects"], 2);
    let mut names: Vec<_> = [0, 1].map(|at| view["clients"][at]["name"].as_str()).into();
    names.sort();
    assert!(
        names[0].is_some_and(|name| name.starts_with("reader ")),
        "{view}"
    );
    let text = server.top(&[]);
    assert!(
        text.contains("READY") && text.contains("STORAGE 1"),
        "{text}"
    );
    assert!(text.contains("writer ") && !text.contains('\x1b'), "{text}");
}

fn check_slow(log: &str) {
    let slow: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["target"] == "zeo::slow")
        .collect();
    let vote = slow.iter().find(|line| line["method"] == "vote");
    let vote = vote.expect("a vote is slow");
    assert_eq!(vote["transaction"], "kitchen /site/soup", "{log}");
    let client = vote["client"].as_str().expect("a client");
    assert!(client.starts_with("writer 127.0.0.1:"), "{client}");
    assert!(slow.len() <= 40, "{} lines are a flood", slow.len());
}

#[test]
fn a_storage_without_room_is_not_ready() {
    let server = Server::start("not-ready", &[("ZODIAC_STORAGE_QUOTA", "100000")]);
    let client = server.client("filler");
    finish(vote(&client, 1, Tid::ZERO, vec![b'x'; 80_000]));
    assert_eq!(server.get("/readyz").0, 200);
    let refused = begin(&client, 2, Tid::ZERO, vec![b'x'; 80_000]).vote();
    assert!(refused.is_err());
    let (status, reason) = server.get("/readyz");
    assert_eq!(status, 503);
    assert!(
        reason.starts_with("storage 1: ") && reason.contains("quota"),
        "{reason}"
    );
    assert_eq!(server.metric("zodiac_zeo_ready"), 0.0);
    assert_eq!(server.get("/livez").0, 200);
    let text = server.top(&[]);
    assert!(text.contains("NOT READY: storage 1: "), "{text}");
    drop(client);
    server.stop();
}

/// A transaction that is voted may finish while the server stops. Until then it says what it does.
#[test]
fn a_server_that_stops_says_so() {
    let mut server = Server::start("stopping", &[]);
    let client = server.client("slow");
    let voted = vote(&client, 1, Tid::ZERO, b"late".to_vec());
    drop(server.child().stdin.take());
    let answer = loop {
        let (status, text) = server.get("/readyz");
        if status != 200 {
            break (status, text);
        }
    };
    assert_eq!(answer, (503, "shutting down\n".to_owned()));
    assert_eq!(server.get("/livez").0, 200);
    finish(voted);
    drop(client);
    server.stop();
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args(["top", "--once", "--address", &address])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&address) && said.contains("zeo.metrics"),
        "{said}"
    );
}
