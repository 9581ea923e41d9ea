//! The original's side: the judge's `differential.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use conformance::judge;
use serde_json::{Value, json};

pub(super) struct Theirs {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    path: PathBuf,
}

impl Theirs {
    pub(super) fn start(path: &Path) -> Self {
        let mut child = judge::command("differential.py")
            .unwrap()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut theirs = Self {
            to: child.stdin.take(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
            path: path.to_owned(),
        };
        theirs.tell(&json!({ "path": path.to_str().unwrap() }));
        theirs
    }

    fn tell(&mut self, step: &Value) {
        let to = self.to.as_mut().unwrap();
        writeln!(to, "{step}").unwrap();
    }

    /// Lets the judge do a step; its answer.
    pub(super) fn ask(&mut self, step: &Value) -> Value {
        self.tell(step);
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{step}: {error}: {line:?}"))
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.path.with_extension("fs.index")
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // The judge ends with its input.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}
