//! Backups: genuine repozo and `zodiac fs` on one repository, each after the other.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conformance::{judge, zodiac_binary};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A database, and a repository for its backups.
struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("repository")).unwrap();
        // A Data.fs with blobs is not restored beside those of another one.
        fs::create_dir(directory.path().join("ours")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn judge(&self, steps: Value) -> Vec<Value> {
        let wanted = json!({
            "data": self.text("Data.fs"),
            "blobs": self.text("blobs"),
            "steps": steps,
        });
        let said = judge::run("backup.py", &wanted).unwrap();
        said.as_array().unwrap().clone()
    }

    /// More transactions, and a second for the next backup; the Data.fs then.
    fn grow(&self) -> Vec<u8> {
        self.judge(json!([["grow", 3], ["free", self.text("repository")]]));
        fs::read(self.path("Data.fs")).unwrap()
    }

    fn zodiac(&self, arguments: &[&str]) -> Output {
        Command::new(zodiac_binary().unwrap())
            .arg("fs")
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    /// What a backup says of itself.
    fn back_up(&self, more: &[&str]) -> Value {
        let common = ["backup", "Data.fs", "--repository", "repository", "--json"];
        let output = self.zodiac(&[&common, more].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn repozo(&self, mode: &str, more: &[&str]) -> Value {
        let mut step = vec![
            "repozo".to_owned(),
            mode.to_owned(),
            "-v".to_owned(),
            "-r".to_owned(),
        ];
        step.push(self.text("repository"));
        step.extend(more.iter().map(|&word| word.to_owned()));
        self.judge(json!([step])).remove(0)
    }

    fn repozo_backs_up(&self, more: &[&str]) {
        let said = self.repozo("-B", &[&["-f", &self.text("Data.fs")], more].concat());
        assert_eq!(said["status"], 0, "{said}");
    }

    /// Both say the same of the repository; whether it is sound.
    fn verify(&self) -> bool {
        let ours = ["backup-verify", "--repository", "repository"];
        let ours = self.zodiac(&ours).status.code().unwrap();
        assert_eq!(
            self.zodiac(&["backup-verify", "-r", "repository", "--quick"])
                .status
                .code(),
            Some(ours)
        );
        let theirs = &self.repozo("-V", &[])["status"];
        assert_eq!(*theirs, ours);
        ours == 0
    }

    /// Both restore those bytes, with the same index; of that date, if one is given.
    fn restores(&self, date: Option<&str>, expected: &[u8]) {
        let ours = [
            "restore",
            "-r",
            "repository",
            "--full",
            "-o",
            "ours/Data.fs",
        ];
        let when = date.map(|date| vec!["--date", date]).unwrap_or_default();
        let output = self.zodiac(&[&ours, &when[..]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let theirs = self.text("theirs.fs");
        let said = self.repozo("-R", &[&["-w", "-o", &theirs], &when[..]].concat());
        assert_eq!(said["status"], 0, "{said}");
        for suffix in ["", ".index"] {
            let [ours, theirs] = ["ours/Data.fs", "theirs.fs"]
                .map(|name| fs::read(self.path(&format!("{name}{suffix}"))).unwrap());
            assert!(ours == theirs, "{suffix:?} differs");
            assert!(!suffix.is_empty() || ours == expected);
        }
    }

    /// The date of the newest backup.
    fn newest(&self) -> String {
        let files = files(&self.path("repository"));
        let data = files.iter().rfind(|name| name.contains("fs")).unwrap();
        data[..19].to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        let files = files(&self.path("repository"));
        let data = files.iter().filter(|name| name.contains("fs"));
        data.map(|name| name[20..].to_owned()).collect()
    }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn repozo_and_we_continue_verify_and_restore_each_others_backups() {
    take_turns("", &[], &[]);
}

#[test]
fn repozo_and_we_take_turns_with_compressed_backups_that_look_at_the_last_piece_only() {
    take_turns("z", &["--gzip", "--quick"], &["-z", "-Q"]);
}

fn take_turns(z: &str, ours: &[&str], theirs: &[&str]) {
    let world = World::new();
    let mut states = Vec::new();
    let mut grow_and = |back_up: &dyn Fn()| {
        let bytes = world.grow();
        back_up();
        states.push((world.newest(), bytes));
    };
    let we = |full: bool| assert_eq!(world.back_up(ours)["full"], full);
    grow_and(&|| world.repozo_backs_up(theirs));
    assert_eq!(
        world.back_up(ours)["file"],
        Value::Null,
        "repozo's is enough"
    );
    grow_and(&|| we(false));
    let newest = world.newest();
    world.repozo_backs_up(theirs);
    assert_eq!(world.newest(), newest, "ours is enough for repozo");
    grow_and(&|| world.repozo_backs_up(theirs));
    assert!(world.verify());

    // A pack makes the next one full, whoever makes it.
    world.judge(json!([["pack"]]));
    grow_and(&|| we(true));
    grow_and(&|| world.repozo_backs_up(theirs));
    world.judge(json!([["pack"]]));
    grow_and(&|| world.repozo_backs_up(theirs));
    grow_and(&|| we(false));
    assert!(world.verify());

    let kinds = ["fs", "deltafs", "deltafs", "fs", "deltafs", "fs", "deltafs"];
    assert_eq!(world.kinds(), kinds.map(|kind| format!("{kind}{z}")));
    for (date, bytes) in &states {
        world.restores(Some(date), bytes);
    }
    world.restores(None, &states[states.len() - 1].1);
    let too_early = ["restore", "-r", "repository", "-D", "2001-01-01"];
    assert_eq!(world.zodiac(&too_early).status.code(), Some(2));
    assert_eq!(world.repozo("-R", &["-D", "2001-01-01"])["status"], 1);

    let bytes = world.grow();
    let line = world.back_up(&[ours, &["--full", "--kill-old-on-full"]].concat());
    assert_eq!(line["removed"], 7);
    assert_eq!(world.kinds(), [format!("fs{z}")]);
    world.restores(None, &bytes);
}

#[test]
fn repozo_and_we_notice_the_same_damage() {
    let world = World::new();
    world.grow();
    world.back_up(&[]);
    world.grow();
    world.back_up(&["--gzip"]);
    let delta = format!("repository/{}.deltafsz", world.newest());
    let sound = fs::read(world.path(&delta)).unwrap();
    fs::write(world.path(&delta), &sound[..sound.len() - 1]).unwrap();
    let status = |arguments: &[&str]| world.zodiac(arguments).status.code();
    assert_eq!(status(&["backup-verify", "-r", "repository"]), Some(1));
    assert_eq!(world.repozo("-V", &[])["status"], 1);
    assert_eq!(
        status(&["restore", "-r", "repository", "-o", "ours/Data.fs"]),
        Some(1)
    );
    assert!(!world.path("ours/Data.fs").exists() && world.path("ours/Data.fs.part").exists());
    fs::remove_file(world.path(&delta)).unwrap();
    assert!(!world.verify());
    fs::write(world.path(&delta), &sound).unwrap();
    assert!(world.verify());
}

#[test]
fn the_original_finds_every_blob_that_was_restored() {
    let world = World::new();
    world.grow();
    world.back_up(&["--blobs", "blobs"]);
    let first = world.newest();
    world.grow();
    let line = world.back_up(&["--blobs", "blobs"]);
    assert_eq!(
        [&line["blobs"]["files"], &line["blobs"]["new_files"]],
        [6, 3]
    );
    let expected = world.judge(json!([[
        "blobs",
        world.text("Data.fs"),
        world.text("blobs")
    ]]));
    let restore = |output: &str, blobs: &str, more: &[&str]| {
        let common = [
            "restore",
            "-r",
            "repository",
            "-o",
            output,
            "--blobs",
            blobs,
        ];
        let output = world.zodiac(&[&common, more].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    restore("then.fs", "then", &["--date", &first]);
    restore("now.fs", "now", &[]);
    let found = |data: &str, blobs: &str| {
        world.judge(json!([["blobs", world.text(data), world.text(blobs)]]))
    };
    assert_eq!(found("now.fs", "now"), expected);
    assert_eq!(found("then.fs", "then")[0].as_object().unwrap().len(), 3);
    // The state of then is extended to that of now.
    restore("then.fs", "then", &[]);
    assert_eq!(found("then.fs", "then"), expected);
    let verify = world.zodiac(&["backup-verify", "-r", "repository"]);
    assert!(String::from_utf8_lossy(&verify.stdout).contains("6 blobs"));
}
