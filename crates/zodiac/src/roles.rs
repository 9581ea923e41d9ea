//! One module per subcommand: it turns configuration into running parts.

pub(crate) mod balance;
pub(crate) mod config;
pub(crate) mod publish;
pub(crate) mod up;
pub(crate) mod zeo;

use std::net::SocketAddr;

use crate::cli::Common;
use crate::events::{Event, Reporter};

/// The name of this process in log lines.
fn log_name<'a>(common: &'a Common, role: &'a str) -> &'a str {
    common.log_name.as_deref().unwrap_or(role)
}

/// Tells on standard output that `role` accepts connections at `address`.
fn report_listening(common: &Common, role: &str, address: SocketAddr) {
    Reporter::new(common.json).report(&Event::Listening {
        role: role.to_owned(),
        number: None,
        pid: std::process::id(),
        address,
    });
}
