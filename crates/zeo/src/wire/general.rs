//! Pickles that ZEO's own writer would not make: read and written by the `pickle` crate.

use super::Value;
use crate::ProtocolError;

pub(super) fn decode(_bytes: &[u8]) -> Result<Value<'_>, ProtocolError> {
    Err(ProtocolError::undecodable(
        0,
        "an opcode outside of ZEO's subset",
    ))
}

pub(super) fn encode(_value: &Value<'_>) -> Vec<u8> {
    Vec::new()
}
