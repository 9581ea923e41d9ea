//! A Data.fs whose end is missing, as the index beside it tells: who goes on with it and who does not.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use storage::{Oid, Record, Storage, Tid, TransactionMeta};

use crate::scratch;

/// Some objects, and where the file is cut off between two transactions.
pub(crate) fn make_site(data: &Path) -> u64 {
    make_site_of(data, 12)
}

pub(crate) fn make_site_of(data: &Path, objects: u64) -> u64 {
    let storage = FileStorage::open(data, Options::default()).expect("a Data.fs");
    // Pickles of the class and the state.
    let record = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x01.\x80\x03}q\x02.";
    let mut end = 0;
    for oid in 0..objects {
        end = fs::metadata(data).expect("it is there").len();
        let mut commit = Arc::clone(&storage)
            .begin(TransactionMeta::default())
            .expect("a transaction");
        commit
            .store(Oid::new(oid), Tid::ZERO, Record::from(record.to_vec()))
            .expect("an object");
        let voted = commit.vote().expect("it is voted");
        voted.finish(Box::new(|_| {})).expect("it is finished");
    }
    storage.close().expect("it closes");
    end
}

#[test]
fn tools_write_no_file_whose_end_is_missing_and_a_server_says_so() {
    let directory = scratch("missing-end");
    let data = directory.join("Data.fs");
    let end = make_site(&data);
    assert_eq!(fs_tool(&directory, "export Data.fs 0 root.zexp").0, Some(0));
    let file = fs::File::options().write(true).open(&data).expect("a file");
    file.set_len(end).expect("it is cut");
    drop(file);
    let before = fs::read(&data).expect("a file");
    let index = fs::read(directory.join("Data.fs.index")).expect("an index");
    let other = directory.join("source.fs");
    fs::copy(&data, &other).expect("a copy");
    for (line, status) in [
        ("verify Data.fs", 1),
        ("info Data.fs", 1),
        ("index Data.fs", 1),
        ("index Data.fs --check", 1),
        ("refs Data.fs", 1),
        ("oids Data.fs 1", 1),
        ("stats Data.fs", 1),
        ("tail Data.fs -n 1", 1),
        ("dump Data.fs", 1),
        ("undo Data.fs", 2),
        ("undo Data.fs 0x1 --dry-run", 2),
        ("copy Data.fs copy.fs", 2),
        ("export Data.fs 1 one.zexp", 2),
        ("backup Data.fs --repository .", 2),
        ("pack Data.fs", 2),
        ("undo Data.fs 0x1", 2),
        ("import Data.fs root.zexp", 2),
        ("copy source.fs Data.fs --resume", 2),
    ] {
        let (code, said) = fs_tool(&directory, line);
        assert_eq!(code, Some(status), "{line}: {said}");
        let told = match line {
            "info Data.fs" => "the end is missing",
            _ => "finished transactions are missing at the end",
        };
        assert!(said.contains(told), "{line}: {said}");
        assert_eq!(fs::read(&data).expect("a file"), before, "{line}");
        let now = fs::read(directory.join("Data.fs.index")).expect("an index");
        assert_eq!(now, index, "{line}");
    }

    for made in ["copy.fs", "one.zexp"] {
        assert!(!directory.join(made).exists(), "{made}");
    }

    let said = served(&data);
    assert!(
        said.contains("ERROR") && said.contains("missing at the end"),
        "{said}"
    );
    let on_purpose = "on purpose, delete ";
    assert!(
        said.contains(on_purpose) && said.contains("Data.fs.index.kept0"),
        "{said}"
    );
    let kept = fs::read(directory.join("Data.fs.index.kept0")).expect("it is kept");
    assert_eq!(kept, index);
    fs::remove_dir_all(directory).expect("the directory goes");
}

/// Runs `zodiac fs` in a directory: the exit status, and all that it says.
pub(crate) fn fs_tool(directory: &Path, line: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .arg("fs")
        .args(line.split(' '))
        .current_dir(directory)
        .output()
        .expect("the binary starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// What a server says on standard error while it starts and stops.
pub(crate) fn served(data: &Path) -> String {
    let mut server = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args([
            "zeo",
            "--supervised",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("it is piped");
    let mut stdout = BufReader::new(stdout);
    stdout
        .read_line(&mut line)
        .expect("it says that it listens");
    assert!(line.contains("listening"), "{line}");
    drop(server.stdin.take());
    let mut said = String::new();
    let mut stderr = server.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut said).expect("text");
    server.wait().expect("it ends");
    said
}

#[test]
fn a_damaged_file_is_called_so_by_tools_that_need_a_sound_one() {
    let directory = scratch("damaged");
    let data = directory.join("Data.fs");
    make_site(&data);
    let mut bytes = fs::read(&data).expect("a file");
    // The closing length of the last transaction.
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    fs::write(&data, bytes).expect("it is written");
    let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .args(["fs", "undo"])
        .arg(&data)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for word in [
        "damaged at offset",
        "closing length",
        "zodiac fs verify",
        "recover",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    fs::remove_dir_all(directory).expect("the directory goes");
}
