//! Programs of ours and genuine ones change the same blobs by turns: in a Data.fs, through our
//! server, and through a genuine one, with caches and in a shared directory. What one writes the
//! other reads, and what one exports the other imports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conformance::judge;
use filestorage::{FileStorage, Options};
use serde_json::{Value, json};
use storage::{Oid, TransactionMeta};
use zeo_net::{BlobOptions, ClientOptions, ZeoStorage};
use zodb::{
    ClassName, Connection, Data, Database, DatabaseOptions, FromData as _, PersistentMapping,
    Reference, ViewError,
};

use crate::genuine_zeo::Server;
use crate::sound_site;
use crate::up::role;

/// Where the blobs are.
enum Place {
    File {
        path: PathBuf,
        blobs: PathBuf,
    },
    Server {
        address: String,
        storage: &'static str,
        /// The server's directory, and one for caches.
        blobs: PathBuf,
        caches: PathBuf,
    },
}

type Texts = BTreeMap<String, String>;

#[test]
fn in_a_data_fs() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::File {
        path: directory.path().join("Data.fs"),
        blobs: directory.path().join("blobs"),
    };
    take_turns(&place, directory.path(), &[false]);
}

#[test]
fn through_our_server() {
    let site = sound_site();
    let directory = site.directory();
    let blobs = directory.join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    let zeo = role(directory, &["zeo", "--data", site.data().to_str().unwrap()]);
    let place = Place::Server {
        address: zeo.listening().unwrap().to_string(),
        storage: "1",
        blobs,
        caches: directory.join("caches"),
    };
    take_turns(&place, directory, &[false, true]);
    zeo.stop().unwrap();
}

#[test]
fn through_a_genuine_server() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let wanted = json!({ "directory": directory, "count": 1, "msgpack": false, "blobs": true });
    let server = Server::start_as(&wanted);
    let place = Place::Server {
        address: server.address().to_owned(),
        storage: "0",
        blobs: directory.join("0.blobs"),
        caches: directory.join("caches"),
    };
    take_turns(&place, directory, &[false, true]);
}

/// Each in every way that the place offers, and each with what the other has exported.
fn take_turns(place: &Place, directory: &Path, ways: &[bool]) {
    let mut expected = Texts::new();
    let (ours, theirs) = (directory.join("ours.zexp"), directory.join("theirs.zexp"));
    let long = "long ".repeat(30_000);
    let mut turn = 0;
    for shared in ways {
        for their_way in ways {
            turn += 1;
            let set = |who: &str| -> Texts {
                let names = ["both".to_owned(), format!("{who} {turn}")];
                let text = |name: &String| format!("{name} by {who} in {turn} {long}");
                names
                    .iter()
                    .map(|name| (name.clone(), text(name)))
                    .collect()
            };
            let wanted = set("them");
            let asked = json!({
                "set": wanted, "import": (turn > 1).then_some(&ours), "export": theirs,
            });
            expected.extend(wanted);
            let said = visit(place, *their_way, asked);
            assert_eq!(said["blobs"], json!(expected), "turn {turn} of theirs");
            if turn > 1 {
                assert_eq!(said["imported"], json!({ "film": "our film" }));
            }
            let (database, file) = open(place, *shared);
            let before = read(&database.connect(), Oid::ROOT);
            assert_eq!(before, expected, "turn {turn}: what they wrote is read");
            let wanted = set("us");
            work(&database, &wanted, &theirs, &ours);
            expected.extend(wanted);
            assert_eq!(read(&database.connect(), Oid::ROOT), expected);
            if let Some(file) = file {
                // One process at a time.
                file.close().unwrap();
            }
        }
    }
    let said = visit(
        place,
        false,
        json!({ "set": {}, "import": null, "export": null }),
    );
    assert_eq!(said["blobs"], json!(expected), "the last turn of ours");
}

fn visit(place: &Place, shared: bool, mut asked: Value) -> Value {
    let directory = match place {
        Place::File { path, blobs } => {
            asked["file"] = json!(path);
            blobs.clone()
        }
        Place::Server {
            address,
            storage,
            blobs,
            caches,
        } => {
            asked["server"] = json!(address);
            asked["storage"] = json!(storage);
            if shared {
                blobs.clone()
            } else {
                caches.join("theirs")
            }
        }
    };
    std::fs::create_dir_all(&directory).unwrap();
    asked["blobs"] = json!(directory);
    asked["shared"] = json!(shared);
    judge::run("blob_visit.py", &asked).unwrap()
}

fn open(place: &Place, shared: bool) -> (Arc<Database>, Option<Arc<FileStorage>>) {
    match place {
        Place::File { path, blobs } => {
            let options = Options {
                blob_dir: Some(blobs.clone()),
                ..Options::default()
            };
            let storage = FileStorage::open(path, options).unwrap();
            let database = Database::new(storage.clone(), DatabaseOptions::default());
            (database, Some(storage))
        }
        Place::Server {
            address,
            storage,
            blobs,
            caches,
        } => {
            let blobs = if shared {
                BlobOptions::shared(blobs)
            } else {
                BlobOptions::cache(caches.join("ours"))
            };
            let options = ClientOptions {
                servers: vec![address.clone()],
                storage: (*storage).to_owned(),
                blobs: Some(blobs),
                ..ClientOptions::default()
            };
            let storage = ZeoStorage::connect(options).unwrap();
            (Database::new(storage, DatabaseOptions::default()), None)
        }
    }
}

fn blob_in(mapping: &PersistentMapping, name: &str) -> Option<Oid> {
    match mapping.get(name)? {
        Data::Reference(reference) => Some(reference.oid()),
        _ => None,
    }
}

fn strong(oid: Oid, module: &str, name: &str) -> Reference {
    let class = Some(ClassName::new(module, name));
    Reference::Strong { oid, class }
}

/// Changes blobs, imports what they have exported, and exports something of ours.
fn work(database: &Arc<Database>, wanted: &Texts, theirs: &Path, ours: &Path) {
    let mut connection = database.connect();
    let mut root = PersistentMapping::load(&connection, Oid::ROOT).unwrap();
    for (name, text) in wanted {
        match blob_in(&root, name) {
            Some(oid) => connection.put_blob(oid, text.as_bytes()).unwrap(),
            None => {
                let oid = connection.add_blob(text.as_bytes()).unwrap();
                root.set(name, strong(oid, "ZODB.blob", "Blob"));
            }
        }
    }
    let imported = connection.import(&mut File::open(theirs).unwrap()).unwrap();
    assert_eq!((imported.objects, imported.blobs), (2, 1));
    let found = read(&connection, imported.oid);
    let expected = Texts::from([("film".to_owned(), "their film".to_owned())]);
    assert_eq!(found, expected);
    root.set(
        "theirs",
        strong(imported.oid, "persistent.mapping", "PersistentMapping"),
    );
    let oid = exported(&mut connection).unwrap();
    let mapping = strong(oid, "persistent.mapping", "PersistentMapping");
    root.set("ours", mapping);
    root.store(&mut connection, Oid::ROOT).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
    let mut file = File::create(ours).unwrap();
    let exported = database.connect().export(oid, &mut file).unwrap();
    assert_eq!((exported.objects, exported.blobs), (2, 1));
}

fn exported(connection: &mut Connection) -> Result<Oid, ViewError> {
    let film = connection.add_blob(&b"our film"[..])?;
    let oid = connection.new_oid()?;
    let mut mapping = PersistentMapping::new();
    mapping.set("film", strong(film, "ZODB.blob", "Blob"));
    mapping.set(
        "self",
        strong(oid, "persistent.mapping", "PersistentMapping"),
    );
    mapping.store(connection, oid)?;
    Ok(oid)
}

/// The blobs that a mapping holds.
fn read(connection: &Connection, oid: Oid) -> Texts {
    let mapping = PersistentMapping::load(connection, oid).unwrap();
    let mut found = Texts::new();
    for (name, value) in mapping.iter() {
        let (Some(name), Some(oid)) = (name.as_text(), Oid::from_value(value)) else {
            continue;
        };
        if connection.load(oid).unwrap().class().to_string() == "ZODB.blob.Blob" {
            let mut text = String::new();
            let mut file = connection.open_blob(oid).unwrap();
            file.read_to_string(&mut text).unwrap();
            found.insert(name.into_owned(), text);
        }
    }
    found
}
