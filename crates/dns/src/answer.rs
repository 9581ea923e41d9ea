//! From the bytes of a question to the bytes of an answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::catalog::{Catalog, Found};
use crate::limit::Category;

/// An answer that is not written yet.
#[derive(Debug)]
pub(crate) struct Answer {
    message: Message,
    /// What it counts with.
    pub(crate) category: Category,
    /// The name that it is about, or its zone.
    pub(crate) about: u64,
    /// What the asker can take over UDP.
    udp_bytes_max: u16,
}

/// The answer to a packet; `None` where it deserves none: it is too short, or an answer itself.
pub(crate) fn answer(catalog: &Catalog, packet: &[u8]) -> Option<Answer> {
    let head = Head::read(packet)?;
    if head.is_response {
        return None;
    }
    let answer = if head.op_code != OpCode::Query {
        Answer::error(head.id, head.op_code, ResponseCode::NotImp)
    } else if !head.is_plausible {
        Answer::error(head.id, head.op_code, ResponseCode::FormErr)
    } else {
        match Message::from_vec(packet) {
            Ok(question) => Answer::to(catalog, &question),
            Err(_) => Answer::error(head.id, head.op_code, ResponseCode::FormErr),
        }
    };
    Some(answer)
}

/// The first twelve bytes. They are looked at before the rest is read, as a reader makes room for as many
/// records as they announce.
struct Head {
    id: u16,
    is_response: bool,
    op_code: OpCode,
    /// Whether the counts are those of a question.
    is_plausible: bool,
}

impl Head {
    fn read(packet: &[u8]) -> Option<Self> {
        let (head, _) = packet.split_first_chunk::<12>()?;
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let [questions, answers, authorities, additionals] = [4, 6, 8, 10].map(number);
        Some(Self {
            id: number(0),
            is_response: head[2] & 0x80 != 0,
            op_code: OpCode::from_u8((head[2] >> 3) & 0x0f),
            is_plausible: questions == 1
                && answers == 0
                && authorities == 0
                && additionals <= ADDITIONALS_MAX,
        })
    }
}

impl Answer {
    fn error(id: u16, op_code: OpCode, code: ResponseCode) -> Self {
        Self {
            message: Message::error_msg(id, op_code, code),
            category: Category::Error,
            about: 0,
            udp_bytes_max: UDP_BYTES_MIN,
        }
    }

    fn to(catalog: &Catalog, question: &Message) -> Self {
        let mut metadata = Metadata::response_from_request(&question.metadata);
        // There are no signatures to be checked, or not.
        metadata.checking_disabled = false;
        let mut message = Message::new(metadata.id, MessageType::Response, OpCode::Query);
        message.metadata = metadata;
        message.queries.clone_from(&question.queries);
        let mut this = Self {
            message,
            category: Category::Error,
            about: 0,
            udp_bytes_max: UDP_BYTES_MIN,
        };
        if let Some(edns) = &question.edns {
            this.udp_bytes_max = edns.max_payload().clamp(UDP_BYTES_MIN, UDP_BYTES_MAX);
            let mut ours = Edns::new();
            ours.set_max_payload(UDP_BYTES_MAX);
            ours.set_dnssec_ok(edns.flags().dnssec_ok);
            this.message.edns = Some(ours);
            if edns.version() > 0 {
                this.message.metadata.response_code = ResponseCode::BADVERS;
                return this;
            }
        }
        match question.queries.first() {
            Some(query) => this.fill(catalog, query),
            None => this.message.metadata.response_code = ResponseCode::FormErr,
        }
        this
    }

    fn fill(&mut self, catalog: &Catalog, query: &Query) {
        let is_transfer = matches!(query.query_type, RecordType::AXFR | RecordType::IXFR);
        if query.query_class != DNSClass::IN || is_transfer {
            self.message.metadata.response_code = ResponseCode::Refused;
            return;
        }
        let found = catalog.find(&query.name, query.query_type);
        self.category = Category::Name;
        self.about = hash(&query.name);
        self.message.metadata.authoritative = true;
        match found {
            Found::Elsewhere => {
                self.category = Category::Error;
                self.about = 0;
                self.message.metadata.authoritative = false;
                self.message.metadata.response_code = ResponseCode::Refused;
            }
            Found::NoName(zone) => {
                self.category = Category::NoName;
                self.about = hash(&zone.name);
                self.message.metadata.response_code = ResponseCode::NXDomain;
                self.message.authorities.push(zone.soa());
            }
            Found::NoRecords(zone) => self.message.authorities.push(zone.soa()),
            Found::Records(records) => {
                self.message.additionals = catalog.glue(&records);
                self.message.answers = records;
            }
        }
    }

    /// Writes the answer over `bytes`, for UDP. What has no room is left out as a whole, and the answer marked as cut
    /// off: the asker comes again by TCP.
    pub(crate) fn write_for_udp(&self, bytes: &mut Vec<u8>) {
        if !write(&self.message, self.udp_bytes_max, bytes) {
            self.write_cut_off(bytes);
        }
    }

    /// Writes the answer over `bytes`, without its records.
    pub(crate) fn write_cut_off(&self, bytes: &mut Vec<u8>) {
        write(&self.message.truncate(), UDP_BYTES_MIN, bytes);
    }

    /// Appends the answer, for TCP: behind its length.
    pub(crate) fn write_for_tcp(&self, bytes: &mut Vec<u8>) {
        let mut message = Vec::new();
        if !write(&self.message, u16::MAX, &mut message) {
            return;
        }
        if let Ok(length) = u16::try_from(message.len()) {
            bytes.extend(length.to_be_bytes());
            bytes.extend(message);
        }
    }
}

/// Whether all of it had room.
fn write(message: &Message, bytes_max: u16, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    let mut encoder = BinEncoder::new(bytes);
    encoder.set_max_size(bytes_max);
    let is_written = message.emit(&mut encoder).is_ok();
    // What did not fit is noted in the head as it is written.
    is_written && (message.metadata.truncation || bytes.get(2).is_some_and(|flags| flags & 2 == 0))
}

/// Names that differ in upper and lower case alone are one.
fn hash(name: &hickory_proto::rr::Name) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// What everybody can take: RFC 1035, 2.3.4.
const UDP_BYTES_MIN: u16 = 512;
/// What passes every network without being cut in pieces: the recommendation of DNS Flag Day 2020.
pub(crate) const UDP_BYTES_MAX: u16 = 1232;
/// A question may carry a record with extensions, and a signature.
const ADDITIONALS_MAX: u16 = 2;

#[cfg(test)]
mod tests;
