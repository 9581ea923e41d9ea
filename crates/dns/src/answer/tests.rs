use std::net::IpAddr;

use hickory_proto::op::EdnsFlags;
use hickory_proto::rr::rdata::{A, NS};
use hickory_proto::rr::{Name, RData};

use super::*;
use crate::catalog::Presented;
use crate::{NameServer, Options, Site};

fn catalog(addresses: &[(&str, u32)]) -> Catalog {
    let mut site = Site::new("www.example.org".parse().unwrap(), Vec::new());
    site.alpn = vec!["h2".to_owned()];
    let deep = Site::new("a.deep.example.org".parse().unwrap(), Vec::new());
    let server = |name: &str, address: &str| NameServer {
        name: name.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
    };
    let options = Options {
        zones: vec!["example.org".parse().unwrap()],
        name_servers: vec![
            server("ns1.example.org", "192.0.2.53"),
            server("ns2.example.org", "2001:db8::53"),
        ],
        sites: vec![site, deep],
        ..Options::default()
    };
    let presented: Presented = addresses
        .iter()
        .map(|(address, weight)| (address.parse::<IpAddr>().unwrap(), *weight))
        .collect();
    Catalog::new(&options, &[presented, Presented::new()], 7)
}

fn two() -> Catalog {
    catalog(&[("192.0.2.1", 100), ("192.0.2.2", 100), ("2001:db8::1", 100)])
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut question = Message::new(4711, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    question
}

fn ask(catalog: &Catalog, question: &Message) -> Message {
    let packet = question.to_vec().unwrap();
    let mut bytes = Vec::new();
    answer(catalog, &packet).unwrap().write_for_udp(&mut bytes);
    Message::from_vec(&bytes).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    let address = |record: &hickory_proto::rr::Record| record.data.to_string();
    message.answers.iter().map(address).collect()
}

#[test]
fn members_take_turns_and_the_name_is_written_as_it_was_asked() {
    let catalog = two();
    let question = question("wWw.eXample.Org.", RecordType::A);
    let first = ask(&catalog, &question);
    assert_eq!(addresses(&first), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(first.metadata.id, 4711);
    assert!(first.metadata.authoritative && first.metadata.recursion_desired);
    assert!(!first.metadata.recursion_available && !first.metadata.truncation);
    assert!(first.answers[0].name.eq_case(&question.queries[0].name));
    assert_eq!(first.answers[0].ttl, 5);
    assert_eq!(
        addresses(&ask(&catalog, &question)),
        ["192.0.2.2", "192.0.2.1"]
    );
}

#[test]
fn other_types_have_answers_of_their_own() {
    let catalog = two();
    let aaaa = ask(&catalog, &question("www.example.org.", RecordType::AAAA));
    assert_eq!(addresses(&aaaa), ["2001:db8::1"]);
    let https = ask(&catalog, &question("www.example.org.", RecordType::HTTPS));
    assert_eq!(addresses(&https), ["1 . alpn=h2,"]);
    let servers = ask(&catalog, &question("example.org.", RecordType::NS));
    let ns = RData::NS(NS(Name::from_ascii("ns1.example.org.").unwrap()));
    assert_eq!(servers.answers[0].data, ns);
    assert_eq!(servers.additionals.len(), 2, "their addresses");
    assert_eq!(
        servers.additionals[0].data,
        RData::A(A([192, 0, 2, 53].into()))
    );
    let soa = ask(&catalog, &question("example.org.", RecordType::SOA));
    let said = "ns1.example.org. hostmaster.example.org. 7 3600 600 604800 5";
    assert_eq!(addresses(&soa), [said]);
}

#[test]
fn what_is_not_there_is_denied_with_the_zones_soa() {
    let catalog = two();
    for (name, kind, code) in [
        ("ftp.example.org.", RecordType::A, ResponseCode::NXDomain),
        ("a.www.example.org.", RecordType::A, ResponseCode::NXDomain),
        ("www.example.org.", RecordType::MX, ResponseCode::NoError),
        ("ns1.example.org.", RecordType::AAAA, ResponseCode::NoError),
        // There is a name below it.
        ("deep.example.org.", RecordType::A, ResponseCode::NoError),
        ("a.deep.example.org.", RecordType::A, ResponseCode::NoError),
    ] {
        let denied = ask(&catalog, &question(name, kind));
        assert_eq!(denied.metadata.response_code, code, "{name}");
        assert!(denied.answers.is_empty() && denied.metadata.authoritative);
        assert_eq!(
            denied.authorities[0].record_type(),
            RecordType::SOA,
            "{name}"
        );
        assert_eq!(denied.authorities[0].ttl, 5);
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    let catalog = two();
    let mut chaos = question("www.example.org.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    for question in [
        question("www.example.com.", RecordType::A),
        question("org.", RecordType::NS),
        question(".", RecordType::NS),
        question("example.org.", RecordType::AXFR),
        chaos,
    ] {
        let refused = ask(&catalog, &question);
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
        assert!(!refused.metadata.authoritative && refused.answers.is_empty());
        assert!(refused.authorities.is_empty() && refused.additionals.is_empty());
    }
}

#[test]
fn extensions_are_answered_with_extensions_and_newer_ones_with_a_version() {
    let catalog = two();
    let mut question = question("www.example.org.", RecordType::A);
    assert!(ask(&catalog, &question).edns.is_none());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    edns.set_dnssec_ok(true);
    question.set_edns(edns.clone());
    let plain = ask(&catalog, &question).edns.unwrap();
    assert_eq!((plain.version(), plain.max_payload()), (0, UDP_BYTES_MAX));
    let EdnsFlags { dnssec_ok, .. } = plain.flags();
    assert!(dnssec_ok);
    edns.set_version(1);
    question.set_edns(edns);
    let newer = ask(&catalog, &question);
    // BADVERS and BADSIG are one number.
    let code = u16::from(newer.metadata.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));
    assert_eq!(newer.edns.unwrap().version(), 0);
    assert!(newer.answers.is_empty());
}

#[test]
fn what_has_no_room_is_cut_off_as_a_whole_and_told_over_tcp() {
    let addresses: Vec<String> = (0..60).map(|n| format!("2001:db8::{n:x}")).collect();
    let addresses: Vec<(&str, u32)> = addresses.iter().map(|a| (a.as_str(), 1)).collect();
    let mut site = Site::new("www.example.org".parse().unwrap(), Vec::new());
    site.alpn.clear();
    let options = Options {
        zones: vec!["example.org".parse().unwrap()],
        name_servers: vec![NameServer {
            name: "ns.example.net".parse().unwrap(),
            addresses: Vec::new(),
        }],
        sites: vec![site],
        answers_max: 60,
        ..Options::default()
    };
    let presented = addresses.iter().map(|(a, w)| (a.parse().unwrap(), *w));
    let catalog = Catalog::new(&options, &[presented.collect()], 1);
    let mut question = question("www.example.org.", RecordType::AAAA);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.set_edns(edns);
    let cut_off = ask(&catalog, &question);
    assert!(cut_off.metadata.truncation && cut_off.answers.is_empty());
    assert!(cut_off.edns.is_some());

    let packet = question.to_vec().unwrap();
    let mut bytes = Vec::new();
    answer(&catalog, &packet).unwrap().write_for_tcp(&mut bytes);
    let (length, message) = bytes.split_first_chunk::<2>().unwrap();
    assert_eq!(usize::from(u16::from_be_bytes(*length)), message.len());
    let whole = Message::from_vec(message).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 60);
}

#[test]
fn nonsense_is_told_so_and_answers_are_not_answered() {
    let catalog = two();
    let packet = question("www.example.org.", RecordType::A)
        .to_vec()
        .unwrap();
    let code = |packet: &[u8]| {
        let mut bytes = Vec::new();
        answer(&catalog, packet)?.write_for_udp(&mut bytes);
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.metadata.id, 4711);
        Some(message.metadata.response_code)
    };
    let changed = |at: usize, byte: u8| {
        let mut packet = packet.clone();
        packet[at] = byte;
        packet
    };
    assert_eq!(code(&packet), Some(ResponseCode::NoError));
    assert_eq!(code(&packet[..11]), None);
    assert_eq!(code(&changed(2, 0x80)), None, "an answer");
    assert_eq!(
        code(&changed(2, 0x28)),
        Some(ResponseCode::NotImp),
        "an update"
    );
    assert_eq!(code(&packet[..20]), Some(ResponseCode::FormErr));
    assert_eq!(code(&changed(5, 2)), Some(ResponseCode::FormErr));
    for count in [6, 8, 10] {
        assert_eq!(code(&changed(count, 0xff)), Some(ResponseCode::FormErr));
    }
    // A label that points at itself.
    let mut circle = packet[..12].to_vec();
    circle.extend([0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(code(&circle), Some(ResponseCode::FormErr));
}
