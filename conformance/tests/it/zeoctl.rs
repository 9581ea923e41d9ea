//! `zodiac zeoctl` and the original's zeoctl, each with its own manager and with the other one's.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use conformance::{PATIENCE, judge, kill, poll, terminate, zodiac_binary};
use tempfile::TempDir;

/// Whose program gives an order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Ours,
    Theirs,
}

/// A folder with a configuration; what was started there is stopped with it.
struct Place {
    folder: TempDir,
    address: String,
}

impl Place {
    fn new(program: &str, runner: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let text = format!(
            "<zeo>\n address {address}\n</zeo>\n<filestorage 1>\n path @/Data.fs\n</filestorage>\n\
             <runner>\n program {program}\n socket-name @/zdsock\n directory @\n \
             transcript @/transcript\n logfile @/transcript\n {runner}\n</runner>\n"
        );
        let text = text.replace('@', folder.path().to_str().unwrap());
        fs::write(folder.path().join("zeo.conf"), text).unwrap();
        for name in ["zeoctl", "runzeo"] {
            symlink(zodiac_binary().unwrap(), folder.path().join(name)).unwrap();
        }
        Self { folder, address }
    }

    fn server(runner: &str) -> Self {
        Self::new("@/runzeo -C @/zeo.conf", runner)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, whose: Whose, words: &[&str]) -> Command {
        let program = match whose {
            Whose::Ours => self.file("zeoctl"),
            Whose::Theirs => judge::python().unwrap().with_file_name("zeoctl"),
        };
        let mut command = Command::new(program);
        command
            .args(["-C", "zeo.conf"])
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Exit status and standard output, without the dots of waiting.
    fn order(&self, whose: Whose, words: &[&str]) -> (Option<i32>, String) {
        let output = self.command(whose, words).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), out.replace(". ", ""))
    }

    /// The program's process id, as `status` shows it.
    fn pid(&self) -> Option<u32> {
        let (_, said) = self.order(Whose::Ours, &["status"]);
        said.trim()
            .strip_prefix("program running; pid=")?
            .parse()
            .ok()
    }

    fn manager(&self) -> u32 {
        let (_, said) = self.order(Whose::Ours, &["status", "-l"]);
        let line = said.lines().find_map(|line| line.strip_prefix("manager="));
        line.unwrap().parse().unwrap()
    }

    fn answers(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }

    fn transcript(&self) -> String {
        fs::read_to_string(self.file("transcript")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone_already = self.command(Whose::Ours, &["stop"]).output();
    }
}

/// What a script does in the life of a server: words, exit status, what is said. `#` is a process id.
const LIFE: [(&[&str], i32, &str); 11] = [
    (&["status"], 3, "daemon manager not running\n"),
    (&["stop"], 0, "daemon manager not running\n"),
    (&["kill"], 0, "daemon process not running\n"),
    (&["start"], 0, "\ndaemon process started, pid=#\n"),
    (&["start"], 0, "daemon process already running; pid=#\n"),
    (&["status"], 0, "program running; pid=#\n"),
    (&["restart"], 0, "\ndaemon process restarted, pid=#\n"),
    (
        &["logreopen"],
        0,
        "kill(#, 12)\nsignal SIGUSR2 sent to process #\n",
    ),
    (
        &["fg"],
        0,
        "To run the program in the foreground, please stop it first.\n",
    ),
    (&["stop"], 0, "\ndaemon process stopped\n"),
    (&["status", "-l"], 3, "daemon manager not running\n"),
];

/// Who starts is whose manager it is; the other orders come from either.
#[test]
fn either_zeoctl_leads_a_server_through_its_life_with_either_manager() {
    for starts in [Whose::Ours, Whose::Theirs] {
        for orders in [Whose::Ours, Whose::Theirs] {
            let place = Place::server("");
            for (step, (words, status, expected)) in LIFE.iter().enumerate() {
                let whose = if *words == ["start"] { starts } else { orders };
                let what = format!("step {step}, {words:?}, {starts:?} and {orders:?}");
                let (found, said) = place.order(whose, words);
                let pid = place.pid().unwrap_or_default().to_string();
                assert_eq!(said.replace(&pid, "#"), *expected, "{what}");
                assert_eq!(found, Some(*status), "{what}");
                if *words == ["start"] && starts == Whose::Ours {
                    assert!(place.answers(), "a start waits for the server: {what}");
                }
            }
            assert!(!place.answers());
            assert!(!place.file("zdsock").exists());
            assert!(place.transcript().contains("terminated by SIGTERM"));
        }
    }
}

#[test]
fn a_server_that_dies_is_started_again() {
    let place = Place::server("");
    assert_eq!(place.order(Whose::Ours, &["start"]).0, Some(0));
    let first = place.pid().unwrap();
    kill(first).unwrap();
    let second = poll("another server", PATIENCE, || {
        place.pid().filter(|pid| *pid != first && place.answers())
    });
    let said = place.transcript();
    assert!(said.contains("terminated by SIGKILL"), "{said}");

    // One who ends the manager ends the server, and leaves nobody who starts it again.
    terminate(place.manager()).unwrap();
    poll("the end of both", PATIENCE, || {
        (place.order(Whose::Ours, &["status"]).0 == Some(3) && !place.answers()).then_some(())
    })
    .unwrap();
    assert!(place.pid().is_none(), "{second:?}");
}

#[test]
fn a_server_that_cannot_start_is_given_up() {
    // Status 2, which is among the exit codes of a <runner>, is not worth a second try.
    let misled = Place::new("@/runzeo -C @/absent.conf", "");
    let (status, said) = misled.order(Whose::Ours, &["start"]);
    assert_eq!(
        (status, said.as_str()),
        (Some(1), "\ndaemon manager not running\n")
    );
    assert_eq!(misled.transcript().matches("spawned process").count(), 1);

    let failing = Place::new("/bin/false", "backoff-limit 2");
    assert_eq!(failing.order(Whose::Ours, &["start"]).0, Some(1));
    let said = failing.transcript();
    assert_eq!(said.matches("spawned process").count(), 2, "{said}");
    assert!(said.contains("restarting too frequently; quit"), "{said}");

    let absent = Place::new("@/no-such-program", "");
    let output = absent.command(Whose::Ours, &["start"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("can't stat program"), "{said}");
}

#[test]
fn a_transcript_that_was_moved_away_is_opened_again() {
    let place = Place::server("");
    assert_eq!(place.order(Whose::Ours, &["start"]).0, Some(0));
    fs::rename(place.file("transcript"), place.file("transcript.1")).unwrap();
    assert_eq!(place.order(Whose::Ours, &["reopen_transcript"]).0, Some(0));
    assert_eq!(place.order(Whose::Ours, &["restart"]).0, Some(0));
    let said = place.transcript();
    assert!(said.contains("terminated by SIGTERM"), "{said}");
    assert!(said.contains("spawned process"), "{said}");
}

/// In the foreground, signals and the exit status are the server's own.
#[test]
fn fg_becomes_the_server() {
    let place = Place::server("");
    let mut command = place.command(Whose::Ours, &["fg"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    poll("a server", PATIENCE, || place.answers().then_some(())).unwrap();
    terminate(child.id()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!place.answers());
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let place = Place::server("");
    for (words, reason) in [
        (&["show"][..], "show is not there"),
        (&["frobnicate"], "unknown action \"frobnicate\""),
        (&[], "an action argument is required"),
        (&["-S", "schema.xml", "start"], "-S is not there"),
        (&["-X", "a=b", "start"], "-X is not there"),
        (
            &["-u", "no-such-user", "start"],
            "username \"no-such-user\" not found",
        ),
    ] {
        let output = place.command(Whose::Ours, words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(reason), "{words:?}: {said}");
    }
}
