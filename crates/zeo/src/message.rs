//! One message: who it answers, what kind it is, its method and its arguments.

use std::borrow::Cow;

use crate::frame::write_frame;
use crate::{Encoding, ProtocolError, Value};

/// The name of replies.
pub(crate) const REPLY: &str = ".reply";
/// The message id of a heartbeat, which nobody answers.
pub(crate) const HEARTBEAT: i64 = -1;
/// The flag of a reply that carries an error.
const FLAG_ERROR: i64 = 2;

/// A decoded message: `(msgid, flag, name, args)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message<'a> {
    /// Any value at all; replies carry it back unchanged.
    pub(crate) id: Value<'a>,
    /// For calls: no reply is wanted. For replies: the value is an error.
    pub(crate) flag: bool,
    pub(crate) name: Cow<'a, str>,
    pub(crate) args: Value<'a>,
}

impl<'a> Message<'a> {
    pub(crate) fn decode(encoding: Encoding, payload: &'a [u8]) -> Result<Self, ProtocolError> {
        let Value::Tuple(parts) = encoding.decode(payload)? else {
            return Err(ProtocolError::unexpected("a message that is no tuple"));
        };
        let Ok([id, flag, Value::Text(name), args]) = <[Value<'a>; 4]>::try_from(parts) else {
            return Err(ProtocolError::unexpected(
                "a message without its four parts",
            ));
        };
        Ok(Self {
            id,
            flag: flag.is_true(),
            name,
            args,
        })
    }

    pub(crate) fn is_heartbeat(&self) -> bool {
        self.id == Value::Int(HEARTBEAT)
    }
}

fn write(
    encoding: Encoding,
    id: Value<'_>,
    flag: Value<'_>,
    name: &str,
    args: Value<'_>,
    out: &mut Vec<u8>,
) {
    let message = Value::Tuple(vec![id, flag, Value::text(name), args]);
    write_frame(out, |out| encoding.encode(&message, out));
}

/// Appends the frame of a reply.
pub(crate) fn write_reply(
    encoding: Encoding,
    id: &Value<'static>,
    value: Value<'_>,
    out: &mut Vec<u8>,
) {
    write(encoding, id.clone(), Value::Int(0), REPLY, value, out);
}

/// Appends the frame of an error reply.
pub(crate) fn write_error(
    encoding: Encoding,
    id: &Value<'static>,
    class: &str,
    data: &Value<'static>,
    out: &mut Vec<u8>,
) {
    let value = Value::Tuple(vec![Value::text(class), data.clone()]);
    write(
        encoding,
        id.clone(),
        Value::Int(FLAG_ERROR),
        REPLY,
        value,
        out,
    );
}

/// Appends the frame of a call that wants a reply.
pub(crate) fn write_call(
    encoding: Encoding,
    id: i64,
    name: &str,
    args: Value<'_>,
    out: &mut Vec<u8>,
) {
    write(
        encoding,
        Value::Int(id),
        Value::Bool(false),
        name,
        args,
        out,
    );
}

/// Appends the frame of a one-way call or a push.
pub(crate) fn write_one_way(encoding: Encoding, name: &str, args: Value<'_>, out: &mut Vec<u8>) {
    write(encoding, Value::Int(0), Value::Bool(true), name, args, out);
}

/// Appends the frame of a heartbeat.
pub(crate) fn write_heartbeat(encoding: Encoding, out: &mut Vec<u8>) {
    write(
        encoding,
        Value::Int(HEARTBEAT),
        Value::Int(0),
        REPLY,
        Value::None,
        out,
    );
}
