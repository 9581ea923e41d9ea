//! One module per subcommand: it turns configuration into running parts.

pub(crate) mod balance;
pub(crate) mod config;
pub(crate) mod publish;
pub(crate) mod up;
pub(crate) mod zeo;

use std::fmt;

use crate::cli::Common;
use crate::events::{Event, Reporter};

/// The name of this process in log lines.
fn log_name<'a>(common: &'a Common, role: &'a str) -> &'a str {
    common.log_name.as_deref().unwrap_or(role)
}

/// Tells on standard output that `role` accepts connections at `address`.
fn report_listening(common: &Common, role: &str, address: impl fmt::Display) {
    Reporter::new(common.json).report(&Event::Listening {
        role: role.to_owned(),
        number: None,
        pid: std::process::id(),
        address: address.to_string(),
    });
}

/// What cannot be done because it was asked for wrongly, which trying again does not mend. The process
/// ends with status 2, at which supervisors such as zdaemon do not start it again.
#[derive(Debug)]
pub(crate) struct Misuse(String);

impl Misuse {
    /// An error that says that.
    pub(crate) fn error(message: impl fmt::Display) -> anyhow::Error {
        anyhow::Error::new(Self(message.to_string()))
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
