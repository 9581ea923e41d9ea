//! Clients that may not do everything.

use std::sync::Arc;

use filestorage::{FileStorage, Options};
use sim::SimDisk;
use storage::{Oid, StorageError, Tid};
use zeo::{Encoding, Hub, HubOptions, Refusal, Reply, Request, Rights};

use crate::pair::{Client, register};

const OID: Oid = Oid::ROOT;
const RECORD: &[u8] = b"\x80\x03cmodule\nClass\n.N.";
const READER: Rights = Rights {
    read: true,
    ..Rights::NONE
};
const WRITER: Rights = Rights {
    write: true,
    ..READER
};
const PACKER: Rights = Rights {
    pack: true,
    ..Rights::NONE
};

fn hub(encoding: Encoding) -> Arc<Hub> {
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
    Hub::new(vec![("1".to_owned(), storage)], hub_options).unwrap()
}

fn both(check: impl Fn(&Arc<Hub>)) {
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        check(&hub(encoding));
    }
}

fn registered(hub: &Arc<Hub>, rights: Rights) -> Client {
    let mut client = Client::with_rights(hub, rights);
    assert!(client.ask(&register(!rights.write)).is_ok());
    client
}

fn load() -> Request {
    Request::LoadBefore {
        oid: OID,
        before: Tid::MAX,
    }
}

fn pack() -> Request {
    let to = Tid::from_unix_time(std::time::Duration::from_secs(32_000_000_000));
    Request::Pack { to, wait: true }
}

fn is_read_only(refusal: &Refusal, text: &str) {
    assert!(matches!(
        refusal.to_storage_error(None),
        StorageError::ReadOnly
    ));
    let said = refusal.data().elements().unwrap();
    assert_eq!(said[0].as_text().unwrap(), text);
}

fn is_not_permitted(refusal: &Refusal, text: &str) {
    assert_eq!(refusal.class(), "builtins.PermissionError");
    let said = refusal.data().elements().unwrap();
    assert_eq!(said[0].as_text().unwrap(), text);
}

#[test]
fn who_may_not_write_is_let_in_to_read() {
    both(|hub| {
        Client::registered(hub).commit(OID, Tid::ZERO, RECORD);
        let mut reader = Client::with_rights(hub, READER);
        let refusal = reader.ask(&register(false)).unwrap_err();
        is_read_only(&refusal, "this client has no right to write");
        // What a client with read-only-fallback does then, on the same connection.
        assert!(reader.ask(&register(true)).is_ok());
        assert!(reader.ask(&load()).is_ok());
        assert!(reader.ask(&Request::NewOids(1)).is_err());
        let refusal = reader.ask(&pack()).unwrap_err();
        is_read_only(&refusal, "this client has no right to pack");
        assert!(reader.ask(&load()).is_ok());
        // The storage is not touched by one that does not ask first.
        reader.begin(OID, Tid::ZERO, RECORD);
        reader.hear();
        assert!(reader.error.is_some());
    });
}

#[test]
fn who_may_only_pack_packs_and_sees_nothing() {
    both(|hub| {
        let mut writer = Client::registered(hub);
        let tid = writer.commit(OID, Tid::ZERO, RECORD);
        let mut packer = registered(hub, PACKER);
        assert_eq!(packer.ask(&pack()), Ok(Reply::Nothing));
        assert!(packer.ask(&Request::GetInfo).is_ok());
        assert!(packer.ask(&Request::LastTransaction).is_ok());
        for request in [
            load(),
            Request::LoadSerial { oid: OID, tid },
            Request::GetTid(OID),
            Request::History { oid: OID, size: 1 },
            Request::UndoLog {
                first: 0,
                last: 10,
                specification: Vec::new(),
            },
            Request::RecordNext(OID),
            Request::IteratorStart {
                from: Tid::ZERO,
                to: Tid::MAX,
            },
            Request::IteratorNext(1),
            Request::IteratorRecordStart { iterator: 1, tid },
            Request::IteratorRecordNext(1),
            Request::SendBlob { oid: OID, tid },
        ] {
            let refusal = packer.ask_raw(&request).unwrap_err();
            is_not_permitted(&refusal, "this client has no right to read");
        }
    });
}

#[test]
fn who_may_not_undo_is_offered_no_undo_and_cannot() {
    both(|hub| {
        let mut writer = registered(hub, WRITER);
        let first = writer.commit(OID, Tid::ZERO, RECORD);
        let undoes = |client: &mut Client| match client.ask(&Request::GetInfo) {
            Ok(Reply::Info { undoes, .. }) => undoes,
            other => panic!("{other:?}"),
        };
        assert!(!undoes(&mut writer));
        assert!(undoes(&mut Client::registered(hub)));
        let id = writer.begin(OID, first, RECORD);
        let transaction = base64_of(first);
        let undo = Request::Undo {
            transaction,
            id: id.clone(),
        };
        writer.send(&undo);
        let refusal = writer.ask(&Request::Vote(id.clone())).unwrap_err();
        is_read_only(&refusal, "this client has no right to undo");
        // Its store went the same way, and it may go on.
        assert_eq!(writer.ask(&Request::TpcAbort(id)), Ok(Reply::Nothing));
        writer.commit(OID, first, RECORD);
    });
}

/// A transaction as an undo log names it.
fn base64_of(tid: Tid) -> Vec<u8> {
    let mut text = Vec::new();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in tid.to_bytes().chunks(3) {
        let mut group = [0_u8; 4];
        group[1..=three.len()].copy_from_slice(three);
        let number = u32::from_be_bytes(group);
        for place in 0..=three.len() {
            let index = (number >> (18 - 6 * place)) & 63;
            text.push(alphabet[usize::try_from(index).unwrap()]);
        }
    }
    text.push(b'=');
    text
}

#[test]
fn who_has_no_rights_is_not_let_in() {
    both(|hub| {
        let mut nobody = Client::with_rights(hub, Rights::NONE);
        for read_only in [false, true] {
            let refusal = nobody.ask(&register(read_only)).unwrap_err();
            is_not_permitted(&refusal, "this client has no rights here");
        }
        nobody.session.call(&load());
        nobody.settle();
        assert!(nobody.error.is_some());
    });
}

#[test]
fn a_client_that_is_dismissed_gets_nothing_more() {
    both(|hub| {
        let mut client = Client::registered(hub);
        let id = client.begin(OID, Tid::ZERO, RECORD);
        client
            .connection
            .outbox()
            .dismiss("it is not wanted any more".to_owned());
        client.session.call(&Request::Vote(id));
        client.settle();
        let error = client.error.as_ref().unwrap().to_string();
        assert_eq!(error, "it is not wanted any more");
        drop(client);
        let mut other = Client::registered(hub);
        assert!(other.ask(&load()).is_err());
        other.commit(OID, Tid::ZERO, RECORD);
    });
}
