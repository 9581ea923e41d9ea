//! Loads, without values in between: most of what is asked and answered is loads. Calls that are
//! written in any other way than clients do are left to the general reader, and what is written here
//! is byte for byte what the general writer writes.

use storage::{Oid, Revision, Tid};

use super::Encoding;
use crate::frame::write_frame;

/// A call of `loadBefore`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadCall {
    /// The number of the message.
    pub(crate) id: u32,
    pub(crate) oid: Oid,
    pub(crate) before: Tid,
}

impl LoadCall {
    /// Reads the call, if that is what the frame is.
    pub(crate) fn read(encoding: Encoding, frame: &[u8]) -> Option<Self> {
        let (id, rest) = match encoding {
            Encoding::Msgpack => packed_id(frame.strip_prefix(b"\x94")?)?,
            Encoding::Pickle => pickled_id(frame.strip_prefix(b"\x80\x03(")?)?,
        };
        let (name, between, end): (&[u8], &[u8], &[u8]) = match encoding {
            Encoding::Msgpack => (b"\xc2\xaaloadBefore\x92\xc4\x08", b"\xc4\x08", b""),
            Encoding::Pickle => (b"\x89X\x0a\0\0\0loadBeforeC\x08", b"C\x08", b"\x86t."),
        };
        let (oid, rest) = rest.strip_prefix(name)?.split_first_chunk()?;
        let (before, rest) = rest.strip_prefix(between)?.split_first_chunk()?;
        (rest == end).then(|| Self {
            id,
            oid: Oid::from_bytes(*oid),
            before: Tid::from_bytes(*before),
        })
    }

    /// Appends the frame that answers it.
    pub(crate) fn write_answer(self, encoding: Encoding, revision: &Revision, out: &mut Vec<u8>) {
        write_frame(out, |out| match encoding {
            Encoding::Msgpack => self.write_packed(revision, out),
            Encoding::Pickle => self.write_pickled(revision, out),
        });
    }

    fn write_packed(self, revision: &Revision, out: &mut Vec<u8>) {
        out.push(0x94);
        match (u8::try_from(self.id), u16::try_from(self.id)) {
            (Ok(id @ 0..=0x7f), _) => out.push(id),
            (Ok(id), _) => out.extend_from_slice(&[0xcc, id]),
            (_, Ok(id)) => {
                out.push(0xcd);
                out.extend_from_slice(&id.to_be_bytes());
            }
            _ => {
                out.push(0xce);
                out.extend_from_slice(&self.id.to_be_bytes());
            }
        }
        out.extend_from_slice(b"\0\xa6.reply\x93");
        let length = record_length(revision);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length), _) => out.extend_from_slice(&[0xc4, length]),
            (_, Ok(length)) => {
                out.push(0xc5);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(0xc6);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&revision.record);
        out.extend_from_slice(b"\xc4\x08");
        out.extend_from_slice(&revision.tid.to_bytes());
        match revision.next {
            Some(next) => {
                out.extend_from_slice(b"\xc4\x08");
                out.extend_from_slice(&next.to_bytes());
            }
            None => out.push(0xc0),
        }
    }

    fn write_pickled(self, revision: &Revision, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\x80\x03(");
        match (u8::try_from(self.id), u16::try_from(self.id)) {
            (Ok(id), _) => out.extend_from_slice(&[b'K', id]),
            (_, Ok(id)) => {
                out.push(b'M');
                out.extend_from_slice(&id.to_le_bytes());
            }
            _ => {
                out.push(b'J');
                out.extend_from_slice(&self.id.to_le_bytes());
            }
        }
        out.extend_from_slice(b"K\0X\x06\0\0\0.reply");
        let length = record_length(revision);
        if let Ok(length) = u8::try_from(length) {
            out.extend_from_slice(&[b'C', length]);
        } else {
            out.push(b'B');
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(&revision.record);
        out.extend_from_slice(b"C\x08");
        out.extend_from_slice(&revision.tid.to_bytes());
        match revision.next {
            Some(next) => {
                out.extend_from_slice(b"C\x08");
                out.extend_from_slice(&next.to_bytes());
            }
            None => out.push(b'N'),
        }
        out.extend_from_slice(b"\x87t.");
    }
}

fn record_length(revision: &Revision) -> u32 {
    u32::try_from(revision.record.len()).expect("records stay below the frame limit")
}

/// The number of a message that both encodings write in four bytes at most, and what follows it.
fn packed_id(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (id, rest) = match first {
        0..=0x7f => (first.into(), rest),
        0xcc => rest.split_first().map(|(id, rest)| ((*id).into(), rest))?,
        0xcd => {
            let (id, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*id).into(), rest)
        }
        0xce => {
            let (id, rest) = rest.split_first_chunk()?;
            (u32::from_be_bytes(*id), rest)
        }
        _ => return None,
    };
    (id <= ID_MAX).then_some((id, rest))
}

fn pickled_id(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (id, rest) = match first {
        b'K' => rest.split_first().map(|(id, rest)| ((*id).into(), rest))?,
        b'M' => {
            let (id, rest) = rest.split_first_chunk()?;
            (u16::from_le_bytes(*id).into(), rest)
        }
        b'J' => {
            let (id, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*id), rest)
        }
        _ => return None,
    };
    (id <= ID_MAX).then_some((id, rest))
}

/// Behind it pickles write another kind of number. It leaves the heartbeat out, too, which is -1.
const ID_MAX: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use storage::Record;

    use super::*;
    use crate::message::{Message, write_call, write_reply};
    use crate::{Request, Value};

    const BOTH: [Encoding; 2] = [Encoding::Pickle, Encoding::Msgpack];

    fn ids() -> impl Strategy<Value = u32> {
        prop_oneof![0_u32..300, 65_000_u32..66_000, 0..=ID_MAX]
    }

    fn call_frame(encoding: Encoding, id: u32, oid: u64, before: u64) -> Vec<u8> {
        let args = [oid, before].map(|id| Value::id(id.to_be_bytes()));
        let mut out = Vec::new();
        let args = Value::Tuple(args.into());
        write_call(encoding, id.into(), "loadBefore", args, &mut out);
        out.split_off(4)
    }

    /// What the general reader makes of a frame, where it is a load that wants an answer.
    fn general(encoding: Encoding, frame: &[u8]) -> Option<(Value<'static>, Request)> {
        let message = Message::decode(encoding, frame).ok()?;
        let wants_answer = !message.flag && !message.is_heartbeat();
        let request = Request::decode(&message.name, &message.args).ok()?;
        wants_answer.then(|| (message.id.into_owned(), request))
    }

    /// One change of a frame, somewhere.
    #[derive(Clone, Debug)]
    enum Edit {
        Replace(prop::sample::Index, u8),
        Insert(prop::sample::Index, u8),
        Remove(prop::sample::Index),
        Cut(prop::sample::Index),
        Append(Vec<u8>),
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let byte = || {
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&b"KMJCBX\xc4\xcc\xcd\xce\x92\x94\xc2\xc3"[..])
            ]
        };
        let edit = prop_oneof![
            4 => (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
            2 => (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
            2 => any::<prop::sample::Index>().prop_map(Edit::Remove),
            1 => any::<prop::sample::Index>().prop_map(Edit::Cut),
            1 => prop::collection::vec(any::<u8>(), 1..4).prop_map(Edit::Append),
        ];
        prop::collection::vec(edit, 0..4)
    }

    fn edited(mut frame: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
        for edit in edits {
            let length = frame.len();
            match edit {
                Edit::Append(more) => frame.extend_from_slice(more),
                Edit::Insert(at, byte) => frame.insert(at.index(length + 1), *byte),
                _ if length == 0 => {}
                Edit::Replace(at, byte) => frame[at.index(length)] = *byte,
                Edit::Remove(at) => drop(frame.remove(at.index(length))),
                Edit::Cut(at) => frame.truncate(at.index(length)),
            }
        }
        frame
    }

    proptest! {
        /// Whatever is taken for a load here is one for the general reader, and the same one: a
        /// frame that was tampered with is treated no other way than without this module.
        #[test]
        fn calls_are_read_as_the_general_reader_reads_them(
            id in ids(), oid: u64, before: u64, edits in edits(),
        ) {
            for encoding in BOTH {
                let frame = call_frame(encoding, id, oid, before);
                let call = LoadCall { id, oid: Oid::new(oid), before: Tid::new(before) };
                prop_assert_eq!(LoadCall::read(encoding, &frame), Some(call));
                for cut in 0..frame.len() {
                    prop_assert_eq!(LoadCall::read(encoding, &frame[..cut]), None);
                }
                let frame = edited(frame, &edits);
                if let Some(LoadCall { id, oid, before }) = LoadCall::read(encoding, &frame) {
                    let expected = (Value::Int(id.into()), Request::LoadBefore { oid, before });
                    prop_assert_eq!(general(encoding, &frame), Some(expected));
                }
            }
        }

        #[test]
        fn answers_are_written_as_the_general_writer_writes_them(
            id in ids(),
            length in prop_oneof![0_usize..600, 65_000_usize..66_000],
            tid: u64,
            next: Option<u64>,
        ) {
            let record = vec![7; length];
            let revision = Revision {
                tid: Tid::new(tid),
                next: next.map(Tid::new),
                record: Record::from(&record[..]),
            };
            let value = Value::Tuple(vec![
                Value::bytes(&record),
                Value::id(tid.to_be_bytes()),
                next.map_or(Value::None, |next| Value::id(next.to_be_bytes())),
            ]);
            for encoding in BOTH {
                let call = LoadCall { id, oid: Oid::ROOT, before: Tid::MAX };
                let (mut quick, mut general) = (Vec::new(), Vec::new());
                call.write_answer(encoding, &revision, &mut quick);
                write_reply(encoding, &Value::Int(id.into()), value.clone(), &mut general);
                prop_assert_eq!(quick, general);
            }
        }
    }
}
