//! A storage server as those see it who watch it: metrics, health, slow calls, `zodiac top`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use storage::{Commit, Oid, Record, Storage, Tid, TransactionMeta, Voted};
use zeo_net::{ClientOptions, ZeoStorage};

use crate::{Running, scratch};

/// A server with its addresses.
struct Server {
    running: Running,
    metrics: String,
    clients: String,
    directory: PathBuf,
}

impl Server {
    fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let directory = scratch(name);
        let data = directory.join("Data.fs");
        let mut command = Command::new(env!("CARGO_BIN_EXE_zodiac"));
        command.envs(variables.iter().copied());
        Self::launch(command, directory, &data)
    }

    /// Starts what begins with these words.
    fn launch(mut command: Command, directory: PathBuf, data: &Path) -> Self {
        command
            .args(["zeo", "--supervised", "--json", "--log-format", "json"])
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .arg("--data")
            .arg(data)
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

/// A file system of its own, with room for a few megabytes, where people may make such.
#[test]
fn a_full_disk_is_told_until_there_is_room() {
    let directory = scratch("full-disk");
    let small = directory.join("small");
    std::fs::create_dir(&small).expect("a directory");
    let isolated = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.arg("sh").arg(&small);
        command
    };
    let mount = "mount -t tmpfs -o size=4m tmpfs \"$1\"";
    let allowed = isolated(mount).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: nobody may mount a file system here");
        return;
    }
    let script = format!("{mount} && head -c 2M /dev/zero > \"$1/filler\" && shift && exec \"$@\"");
    let mut command = isolated(&script);
    command.arg(env!("CARGO_BIN_EXE_zodiac"));
    let server = Server::launch(command, directory, &small.join("Data.fs"));
    let client = server.client("filler");
    let commit = |oid, bytes| {
        let voted = begin(&client, oid, Tid::ZERO, vec![b'x'; bytes]).vote();
        voted.map(finish)
    };
    assert_eq!(server.get("/readyz").0, 200);
    // While there is room for small ones it is not full.
    let fill = |oids: std::ops::Range<u64>, bytes| {
        let refused = oids.into_iter().find_map(|oid| commit(oid, bytes).err());
        refused.expect("the disk is full").to_string()
    };
    fill(1..10, 300_000);
    let refused = fill(10..100, 20_000);
    assert!(refused.contains("No space left"), "{refused}");
    let (status, reason) = server.get("/readyz");
    assert_eq!(status, 503);
    assert!(
        reason.starts_with("storage 1: ") && reason.contains("No space left on device"),
        "{reason}"
    );
    assert_eq!(server.metric("zodiac_zeo_ready"), 0.0);
    assert_eq!(server.get("/livez").0, 200);

    // Seen from outside: the file system is the server's alone.
    let root = format!("/proc/{}/root", server.running.child.id());
    let filler = small.join("filler");
    let inside = filler.strip_prefix("/").expect("a whole path");
    std::fs::remove_file(Path::new(&root).join(inside)).expect("the filler goes");
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    commit(100, 300_000).expect("there is room");
    drop(client);
    server.stop();
}

/// A disk that does not answer holds up who commits, and nobody else.
#[test]
fn a_sync_that_hangs_is_told_while_it_does() {
    let directory = scratch("hung-sync");
    let gate = directory.join("gate");
    let library = stopping_disk(&directory);
    let mut command = Command::new(env!("CARGO_BIN_EXE_zodiac"));
    command
        .env("LD_PRELOAD", library)
        .env("DISK_STOPS_WHILE_THERE_IS", &gate)
        .env("ZODIAC_ZEO_SYNC_PATIENCE", "0.2");
    let data = directory.join("Data.fs");
    let server = Server::launch(command, directory, &data);
    let (writer, reader) = (server.client("writer"), server.client("reader"));
    let first = finish(vote(&writer, 1, Tid::ZERO, b"one".to_vec()));
    assert_eq!(server.get("/readyz").0, 200);

    let gate = Gate::close(gate);
    let voted = vote(&writer, 1, first, b"two".to_vec());
    let finishing = std::thread::spawn(move || finish(voted));
    let reason = not_ready(&server);
    let expected = "storage 1: the disk has not answered a sync for ";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.metric("zodiac_zeo_ready"), 0.0);
    let running = "zodiac_zeo_sync_running_seconds{storage=\"1\"}";
    assert!(server.metric(running) > 0.2);
    let seen = reader.load_before(Oid::new(1), Tid::MAX);
    assert_eq!(seen.expect("it is read").expect("a revision").tid, first);
    assert!(!finishing.is_finished());

    drop(gate);
    let second = finishing.join().expect("it is finished");
    assert!(second > first);
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(server.metric(running), 0.0);
    drop((writer, reader));
    server.stop();
}

/// While it is there, the disk stops.
struct Gate(PathBuf);

impl Gate {
    fn close(path: PathBuf) -> Self {
        std::fs::write(&path, "").expect("the disk stops");
        Self(path)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the disk goes on");
    }
}

/// Waits until the server is not ready; the reason.
#[allow(clippy::disallowed_methods, reason = "a test ends some time")]
fn not_ready(server: &Server) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, reason) = server.get("/readyz");
        if status == 503 {
            return reason;
        }
        assert!(Instant::now() < deadline, "it is ready for ever");
    }
}

/// A library whose `fdatasync` waits while a file is there.
fn stopping_disk(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stopping_disk.c");
    let library = directory.join("stopping_disk.so");
    // What links the tests is there.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
    let made = compiler.arg(&library).arg(source).status();
    assert!(made.expect("a compiler").success());
    library
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
