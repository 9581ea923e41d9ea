//! Conversations recorded from the genuine server, held again with ours: the same bytes come back.

use std::collections::BTreeMap;

use storage::{Oid, Tid};
use zeo::{Connection, Encoding, Event, FRAME_BYTES_MAX, FrameReader, Session, Value, write_frame};

use crate::pair::{epoch, hub};

const Z5: &str = include_str!("../golden/z5.txt");
const M5: &str = include_str!("../golden/m5.txt");

/// One frame of a conversation.
struct Line<'a> {
    client: &'a str,
    is_from_server: bool,
    payload: Vec<u8>,
    /// What the conversation says of it, for messages.
    topic: &'a str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut topic = "handshake";
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("# ") {
            topic = found;
            continue;
        }
        let (head, hex) = line.split_once(' ').unwrap();
        let bytes = hex.as_bytes().chunks(2);
        let payload = bytes.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16));
        lines.push(Line {
            client: &head[..1],
            is_from_server: head.ends_with('<'),
            payload: payload.collect::<Result<_, _>>().unwrap(),
            topic,
        });
    }
    lines
}

/// A client's end: the connection, and what it said that was not yet compared.
struct End {
    connection: Connection,
    heard: FrameReader,
}

impl End {
    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.connection.outbox().take(&mut bytes).unwrap();
        self.heard.push(&bytes);
        self.heard.next_frame().unwrap().map(<[u8]>::to_vec)
    }
}

fn hold(encoding: Encoding, text: &str) {
    let hub = hub(encoding);
    let mut ends: BTreeMap<&str, End> = BTreeMap::new();
    for line in lines(text) {
        let end = ends.entry(line.client).or_insert_with(|| End {
            connection: hub.connect(line.client.to_owned(), || {}),
            heard: FrameReader::new(FRAME_BYTES_MAX),
        });
        if line.is_from_server {
            let ours = end
                .hear()
                .unwrap_or_else(|| panic!("{}: no answer", line.topic));
            compare(encoding, &line, &ours);
        } else {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, |out| out.extend_from_slice(&line.payload));
            end.connection.receive(&bytes);
            while let Some(job) = end.connection.next_job().unwrap() {
                job.run();
            }
        }
    }
    for (name, mut end) in ends {
        assert_eq!(end.hear(), None, "{name} heard more than it should");
    }
}

fn compare(encoding: Encoding, line: &Line<'_>, ours: &[u8]) {
    if line.topic == "handshake" || line.payload == ours {
        assert_eq!(ours, line.payload);
        return;
    }
    let theirs = encoding.decode(&line.payload).unwrap();
    let ours = encoding.decode(ours).unwrap();
    // How large a storage says it is differs between a map of Python and one of ours.
    let is_size = theirs.elements().unwrap()[2] == Value::text("info");
    assert!(
        is_size && ours.elements().unwrap()[2] == Value::text("info"),
        "{}:\n{ours:?}\nis not\n{theirs:?}",
        line.topic
    );
}

#[test]
fn ours_says_what_the_genuine_server_says_in_pickles() {
    hold(Encoding::Pickle, Z5);
}

#[test]
fn ours_says_what_the_genuine_server_says_in_msgpack() {
    hold(Encoding::Msgpack, M5);
}

#[test]
fn every_frame_is_written_as_the_original_writes_it() {
    for (encoding, text) in [(Encoding::Pickle, Z5), (Encoding::Msgpack, M5)] {
        let frames = lines(text);
        let messages = frames.iter().filter(|line| line.payload.len() > 2);
        for line in messages {
            let value = encoding.decode(&line.payload).unwrap();
            let mut again = Vec::new();
            encoding.encode(&value, &mut again);
            assert_eq!(again, line.payload, "{}: {value:?}", line.topic);
        }
    }
}

/// Our client understands the genuine server's pushes.
#[test]
fn a_session_hears_the_genuine_pushes() {
    for text in [Z5, M5] {
        let frames = lines(text);
        let pushes = frames.iter().filter(|line| line.topic == "push");
        let hello = frames
            .iter()
            .filter(|line| line.topic == "handshake")
            .take(1);
        let mut bytes = Vec::new();
        for line in hello.chain(pushes) {
            write_frame(&mut bytes, |out| out.extend_from_slice(&line.payload));
        }
        let mut session = Session::new(epoch(), FRAME_BYTES_MAX);
        session.receive(&bytes).unwrap();
        let mut heard = Vec::new();
        while let Some(event) = session.poll_event() {
            if let Event::Invalidated { tid, oids } = event {
                heard.push((tid, oids));
            }
        }
        let expected = [
            (Tid::new(1), vec![Oid::new(1), Oid::new(2)]),
            (Tid::new(2), vec![Oid::new(1)]),
            (Tid::new(3), vec![Oid::new(1)]),
        ];
        assert_eq!(heard, expected);
    }
}
