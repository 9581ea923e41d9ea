//! Genuine Zope as one more server of the same content.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Request, Response};
use crate::judge;

/// What Zope complains of, in its instance.
const LOG: &str = "log";

/// Where Zope finds its objects.
#[derive(Clone, Copy, Debug)]
pub enum Database<'a> {
    /// A Data.fs, opened by Zope itself.
    File(&'a Path),
    /// A ZEO server.
    Zeo(SocketAddr),
}

/// A genuine Zope in a process of its own, asked through WSGI.
#[derive(Debug)]
pub struct Zope {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    instance: TempDir,
}

impl Zope {
    /// Starts it and waits until it has answered a first request.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(database: Database<'_>) -> Result<Self> {
        let instance = tempfile::tempdir()?;
        let log = File::create(instance.path().join(LOG))?;
        let mut child = judge::command("zope_serve.py")?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("zope_serve.py does not start")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("the stream is piped"));
        let mut zope = Self {
            child,
            input,
            output,
            instance,
        };
        let database = match database {
            Database::File(path) => json!({ "file": path }),
            Database::Zeo(address) => json!({ "zeo": address.to_string() }),
        };
        let ready = zope.exchange(&json!({
            "instance": zope.instance.path(),
            "database": database,
        }))?;
        if ready["ready"] != true {
            bail!("Zope said {ready} instead of being ready");
        }
        Ok(zope)
    }

    /// Asks it, as a user would who sees the site at `host`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn send(&mut self, host: &str, request: &Request) -> Result<Response> {
        let answer = self.exchange(&json!({
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": STANDARD.encode(&request.body),
            "host": host,
        }))?;
        let status = answer["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        let headers = answer["headers"].as_array().into_iter().flatten();
        Ok(Response {
            status: status.with_context(|| format!("no status in {answer}"))?,
            headers: headers
                .filter_map(|pair| {
                    Some((
                        pair[0].as_str()?.to_ascii_lowercase(),
                        pair[1].as_str()?.to_owned(),
                    ))
                })
                .collect(),
            body: STANDARD.decode(answer["body"].as_str().unwrap_or_default())?,
        })
    }

    fn exchange(&mut self, value: &Value) -> Result<Value> {
        let input = self.input.as_mut().expect("open until dropped");
        writeln!(input, "{value}").context("Zope has ended")?;
        input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| {
            let log = fs::read_to_string(self.instance.path().join(LOG)).unwrap_or_default();
            format!("Zope said {line:?}; its log:\n{log}")
        })
    }
}

impl Drop for Zope {
    fn drop(&mut self) {
        drop(self.input.take()); // it ends with its input
        if self.child.wait().is_err() {
            let _ = self.child.kill();
        }
    }
}
