//! The calls that bring and fetch the files of blobs.

use storage::Record;

use super::{Args, Request, pair};
use crate::{Refusal, Value};

impl Request {
    pub(super) fn decode_blob(args: &Args<'_>) -> Result<Option<Self>, Refusal> {
        Ok(Some(match args.name {
            "storeBlobStart" => Self::BlobStart,
            "storeBlobChunk" => Self::BlobChunk(args.bytes(0)?.to_vec()),
            "storeBlobEnd" => Self::BlobEnd {
                oid: args.oid(0)?,
                base: args.base(1)?,
                record: Record::from(args.bytes(2)?),
                id: args.any(3)?,
            },
            "storeBlobShared" => Self::BlobShared {
                oid: args.oid(0)?,
                base: args.base(1)?,
                record: Record::from(args.bytes(2)?),
                name: args.text(3)?,
                id: args.any(4)?,
            },
            "sendBlob" => Self::SendBlob {
                oid: args.oid(0)?,
                tid: args.tid(1)?,
            },
            _ => return Ok(None),
        }))
    }

    pub(super) fn encode_blob(&self) -> (&'static str, Vec<Value<'_>>) {
        match self {
            Self::BlobStart => ("storeBlobStart", Vec::new()),
            Self::BlobChunk(bytes) => ("storeBlobChunk", vec![Value::bytes(bytes)]),
            Self::BlobEnd {
                oid,
                base,
                record,
                id,
            } => {
                let mut args = pair(*oid, *base);
                args.extend([Value::bytes(record), id.clone()]);
                ("storeBlobEnd", args)
            }
            Self::BlobShared {
                oid,
                base,
                record,
                name,
                id,
            } => {
                let mut args = pair(*oid, *base);
                args.extend([Value::bytes(record), Value::text(name), id.clone()]);
                ("storeBlobShared", args)
            }
            Self::SendBlob { oid, tid } => ("sendBlob", pair(*oid, *tid)),
            _ => unreachable!("called for these"),
        }
    }
}
