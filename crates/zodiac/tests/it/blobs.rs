//! Blobs as users of the tools meet them: found beside the Data.fs, and never left out without a word.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use storage::{Oid, Record, Storage, Tid, TransactionMeta};

/// A root without anything in it, and a blob.
fn make_site(folder: &Path) {
    fs::create_dir(folder).expect("a directory");
    let options = Options {
        blob_dir: Some(folder.join("blobs")),
        ..Options::default()
    };
    let storage = FileStorage::open(folder.join("Data.fs"), options).expect("a Data.fs");
    // Pickles of the class and the state.
    let root = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x01.\x80\x03}q\x02.";
    let blob = b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N.";
    let mut base = Tid::ZERO;
    for text in ["one", "two"] {
        let blobs = storage.blobs().expect("they are kept");
        let path = blobs.staging_file();
        fs::write(&path, text).expect("a file");
        let mut commit = Arc::clone(&storage)
            .begin(TransactionMeta::default())
            .expect("a transaction");
        commit
            .store(Oid::ROOT, base, Record::from(root.to_vec()))
            .expect("the root");
        commit
            .store_blob(Oid::new(1), base, Record::from(blob.to_vec()), path)
            .expect("the blob");
        let voted = commit.vote().expect("it is voted");
        base = voted.finish(Box::new(|_| {})).expect("it is finished");
    }
    storage.close().expect("it closes");
}

/// The status, and what was said in both streams.
fn fs_tool(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .arg("fs")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[test]
fn blobs_are_found_beside_the_file_and_go_beside_the_new_one() {
    let top = tempfile::tempdir().expect("a directory");
    make_site(&top.path().join("var"));
    for folder in ["rep", "restored", "copied"] {
        fs::create_dir(top.path().join(folder)).expect("a directory");
    }
    let fs_tool = |line: &str| fs_tool(&line.split(' ').collect::<Vec<_>>(), top.path());
    for (line, said) in [
        ("info var/Data.fs", "2 files, 6 bytes"),
        (
            "verify var/Data.fs",
            "2 records of blobs, 2 files: each has",
        ),
        ("backup var/Data.fs -r rep", "2 blobs of 6 bytes"),
        ("backup-verify -r rep", "2 blobs of 6 bytes: no damage"),
        ("restore -r rep -o restored/Data.fs", "2 blobs of 6 bytes"),
        ("verify restored/Data.fs", "2 files: each has"),
        ("restore -r rep -o restored/Data.fs", "new among them: 0"),
        ("copy var/Data.fs copied/Data.fs", "2 blobs"),
        ("verify copied/Data.fs", "2 files: each has"),
        ("pack copied/Data.fs --no-gc", "1 file of a blob"),
        ("verify copied/Data.fs", "1 file: each has"),
    ] {
        let (status, told) = fs_tool(line);
        assert_eq!(status, Some(0), "{line}: {told}");
        assert!(told.contains(said), "{line}: {told}");
    }
    // Two files never share a directory because nobody said otherwise.
    for line in [
        "restore -r rep -o var/old.fs",
        "copy var/Data.fs var/copy.fs",
    ] {
        let (status, told) = fs_tool(line);
        assert_eq!(status, Some(2), "{line}: {told}");
        assert!(told.contains("var/blobs"), "{line}: {told}");
    }
    assert!(!top.path().join("var/old.fs").exists());
    assert!(!top.path().join("var/old.fs.lock").exists());
    assert!(!top.path().join("var/copy.fs").exists());
}

#[test]
fn blobs_are_not_left_out_without_a_word() {
    let top = tempfile::tempdir().expect("a directory");
    let var = top.path().join("var");
    make_site(&var);
    fs::rename(var.join("blobs"), var.join("elsewhere")).expect("it is moved");
    fs::create_dir(top.path().join("rep")).expect("a directory");
    let fs_tool = |line: &str| fs_tool(&line.split(' ').collect::<Vec<_>>(), top.path());
    let (_, log) = fs_tool("undo var/Data.fs");
    let newest = log.split(' ').next().expect("an id").to_owned();
    let undo = format!("undo var/Data.fs {newest}");
    for (line, wanted, said) in [
        ("verify var/Data.fs", 0, "NOT looked at"),
        ("backup var/Data.fs -r rep", 2, "--no-blobs"),
        ("pack var/Data.fs", 2, "--no-blobs"),
        ("copy var/Data.fs copy.fs", 2, "--blobs-from DIR"),
        ("export var/Data.fs 1 x.zexp", 1, "--blobs DIR"),
        (&undo, 1, "--blobs DIR"),
        ("verify var/Data.fs --blobs var/nowhere", 2, "var/nowhere"),
        ("backup var/Data.fs -r rep --no-blobs", 0, "; no blobs"),
        ("restore -r rep -o new.fs", 0, "no blobs in this backup"),
        ("verify var/Data.fs --blobs var/elsewhere", 0, "each has"),
    ] {
        let (status, told) = fs_tool(line);
        assert_eq!(status, Some(wanted), "{line}: {told}");
        assert!(told.contains(said), "{line}: {told}");
    }
}

#[test]
fn the_preview_of_an_undo_misses_the_file_that_the_undo_needs() {
    let top = tempfile::tempdir().expect("a directory");
    let var = top.path().join("var");
    make_site(&var);
    let fs_tool = |line: &str| fs_tool(&line.split(' ').collect::<Vec<_>>(), top.path());
    let (_, log) = fs_tool("undo var/Data.fs");
    let undo = format!("undo var/Data.fs {}", log.split(' ').next().expect("an id"));
    let preview = format!("{undo} --dry-run");
    assert_eq!(fs_tool(&preview).0, Some(0));
    let disk = Arc::new(vfs::RealDisk);
    let blobs = filestorage::BlobDirectory::open_read_only(disk, &var.join("blobs"));
    let blobs = blobs.expect("it is a directory of blobs");
    let revisions = blobs.revisions(Oid::new(1)).expect("it can be read");
    fs::remove_file(blobs.path(Oid::new(1), revisions[0])).expect("it is there");
    let before = fs::read(var.join("Data.fs")).expect("it is there");
    for line in [preview, undo] {
        let (status, told) = fs_tool(&line);
        assert_eq!(status, Some(1), "{line}: {told}");
        assert!(
            told.contains("the file of its older data is missing"),
            "{line}: {told}"
        );
    }
    assert_eq!(fs::read(var.join("Data.fs")).expect("it is there"), before);
}

#[test]
fn no_tool_writes_over_a_file_or_gives_a_blob_up() {
    let top = tempfile::tempdir().expect("a directory");
    let var = top.path().join("var");
    make_site(&var);
    fs::create_dir(top.path().join("rep")).expect("a directory");
    let data = fs::read(var.join("Data.fs")).expect("it is there");
    fs::hard_link(var.join("Data.fs"), top.path().join("second.fs")).expect("a link");
    std::os::unix::fs::symlink("var/Data.fs", top.path().join("link.fs")).expect("a link");
    std::os::unix::fs::symlink("nowhere", top.path().join("dangling")).expect("a link");
    let fs_tool = |line: &str| fs_tool(&line.split(' ').collect::<Vec<_>>(), top.path());
    for taken in ["var/Data.fs", "second.fs", "link.fs", "dangling"] {
        let (status, told) = fs_tool(&format!("export var/Data.fs / {taken}"));
        assert_eq!(status, Some(2), "{taken}: {told}");
        assert!(told.contains("nothing is written over it"), "{told}");
        assert!(!top.path().join(format!("{taken}.part")).exists());
    }
    assert_eq!(fs::read(var.join("Data.fs")).expect("it is there"), data);

    let (status, told) = fs_tool("backup var/Data.fs -r rep");
    assert_eq!(status, Some(0), "{told}");
    let (status, _) = fs_tool("restore -F -r rep -o rep/Data.fs --no-blobs");
    assert_eq!(status, Some(0), "beside the backup is allowed");
    // A disk that is not mounted.
    fs::rename(var.join("blobs"), top.path().join("away")).expect("it is moved");
    fs::create_dir(var.join("blobs")).expect("a directory");
    let (status, told) = fs_tool("backup var/Data.fs -r rep");
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("files of blobs missing: 2"), "{told}");
    fs::remove_dir(var.join("blobs")).expect("it is empty");
    let (status, told) = fs_tool("backup var/Data.fs -r rep");
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("--blobs DIR"), "{told}");
    let (status, told) = fs_tool("restore -r rep -o new.fs --blobs new-blobs");
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("2 blobs of 6 bytes"), "{told}");
}

#[test]
fn a_copy_that_waits_for_a_server_says_so() {
    let top = tempfile::tempdir().expect("a directory");
    // Somebody listens there, and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = mute.local_addr().expect("it has one");
    let mut copy = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args(["fs", "copy", &format!("zeo://{address}"), "copy.fs"])
        .current_dir(top.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let said = copy.stderr.take().expect("it is piped");
    BufReader::new(said).read_line(&mut line).expect("a line");
    copy.kill().expect("it still waits");
    copy.wait().expect("it ends");
    assert!(line.contains("no answer yet"), "{line}");
}

#[test]
fn what_is_missing_is_named_and_nothing_is_left_behind() {
    let top = tempfile::tempdir().expect("a directory");
    let fs_tool = |line: &str| fs_tool(&line.split(' ').collect::<Vec<_>>(), top.path());
    fs::write(top.path().join("empty.fs"), "").expect("a file");
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../filestorage/tests/golden/unpacked.fs");
    fs::copy(golden, top.path().join("Data.fs")).expect("a copy");
    fs::create_dir(top.path().join("none")).expect("a directory");
    for (line, said) in [
        ("pack missing.fs", "missing.fs: cannot open"),
        ("undo missing.fs 0x03f0000200000000", "missing.fs: cannot"),
        ("pack empty.fs", "it is empty"),
        ("undo empty.fs 0x03f0000200000000", "it is empty"),
        ("copy Data.fs nowhere/Data.fs", "nowhere: cannot make files"),
        ("restore -r absent -o new.fs", "absent: no such directory"),
        ("backup-verify -r none", "none: no backup in it"),
        ("restore -r none -o new.fs", "none: no backup in it"),
        (
            "dump Data.fs --from 2026-12-01 --to 2026-11-01",
            "is later than",
        ),
        ("pack Data.fs --days x", "a number of days"),
        ("pack Data.fs --days -1", "a number of days"),
        ("tail Data.fs -n x", "a number such as 10"),
    ] {
        let (status, told) = fs_tool(line);
        assert_eq!(status, Some(2), "{line}: {told}");
        assert!(told.contains(said), "{line}: {told}");
        assert!(!told.contains("lock"), "{line}: {told}");
    }
    let names = fs::read_dir(top.path()).expect("it can be read");
    let mut names: Vec<_> = names
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    // Whoever opens an empty file for writing has its lock meanwhile, and the file of it stays.
    names.retain(|name| name != "empty.fs.lock");
    assert_eq!(names, ["Data.fs", "empty.fs", "none"]);
    assert_eq!(
        fs::read(top.path().join("empty.fs")).expect("it is there"),
        b""
    );
}
