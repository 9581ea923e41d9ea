//! `zodiac fs verify`

use std::io;

use clap::Args;
use fstools::{Line, Listener, Verdict};
use vfs::RealDisk;

use super::arguments::Target;
use super::storages::BlobDirectory;
use crate::clock;

/// `zodiac fs verify`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    blobs: BlobDirectory,
}

const HELP: &str = "\
Goes on behind damage where it can. BTrees are walked through as they are now: order of keys,
separators, the chain of buckets. Each record of a blob has to have its file in the directory of blobs,
and each file its record; what is in the files is not looked at. The .index and the checkpoint (.zidx)
beside the file are compared with it. Exit status 1 when something is damaged, or such an index would
mislead a server; an unfinished tail is no damage, and an index of no use costs time only.

Examples:
  zodiac fs verify var/Data.fs
  zodiac fs verify var/Data.fs --blobs var/blobstorage
  zodiac fs verify var/Data.fs --json | jq 'select(.kind == \"damage\") | .offset'";

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(|survey, listener| {
            let blobs = self.blobs.of(&self.target.file)?;
            let mut counting = Counting {
                listener,
                blob_records: 0,
            };
            let verdict = fstools::verify(survey, &mut counting)?;
            let records = counting.blob_records;
            match blobs {
                Some(blobs) => {
                    let of_blobs = {
                        let now = clock::since_1970();
                        fstools::verify_blobs(survey, &RealDisk, &blobs, now, listener)?
                    };
                    Ok(verdict.and(of_blobs))
                }
                None if records > 0 => {
                    listener.tell(Line::BlobsNotVerified { records })?;
                    Ok(verdict)
                }
                None => Ok(verdict),
            }
        })
    }
}

/// Notes how many records of blobs there are.
struct Counting<'a> {
    listener: &'a mut dyn Listener,
    blob_records: u64,
}

impl Listener for Counting<'_> {
    fn tell(&mut self, line: Line) -> io::Result<()> {
        if let Line::Verified(verified) = &line {
            self.blob_records = verified.blob_records;
        }
        self.listener.tell(line)
    }

    fn begins(&mut self, bytes: u64) {
        self.listener.begins(bytes);
    }

    fn counts(&mut self, things: &'static str, total: Option<u64>) {
        self.listener.counts(things, total);
    }

    fn reached(&mut self, offset: u64) {
        self.listener.reached(offset);
    }
}
