//! What peers say: calls as they should be, and as they should not.

use fastrand::Rng;
use zeo::{Encoding, Value, write_frame};

/// Every method that a client may call.
const METHODS: [&str; 34] = [
    "register",
    "get_info",
    "set_client_label",
    "ping",
    "lastTransaction",
    "getInvalidations",
    "loadBefore",
    "loadSerial",
    "getTid",
    "history",
    "new_oids",
    "tpc_begin",
    "storea",
    "restorea",
    "deleteObject",
    "checkCurrentSerialInTransaction",
    "vote",
    "tpc_finish",
    "tpc_abort",
    "server_status",
    "undoLog",
    "undoInfo",
    "undoa",
    "pack",
    "record_iternext",
    "iterator_start",
    "iterator_next",
    "iterator_record_start",
    "iterator_record_next",
    "iterator_gc",
    "loadBlob",
    "sendBlob",
    "storeBlobStart",
    "storeBlobChunk",
];

/// A frame with a call.
pub(crate) fn call(encoding: Encoding, id: Value<'_>, name: &str, args: Vec<Value<'_>>) -> Vec<u8> {
    let is_one_way = ONE_WAY.contains(&name);
    let flag = Value::Bool(is_one_way);
    let message = Value::Tuple(vec![id, flag, Value::text(name), Value::Tuple(args)]);
    framed(|out| encoding.encode(&message, out))
}

const ONE_WAY: [&str; 6] = [
    "tpc_begin",
    "storea",
    "restorea",
    "deleteObject",
    "checkCurrentSerialInTransaction",
    "undoa",
];

fn framed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, write);
    out
}

pub(crate) fn handshake(encoding: Encoding) -> Vec<u8> {
    framed(|out| out.extend_from_slice(encoding.announcement()))
}

pub(crate) fn register(encoding: Encoding) -> Vec<u8> {
    let args = vec![Value::text("1"), Value::Bool(false)];
    call(encoding, Value::Int(1), "register", args)
}

/// A transaction from its beginning to its finish, one frame after the other. Its objects are
/// nobody else's.
pub(crate) fn transaction(encoding: Encoding, number: i64, random: &mut Rng) -> Vec<Vec<u8>> {
    let id = Value::Int(number);
    let begin = vec![
        id.clone(),
        bytes(b"u"),
        bytes(b"d"),
        Value::Map(vec![]),
        Value::None,
        Value::text(" "),
    ];
    let mut frames = vec![call(encoding, Value::Int(0), "tpc_begin", begin)];
    for _ in 0..random.usize(1..4) {
        let oid = FOREIGN_OIDS | random.u64(..1 << 32);
        let args = vec![
            Value::id(oid.to_be_bytes()),
            Value::id([0; 8]),
            bytes(b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}."),
            id.clone(),
        ];
        frames.push(call(encoding, Value::Int(0), "storea", args));
    }
    frames.push(call(
        encoding,
        Value::Int(number * 2),
        "vote",
        vec![id.clone()],
    ));
    let last = if random.bool() {
        "tpc_finish"
    } else {
        "tpc_abort"
    };
    frames.push(call(encoding, Value::Int(number * 2 + 1), last, vec![id]));
    frames
}

const FOREIGN_OIDS: u64 = 0x00ff_0000_0000_0000;

fn bytes(bytes: &[u8]) -> Value<'static> {
    Value::Bytes(bytes.to_vec().into())
}

/// A call of some method with arguments that may be anything.
pub(crate) fn odd_call(encoding: Encoding, random: &mut Rng) -> Vec<u8> {
    // A pack of all that was before now is everybody's loss of history, and a copied transaction may
    // take the clock away into the far future: whoever may write may do so.
    let name = loop {
        let name = METHODS[random.usize(..METHODS.len())];
        if !["pack", "tpc_begin"].contains(&name) {
            break name;
        }
    };
    let id = if random.u8(..8) == 0 {
        odd_value(random, 3)
    } else {
        Value::Int(random.i64(1..1 << 40))
    };
    let args = (0..random.usize(..6))
        .map(|_| odd_value(random, 3))
        .collect();
    call(encoding, id, name, args)
}

fn odd_value(random: &mut Rng, depth: usize) -> Value<'static> {
    let count = random.usize(..4);
    match random.u8(..if depth == 0 { 8 } else { 11 }) {
        0 => Value::None,
        1 => Value::Bool(random.bool()),
        2 => Value::Int([0, 1, -1, i64::MAX, i64::MIN, random.i64(..)][random.usize(..6)]),
        3 => Value::Float([0.0, -1.0, f64::MAX, f64::INFINITY][random.usize(..4)]),
        4 => Value::id(random.u64(..).to_be_bytes()),
        5 => Value::id(random.u64(..20).to_be_bytes()),
        6 => bytes(&vec![random.u8(..); random.usize(..300)]),
        7 => Value::Text("x\u{e4}\0".repeat(random.usize(..50)).into()),
        8 => Value::Tuple((0..count).map(|_| odd_value(random, depth - 1)).collect()),
        9 => Value::List((0..count).map(|_| odd_value(random, depth - 1)).collect()),
        _ => {
            let pair = |random: &mut Rng| (odd_value(random, 0), odd_value(random, depth - 1));
            Value::Map((0..count).map(|_| pair(random)).collect())
        }
    }
}

/// A payload that promises more than there is, or is too deep.
pub(crate) fn monstrous(random: &mut Rng) -> Vec<u8> {
    let deep = random.usize(50..20_000);
    let payload: Vec<u8> = match random.u8(..8) {
        0 => [
            b"\x80\x03".to_vec(),
            vec![b'('; deep],
            vec![b't'; deep],
            vec![b'.'],
        ]
        .concat(),
        1 => [b"\x80\x03".to_vec(), vec![b']'; deep], vec![b'.']].concat(),
        2 => b"\x80\x03B\xff\xff\xff\x7fabc.".to_vec(),
        3 => b"\x80\x03cos\nsystem\n(X\x02\0\0\0lstR.".to_vec(),
        4 => vec![0x91; deep],
        5 => b"\x94\xdd\xff\xff\xff\xff\x01".to_vec(),
        6 => b"\x94\xdf\xff\xff\xff\xff\x01".to_vec(),
        _ => b"\x94\x01\xc6\xff\xff\xff\xff\x01".to_vec(),
    };
    framed(|out| out.extend_from_slice(&payload))
}

/// Changes some bytes of a frame; its length may be one of them.
pub(crate) fn mutate(frame: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(1..4) {
        if frame.len() < 6 {
            return;
        }
        let from = if random.u8(..6) == 0 { 0 } else { 4 };
        let at = random.usize(from..frame.len());
        match random.u8(..4) {
            0 => frame[at] ^= 1 << random.u8(..8),
            1 => frame[at] = random.u8(..),
            2 => _ = frame.remove(at),
            _ => frame.insert(at, random.u8(..)),
        }
    }
    if random.bool() {
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
    }
}
