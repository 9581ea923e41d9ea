//! `zodiac balance` as a name server, asked as resolvers do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::balancer::Balancer;
use super::scratch;

/// A balancer that is a name server alone.
struct NameServer(Balancer);

impl NameServer {
    fn start(test: &str, keys: &str, members: &[SocketAddr]) -> Self {
        let members: Vec<String> = members.iter().map(|m| format!("\"{m}\"")).collect();
        let text = format!(
            "[balance]\nhttp = false\nhealth-interval = 0.05\n[balance.dns]\n\
             listen = [\"127.0.0.1:0\"]\nzones = [\"example.org\"]\n{keys}\n\
             name-servers = [{{ name = \"ns.example.org\", addresses = [\"127.0.0.1\"] }}]\n\
             [[balance.dns.names]]\nname = \"www.example.org\"\nmembers = [{}]\n",
            members.join(", ")
        );
        Self(Balancer::start(test, &text, "dns"))
    }

    fn socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).expect("a timeout is set");
        socket
            .connect(self.0.address)
            .expect("the address is local");
        socket
    }

    fn ask(&self, question: &Message) -> Message {
        let socket = self.socket();
        let packet = question.to_vec().expect("a question is written");
        socket.send(&packet).expect("the packet is sent");
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("there is an answer");
        Message::from_vec(&bytes[..length]).expect("the answer is read")
    }

    fn ask_by_tcp(&self, question: &Message) -> Message {
        let mut stream = TcpStream::connect(self.0.address).expect("the server accepts");
        let packet = question.to_vec().expect("a question is written");
        let length = u16::try_from(packet.len()).expect("a question is short");
        stream.write_all(&length.to_be_bytes()).expect("it is sent");
        stream.write_all(&packet).expect("it is sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("there is an answer");
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes).expect("the answer is whole");
        Message::from_vec(&bytes).expect("the answer is read")
    }

    /// The addresses of the site, in order of their names.
    fn site(&self) -> Vec<String> {
        let answer = self.ask(&question("www.example.org.", RecordType::A));
        let addresses = answer.answers.iter().map(|record| record.data.to_string());
        let mut addresses: Vec<String> = addresses.collect();
        addresses.sort();
        addresses
    }

    #[allow(clippy::disallowed_methods, reason = "a deadline for the test")]
    fn wait_for(&self, expected: &[&str]) {
        let start = Instant::now();
        while self.site() != expected {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{:?}",
                self.site()
            );
        }
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let name = Name::from_ascii(name).expect("a name");
    let mut question = Message::new(1, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name, kind));
    question
}

/// A port of 127.0.0.`host` at which somebody accepts connections.
fn member(host: u8) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("a port");
    let address = listener.local_addr().expect("it has an address");
    (listener, address)
}

#[test]
fn names_are_answered_with_members_that_are_well() {
    let (first, second) = (member(2), member(3));
    let members = [first.1, second.1];
    let server = NameServer::start("dns", "responses-per-second = 0", &members);
    server.wait_for(&["127.0.0.2", "127.0.0.3"]);
    drop(first.0);
    server.wait_for(&["127.0.0.3"]);
    // Where nobody is well, all are named: refusing everybody helps nobody.
    drop(second.0);
    server.wait_for(&["127.0.0.2", "127.0.0.3"]);
    let back = TcpListener::bind(first.1).expect("the port is free again");
    server.wait_for(&["127.0.0.2"]);
    drop(back);

    let mut by_tcp = question("WWW.example.org.", RecordType::A);
    by_tcp.set_edns(Edns::new());
    let answer = server.ask_by_tcp(&by_tcp);
    assert!(answer.metadata.authoritative && answer.edns.is_some());
    let missing = server.ask(&question("ftp.example.org.", RecordType::A));
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities.len(), 1);
    let foreign = server.ask(&question("example.com.", RecordType::A));
    assert_eq!(foreign.metadata.response_code, ResponseCode::Refused);
}

/// Who asks too often in anybody's name gets few and small answers over UDP, and all over TCP.
#[test]
fn a_flood_is_answered_in_part_and_tcp_goes_on() {
    let (_listener, address) = member(2);
    let keys = "responses-per-second = 5\nslip = 2\nthreads = 1";
    let server = NameServer::start("dns-flood", keys, &[address]);
    let socket = server.socket();
    let packet = question("www.example.org.", RecordType::A)
        .to_vec()
        .expect("written");
    let (mut whole, mut cut_off) = (0, 0);
    // Every second of what is too much is cut off, so there are 5 + 15 answers to these.
    for _ in 0..35 {
        socket.send(&packet).expect("the packet is sent");
    }
    for _ in 0..20 {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("there is an answer");
        let answer = Message::from_vec(&bytes[..length]).expect("the answer is read");
        match answer.metadata.truncation {
            true => cut_off += 1,
            false => whole += 1,
        }
        assert_eq!(
            answer.answers.len(),
            usize::from(!answer.metadata.truncation)
        );
    }
    assert!(
        whole >= 5 && cut_off >= 13,
        "{whole} whole, {cut_off} cut off"
    );
    let by_tcp = server.ask_by_tcp(&question("www.example.org.", RecordType::A));
    assert_eq!(by_tcp.answers.len(), 1);
}

#[test]
fn a_name_server_without_a_zone_is_refused_with_the_key() {
    let directory = scratch("dns-wrong");
    let file = directory.join("zodiac.toml");
    std::fs::write(&file, "[balance.dns]\nlisten = [\"127.0.0.1:0\"]\n").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args(["balance", "--config"])
        .arg(&file)
        .output()
        .expect("the binary starts");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("balance.dns: there is no zone"),
        "{message}"
    );
    std::fs::remove_dir_all(directory).expect("the directory goes");
}
