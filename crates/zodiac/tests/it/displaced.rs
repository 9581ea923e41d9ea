//! A Data.fs into which bytes were put, without an index: what `zodiac fs` says of it and does with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::missing_end::{make_site, make_site_of};
use crate::scratch;

/// Its exit status, and what it said.
fn zodiac_fs(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_zodiac"))
        .arg("fs")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn every_tool_says_where_transactions_go_on_and_recover_copies_them() {
    let directory = scratch("displaced");
    let data = directory.join("Data.fs");
    let end = make_site(&data);
    let sound = fs::read(&data).expect("a file");
    let at = usize::try_from(end).expect("a small file");
    let displaced = [&sound[..at], &[7; 5], &sound[at..]].concat();
    fs::write(&data, &displaced).expect("it is written");
    fs::remove_file(directory.join("Data.fs.index")).expect("there was one");
    fs::create_dir(directory.join("backup")).expect("a directory");
    for (arguments, status) in [
        (&["info", "Data.fs"][..], 1),
        (&["verify", "Data.fs"], 1),
        (&["index", "Data.fs"], 1),
        (&["refs", "Data.fs"], 2),
        (&["undo", "Data.fs"], 2),
        (&["pack", "Data.fs"], 2),
        (&["copy", "Data.fs", "copy.fs"], 2),
        (&["backup", "Data.fs", "--repository", "backup"], 2),
    ] {
        let (code, said) = zodiac_fs(&directory, arguments);
        assert_eq!(code, Some(status), "{arguments:?}: {said}");
        let is_told = said.contains("5 bytes behind its place") || arguments[0] == "info";
        assert!(is_told, "{arguments:?}: {said}");
    }
    assert!(fs::read(&data).expect("a file") == displaced, "untouched");
    let (code, said) = zodiac_fs(&directory, &["recover", "Data.fs", "new.fs"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(fs::read(directory.join("new.fs")).expect("a file") == sound);
    fs::remove_dir_all(directory).expect("the directory goes");
}

#[test]
fn of_many_unreadable_records_some_are_told_and_all_if_wanted() {
    let directory = scratch("unreadable");
    let data = directory.join("Data.fs");
    make_site_of(&data, 25);
    let mut bytes = fs::read(&data).expect("a file");
    let class = b"cpersistent.mapping";
    for at in 0..bytes.len() - class.len() {
        if bytes[at..].starts_with(class) {
            bytes[at] = 0xff;
        }
    }
    fs::write(&data, &bytes).expect("it is written");
    for (more, told) in [(None, 20), (Some("--all"), 25), (Some("--json"), 25)] {
        let new = format!("{told}{}.fs", more.unwrap_or_default());
        let mut arguments = vec!["recover", "Data.fs", &new];
        arguments.extend(more);
        let (code, said) = zodiac_fs(&directory, &arguments);
        assert_eq!(code, Some(1), "{said}");
        let lines = said.lines();
        let of_one = lines.filter(|line| line.contains("unreadable") && line.contains("0x"));
        assert_eq!(of_one.count(), told, "{said}");
        assert_eq!(said.contains("and 5 more records"), told == 20, "{said}");
    }
    fs::remove_dir_all(directory).expect("the directory goes");
}
