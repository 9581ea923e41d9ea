//! Packs on the order of a client, over a Data.fs.

use std::sync::Arc;

use filestorage::{FileStorage, Options};
use sim::SimDisk;
use storage::{Oid, Storage, Tid};
use zeo::{Encoding, Hub, HubOptions, Reply, Request};

use crate::pair::{Client, register};

/// A record of a class and a state without references.
const RECORD: &[u8] = b"\x80\x03cmodule\nClass\n.N.";

fn served(encoding: Encoding) -> (Arc<FileStorage>, Arc<Hub>) {
    let options = Options {
        disk: Arc::new(SimDisk::new()),
        pack_keep_old: false,
        ..Options::default()
    };
    let storage = FileStorage::open("/db/Data.fs", options).unwrap();
    let hub_options = HubOptions {
        encoding,
        ..HubOptions::default()
    };
    let hub = Hub::new(vec![("1".to_owned(), storage.clone() as _)], hub_options).unwrap();
    (storage, hub)
}

/// Writes the root five times.
fn write(client: &mut Client) {
    let mut base = Tid::ZERO;
    for _ in 0..5 {
        base = client.commit(Oid::ROOT, base, RECORD);
    }
}

fn pack(wait: bool) -> Request {
    let to = Tid::from_unix_time(std::time::Duration::from_secs(32_000_000_000));
    Request::Pack { to, wait }
}

#[test]
fn a_client_packs_and_waits_or_not() {
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        for wait in [true, false] {
            let (storage, hub) = served(encoding);
            let mut client = Client::registered(&hub);
            write(&mut client);
            let before = storage.stats().bytes;
            assert_eq!(client.ask(&pack(wait)), Ok(Reply::Nothing));
            assert!(storage.stats().bytes < before);
            assert_eq!(client.ask(&Request::Ping), Ok(Reply::Nothing));
        }
    }
}

/// As the original says of itself: "Yes, you can pack a read-only server or storage!" That is of
/// clients that only read; their storage may be written.
#[test]
fn a_client_that_only_reads_packs_too() {
    let (storage, hub) = served(Encoding::Pickle);
    write(&mut Client::registered(&hub));
    let before = storage.stats().bytes;
    let mut reader = Client::connect(&hub);
    reader.ask(&register(true)).unwrap();
    assert_eq!(reader.ask(&pack(true)), Ok(Reply::Nothing));
    assert!(storage.stats().bytes < before);
}

#[test]
fn what_fails_is_told_to_who_waits_and_costs_no_connection() {
    let (storage, hub) = served(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let mut base = client.commit(Oid::ROOT, Tid::ZERO, b"no pickle");
    base = client.commit(Oid::ROOT, base, b"neither");
    let refusal = client.ask(&pack(true)).unwrap_err();
    assert_eq!(refusal.class(), "ZODB.FileStorage.fspack.PackError");
    assert_eq!(client.ask(&pack(false)), Ok(Reply::Nothing));
    client.commit(Oid::ROOT, base, RECORD);
    storage.close().unwrap();
    let refusal = client.ask(&pack(true)).unwrap_err();
    assert_eq!(refusal.class(), "ZODB.POSException.StorageSystemError");
}

#[test]
fn a_server_that_stops_gives_packs_up() {
    let (storage, hub) = served(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    write(&mut client);
    let before = storage.stats().bytes;
    hub.stop_packs();
    let refusal = client.ask(&pack(true)).unwrap_err();
    let said = format!("{:?}", refusal.data());
    assert!(said.contains("given up"), "{said}");
    assert_eq!(storage.stats().bytes, before);
}
