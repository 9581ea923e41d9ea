//! Our client at a genuine server: what every storage promises, and what only some can do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use conformance::judge;
use serde_json::{Value, json};
use sim::World;
use sim::suite;
use zeo_net::{ClientOptions, ZeoStorage};

/// A genuine server, which ends with it.
pub(crate) struct Server {
    process: Child,
    address: String,
    directory: Option<tempfile::TempDir>,
}

impl Server {
    fn start(count: usize, msgpack: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let wanted = json!({ "directory": directory.path(), "count": count, "msgpack": msgpack });
        let mut server = Self::start_as(&wanted);
        server.directory = Some(directory);
        server
    }

    /// As `zeo_serve.py` is told.
    pub(crate) fn start_as(wanted: &Value) -> Self {
        let mut process = judge::command("zeo_serve.py")
            .unwrap()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.as_mut().unwrap();
        writeln!(input, "{wanted}").unwrap();
        let mut said = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        Self {
            address: said["server"].as_str().unwrap().to_owned(),
            process,
            directory: None,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A client of the storage with that number, which nobody else uses.
    fn world(&self, number: usize) -> World {
        let options = ClientOptions {
            servers: vec![self.address.clone()],
            storage: number.to_string(),
            ..ClientOptions::default()
        };
        World::new(ZeoStorage::connect(options).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
        drop(self.directory.take());
    }
}

type Promise = (&'static str, fn(&World));

/// Left out: what random actions come to (a genuine storage accepts that somebody relies on an object that
/// is gone, where its removal is a back pointer to an older removal), and that the records of a
/// transaction outlive the walk that named it (its file is closed at the end).
const PROMISES: &[Promise] = &[
    (
        "revisions",
        suite::a_revision_is_seen_from_its_transaction_on,
    ),
    ("sizes", suite::records_of_all_sizes_come_back),
    ("conflict", suite::a_stale_base_is_a_conflict),
    ("abort", suite::a_conflict_frees_the_commit_lock),
    ("publish", suite::publish_comes_once_with_the_data_visible),
    ("iteration", suite::iteration_shows_all_that_was_stored),
    ("span", suite::iteration_keeps_to_its_span),
    ("serial", suite::load_serial_finds_what_a_transaction_wrote),
    ("history", suite::a_history_is_listed_newest_first),
    (
        "current",
        suite::current_records_are_walked_in_the_order_of_their_ids,
    ),
    ("undo", suite::an_undo_brings_the_older_state_back),
    (
        "creation",
        suite::an_undone_creation_is_the_end_of_the_object,
    ),
    ("several", suite::several_undos_make_one_transaction),
    ("later", suite::an_undo_of_what_was_changed_later_is_refused),
    ("obstacles", suite::the_obstacles_of_an_undo_are_named),
    ("unknown", suite::an_unknown_transaction_cannot_be_undone),
    ("own", suite::an_undo_sees_what_its_own_transaction_stored),
    ("log", suite::the_undo_log_is_listed_newest_first),
    ("delete", suite::a_deleted_object_does_not_exist),
    (
        "stale delete",
        suite::a_deletion_from_a_stale_base_is_a_conflict,
    ),
    ("undelete", suite::a_deletion_can_be_undone),
    ("deletion", suite::a_deletion_is_part_of_the_history),
    ("copy", suite::a_copy_has_all_that_the_source_has),
    (
        "packed",
        suite::a_copied_transaction_says_that_it_was_packed,
    ),
    ("older", suite::a_copy_of_an_older_transaction_is_refused),
    ("pack", suite::what_was_replaced_is_packed_far_away),
];

fn check(msgpack: bool) {
    let server = Server::start(PROMISES.len(), msgpack);
    let mut broken = Vec::new();
    for (number, (name, promise)) in PROMISES.iter().enumerate() {
        let world = server.world(number);
        let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| promise(&world)));
        if kept.is_err() {
            broken.push(*name);
        }
    }
    assert!(broken.is_empty(), "broken: {broken:?}");
}

#[test]
fn our_client_can_do_all_at_a_genuine_server_in_pickles() {
    check(false);
}

#[test]
fn our_client_can_do_all_at_a_genuine_server_in_msgpack() {
    check(true);
}
