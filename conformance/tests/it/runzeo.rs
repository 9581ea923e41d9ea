//! `zodiac zeo` in the place of the genuine `runzeo`: the same files, the same command line, the same ends.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use conformance::{PATIENCE, judge, poll, zodiac_binary};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Program {
    Zodiac,
    Runzeo,
}

pub(crate) const BOTH: [Program; 2] = [Program::Zodiac, Program::Runzeo];

impl Program {
    /// The program with a command line that both take; what it says goes to `said` in the folder.
    pub(crate) fn command(self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Zodiac => {
                let mut command = Command::new(zodiac_binary().unwrap());
                command.arg("zeo");
                command
            }
            Self::Runzeo => {
                let mut command = Command::new(judge::python().unwrap());
                command.args(["-B", "-m", "ZEO.runzeo"]);
                command
            }
        };
        let said = File::create(folder.join("said")).unwrap();
        command
            .args(arguments)
            .current_dir(folder)
            .env_remove("INSTANCE_HOME")
            .env_remove("ZEO_MSGPACK")
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        command
    }
}

/// A server that runs; it is ended with it.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    pub(crate) fn start(
        program: Program,
        folder: &Path,
        address: &str,
        arguments: &[&str],
    ) -> Self {
        let mut command = program.command(folder, arguments);
        Self::wait_for(command.spawn().unwrap(), folder, address)
    }

    fn wait_for(child: Child, folder: &Path, address: &str) -> Self {
        let mut server = Self {
            child,
            address: address.to_owned(),
        };
        poll("a server that listens", PATIENCE, || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("{status}: {}", said(folder));
            }
            let answers = if address.contains('/') {
                UnixStream::connect(address).is_ok()
            } else {
                TcpStream::connect(address).is_ok()
            };
            answers.then_some(())
        })
        .unwrap();
        server
    }

    fn visit(&self, storages: &[&str], write: Option<&str>) -> Value {
        let wanted = json!({ "server": self.address, "storages": storages, "write": write });
        judge::run("zeo_visit.py", &wanted).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Sends the signal, and says with which status it ends.
    pub(crate) fn end(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        status(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

fn status(child: &mut Child) -> Option<i32> {
    poll("the end of a program", PATIENCE, || {
        child.try_wait().unwrap()
    })
    .unwrap()
    .code()
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("said")).unwrap()
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `@` is the folder; `ADDRESS` where it listens.
const SAMPLES: [(&str, &[&str], &str); 8] = [
    (
        "plone.recipe.zeoserver",
        &["1"],
        "%define INSTANCE @\n<zeo>\n  address ADDRESS\n  read-only false\n  \
         invalidation-queue-size 100\n  pid-filename $INSTANCE/zeo.pid\n</zeo>\n\
         <filestorage 1>\n  path $INSTANCE/Data.fs\n  blob-dir $INSTANCE/blobs\n</filestorage>\n\
         <eventlog>\n  level info\n  <logfile>\n    path $INSTANCE/zeo.log\n    \
         format %(asctime)s %(message)s\n  </logfile>\n</eventlog>\n\
         <runner>\n  program $INSTANCE/bin/runzeo\n  socket-name $INSTANCE/zeo.zdsock\n  \
         daemon true\n  forever false\n  backoff-limit 10\n  exit-codes 0, 2\n  \
         directory $INSTANCE\n  default-to-interactive true\n  logfile $INSTANCE/zeo.log\n</runner>\n",
    ),
    (
        "mkzeoinst",
        &["1"],
        "<zeo>\n  address ADDRESS\n  read-only false\n  invalidation-queue-size 100\n  \
         # pid-filename x\n</zeo>\n<filestorage 1>\n  path @/Data.fs\n</filestorage>\n\
         <eventlog>\n  level info\n  <logfile>\n    path @/zeo.log\n  </logfile>\n</eventlog>\n",
    ),
    (
        "two storages, msgpack",
        &["main", "temp"],
        "<zeo>\n  address ADDRESS\n  msgpack true\n  transaction-timeout 30\n</zeo>\n\
         <filestorage Main>\n  path @/Data.fs\n  pack-gc false\n  quota 1GB\n</filestorage>\n\
         <mappingstorage temp/>\n",
    ),
    (
        "demostorage in files",
        &["1"],
        "<zeo>\n  address ADDRESS\n</zeo>\n<demostorage 1>\n  <filestorage>\n    path @/Data.fs\n  \
         </filestorage>\n  <filestorage changes>\n    path @/changes.fs\n  </filestorage>\n\
         </demostorage>\n",
    ),
    (
        "zlib, included",
        &["1"],
        "%include storages.conf\n<zeo>\n  address ADDRESS\n</zeo>\n",
    ),
    (
        "serverzlib",
        &["1"],
        "%import zc.zlibstorage\n<zeo>\n  address ADDRESS\n</zeo>\n<serverzlibstorage 1>\n  \
         <filestorage>\n    path @/Data.fs\n  </filestorage>\n</serverzlibstorage>\n",
    ),
    (
        "a socket, blobstorage",
        &["1"],
        "<zeo>\n  address @/zeo.sock\n</zeo>\n<blobstorage 1>\n  blob-dir @/blobs\n  <filestorage>\n    \
         path @/Data.fs\n  </filestorage>\n</blobstorage>\n",
    ),
    (
        "an environment",
        &["1"],
        "<zeo>\n  address ADDRESS\n  read-only $(ZODIAC_TEST_READ_ONLY)\n</zeo>\n<filestorage 1>\n  \
         path @/Data.fs\n</filestorage>\n",
    ),
];

/// By turns: ours, the genuine one on the same files, ours again.
#[test]
fn a_zeo_conf_serves_genuine_clients_here_and_there() {
    for (title, storages, text) in SAMPLES {
        let folder = tempfile::tempdir().unwrap();
        let shown = folder.path().to_str().unwrap();
        let address = if text.contains("zeo.sock") {
            format!("{shown}/zeo.sock")
        } else {
            free_address()
        };
        let text = text.replace('@', shown).replace("ADDRESS", &address);
        let conf = folder.path().join("zeo.conf");
        fs::write(&conf, text).unwrap();
        fs::write(
            folder.path().join("storages.conf"),
            "%import zc.zlibstorage\n<zlibstorage 1>\n<filestorage>\npath Data.fs\n</filestorage>\n\
             </zlibstorage>\n",
        )
        .unwrap();
        let mut expected: Vec<&str> = Vec::new();
        for (program, visit) in [
            (Program::Zodiac, "one"),
            (Program::Runzeo, "two"),
            (Program::Zodiac, "three"),
        ] {
            let mut command = program.command(folder.path(), &["-C", "zeo.conf"]);
            command.env("ZODIAC_TEST_READ_ONLY", "no");
            let server = Server::wait_for(command.spawn().unwrap(), folder.path(), &address);
            expected.push(visit);
            let found = server.visit(storages, Some(visit));
            for storage in storages {
                let is_lasting = *storage != "temp";
                let expected = if is_lasting { &expected[..] } else { &[visit] };
                assert_eq!(found[storage], json!(expected), "{title}, {program:?}");
            }
            let pid_file = folder.path().join("zeo.pid");
            if text_has_pid(&conf) {
                assert_eq!(
                    read(&pid_file),
                    format!("{}\n", server.child.id()),
                    "{title}"
                );
            }
            assert_eq!(server.end(Signal::TERM), Some(0), "{title}, {program:?}");
            assert!(
                !pid_file.exists() && !Path::new(&address).exists(),
                "{title}"
            );
            let data = fs::read(folder.path().join("Data.fs")).unwrap();
            let is_compressed = data.windows(4).any(|bytes| bytes == b".z\x78\x9c");
            assert_eq!(
                is_compressed,
                title.starts_with("zlib"),
                "{title}, {program:?}"
            );
        }
    }
}

fn text_has_pid(conf: &Path) -> bool {
    read(conf).contains("  pid-filename")
}

const ZEO: &str = "<zeo>\n address 127.0.0.1:1\n</zeo>\n";

/// Command lines and configurations that cannot be followed, and the status of both programs.
#[test]
fn exit_statuses_are_runzeos() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let damaged = "<filestorage>\n path damaged.fs\n</filestorage>\n";
    let free = free_address();
    let lists: [(&[&str], String, i32); 17] = [
        (&["-h"], String::new(), 0),
        (&["--help"], String::new(), 0),
        (&["-a", "8100"], String::new(), 2),
        (&["-f", "Data.fs"], String::new(), 2),
        (&["-a", "x:y", "-f", "Data.fs"], String::new(), 2),
        (&["-a", &taken, "-f", "Data.fs"], String::new(), 2),
        (
            &["-t", "soon", "-a", "8100", "-f", "Data.fs"],
            String::new(),
            2,
        ),
        (&["--nonsense"], String::new(), 2),
        (&["positional"], String::new(), 2),
        (&["-C", "no.conf"], String::new(), 2),
        (&["-C", "zeo.conf"], format!("{ZEO}adress 1\n"), 2),
        (&["-C", "zeo.conf"], "<zeo>\n".to_owned(), 2),
        (&["-C", "zeo.conf"], ZEO.to_owned(), 2),
        (
            &["-C", "zeo.conf"],
            format!("{ZEO}<mappingstorage/>\n<mappingstorage/>\n"),
            2,
        ),
        (
            &["-C", "zeo.conf"],
            format!("{ZEO}<mappingstorage/>\n<mappingstorage 1/>\n"),
            2,
        ),
        (
            &["-C", "zeo.conf", "-a", &free],
            format!("{ZEO}{damaged}"),
            1,
        ),
        (
            &["-C", "zeo.conf", "-a", &free],
            format!(
                "{ZEO}<mappingstorage/>\n<eventlog>\n<logfile>\npath no/zeo.log\n</logfile>\n</eventlog>\n"
            ),
            1,
        ),
    ];
    for (arguments, text, expected) in lists {
        for program in BOTH {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("zeo.conf"), &text).unwrap();
            fs::write(folder.path().join("damaged.fs"), "no Data.fs").unwrap();
            let mut child = program.command(folder.path(), arguments).spawn().unwrap();
            let status = status(&mut child);
            let said = said(folder.path());
            assert_eq!(
                status,
                Some(expected),
                "{program:?} {arguments:?} {text}: {said}"
            );
            assert!(!said.contains("panicked"), "{said}");
            if program == Program::Zodiac && text.contains("adress") {
                assert!(said.contains("zeo.conf:4:"), "{said}");
            }
        }
    }
}

/// What the signals do, and what becomes of the pid file.
#[test]
fn signals_do_what_they_do_to_runzeo() {
    for program in BOTH {
        for (signal, expected) in [(Signal::TERM, 0), (Signal::INT, 0), (Signal::HUP, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let address = free_address();
            let pid_file = folder.path().join("zeo.pid");
            let arguments = [
                "-a",
                &address,
                "-f",
                "Data.fs",
                "--pid-file",
                "zeo.pid",
                "-t",
                "5",
            ];
            let server = Server::start(program, folder.path(), &address, &arguments);
            assert_eq!(read(&pid_file), format!("{}\n", server.child.id()));
            server.signal(Signal::USR2); // nothing to open again, and no reason to end
            assert_eq!(server.visit(&["1"], Some("x"))["1"], json!(["x"]));
            assert_eq!(server.end(signal), Some(expected), "{program:?} {signal:?}");
            assert!(!pid_file.exists(), "{program:?}");
        }
    }
}

#[test]
fn logs_are_opened_again_at_usr2() {
    for program in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let text = format!(
            "<zeo>\n address {address}\n</zeo>\n<mappingstorage/>\n<eventlog>\n level info\n <logfile>\n  \
             path zeo.log\n  format [%(asctime)s] %(levelname)-7s %(message)s\n  dateformat %Y-%j\n \
             </logfile>\n <logfile>\n  path errors.log\n  level error\n </logfile>\n <logfile>\n  \
             path rotated.log\n  max-size 1MB\n  old-files 2\n  format %(name)s:%(process)d\n </logfile>\n\
             </eventlog>\n"
        );
        fs::write(folder.path().join("zeo.conf"), text).unwrap();
        let server = Server::start(program, folder.path(), &address, &["-C", "zeo.conf"]);
        let path = folder.path().join("zeo.log");
        let moved = folder.path().join("zeo.log-yesterday");
        fs::rename(&path, &moved).unwrap();
        server.signal(Signal::USR2);
        let line = poll("a log that was opened again", PATIENCE, || {
            let log = read(&path);
            log.contains("Log files reopened successfully\n")
                .then_some(log)
        })
        .unwrap();
        let (date, rest) = line.split_once(' ').unwrap();
        assert!(rest.starts_with("INFO    "), "{program:?}: {line}");
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, day) = date[1..date.len() - 1].split_once('-').unwrap();
        assert!(
            year.len() == 4 && day.len() == 3 && digits(year) && digits(day),
            "{date}"
        );
        assert!(read(&moved).contains("listening on") || read(&moved).contains("listening"));
        assert_eq!(read(folder.path().join("errors.log")), "");
        let rotated = read(folder.path().join("rotated.log.1"));
        assert!(
            rotated.ends_with(&format!(":{}\n", server.child.id())),
            "{rotated}"
        );
        assert_eq!(server.end(Signal::TERM), Some(0));
        assert_eq!(
            said(folder.path())
                .lines()
                .filter(|line| line.contains("INFO"))
                .count(),
            0
        );
    }
}

/// The image's variables, and its directories.
#[test]
fn a_container_serves_as_its_variables_say() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let port = address.rsplit(':').next().unwrap();
    let data = folder.path().join("data");
    let arguments = ["--container", data.to_str().unwrap()];
    let command = |read_only: &str| {
        let mut command = Program::Zodiac.command(folder.path(), &arguments);
        command
            .env("ZEO_PORT", port)
            .env("ZEO_READ_ONLY", read_only);
        command
    };
    let server = Server::wait_for(command("false").spawn().unwrap(), folder.path(), &address);
    assert_eq!(server.visit(&["1"], Some("x"))["1"], json!(["x"]));
    assert_eq!(server.end(Signal::TERM), Some(0));
    assert!(data.join("filestorage/Data.fs").exists() && data.join("blobstorage").is_dir());
    let mut child = command("perhaps").spawn().unwrap();
    assert_eq!(status(&mut child), Some(2));
    assert!(
        said(folder.path()).contains("read-only: \"perhaps\""),
        "{}",
        said(folder.path())
    );
}
