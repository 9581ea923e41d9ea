//! `zodiac balance` as a switch that carries connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::balancer::Balancer;

/// A member that says its name and how many bytes came, once the client's side has ended. It ends with the test.
fn member(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("it accepts");
            thread::spawn(move || {
                let came = std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0);
                let _ = write!(stream, "{name} {came}");
            });
        }
    });
    address
}

/// What is answered to so many bytes, by who gets them.
fn ask(balancer: &Balancer, bytes: usize) -> String {
    let mut stream = TcpStream::connect(balancer.address).expect("the balancer accepts");
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("a timeout is set");
    stream.write_all(&vec![7; bytes]).expect("they are taken");
    stream.shutdown(Shutdown::Write).expect("our side ends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end in order");
    answer
}

#[test]
fn connections_are_carried_to_members_and_past_those_that_refuse() {
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let closed = refusing.local_addr().expect("it has an address");
    drop(refusing);
    let text = format!(
        "[balance]\nhttp = false\n[[balance.tcp]]\nlisten = \"127.0.0.1:0\"\n\
         members = [\"{closed}\", \"{}\", {{ address = \"{}\", tier = 1 }}]\n",
        member("first"),
        member("backup"),
    );
    let balancer = Balancer::start("relay", &text, "tcp");
    for bytes in [0, 1, 70_000, 5 << 20] {
        assert_eq!(ask(&balancer, bytes), format!("first {bytes}"));
    }
}
