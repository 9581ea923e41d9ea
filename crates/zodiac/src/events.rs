//! What a role reports on standard output: lines for people, or JSON for scripts and supervisors.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Something worth telling whoever started the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// A role accepts connections.
    Listening {
        /// `zeo`, `publish` or `balance`; `dns` and `tcp` for what else a balancer is.
        role: String,
        /// Which publisher, from 1, under `zodiac up`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        number: Option<usize>,
        /// Its process.
        pid: u32,
        /// Where: an address, or the path of a socket.
        address: String,
    },
    /// A storage server tells those who watch how it is.
    Metrics {
        /// Its process.
        pid: u32,
        /// Where.
        address: SocketAddr,
    },
    /// The whole cluster serves.
    Ready {
        /// Where users connect.
        address: SocketAddr,
    },
    /// A child ended and will be started again.
    Exited {
        /// Its role.
        role: String,
        /// Which publisher.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        number: Option<usize>,
        /// Its process.
        pid: u32,
        /// How it ended.
        status: String,
    },
    /// A new database was made.
    Created {
        /// The file.
        path: String,
        /// The manager's name.
        user: String,
        /// The manager's password, shown this once.
        password: String,
    },
}

/// Where events go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reporter {
    /// Plain lines.
    Text,
    /// One JSON object a line.
    Json,
}

impl Reporter {
    /// JSON or text.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Tells of `event`. Nobody listening is not an error.
    pub(crate) fn report(self, event: &Event) {
        let line = match self {
            Self::Json => serde_json::to_string(event).expect("events have text keys"),
            Self::Text => event.to_string(),
        };
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listening {
                role,
                number,
                pid,
                address,
            } => {
                write!(f, "  {:<16} {address:<22} pid {pid}", title(role, *number))
            }
            Self::Metrics { pid, address } => {
                write!(f, "  {:<16} {address:<22} pid {pid}", "metrics")
            }
            Self::Ready { address } => {
                write!(f, "Ready: http://{address}/ (Ctrl-C stops the cluster)")
            }
            Self::Exited {
                role,
                number,
                pid,
                status,
            } => {
                write!(
                    f,
                    "  {:<16} pid {pid} ended ({status}); starting it again",
                    title(role, *number)
                )
            }
            Self::Created {
                path,
                user,
                password,
            } => write!(
                f,
                "Created {path} with a sample portal.\n  Manager: {user}, password: {password} \
                 (shown this once; keep it)"
            ),
        }
    }
}

/// What people call a role.
pub(crate) fn title(role: &str, number: Option<usize>) -> String {
    match (role, number) {
        ("zeo", _) => "storage server".to_owned(),
        ("balance", _) => "load balancer".to_owned(),
        (_, Some(number)) => format!("publisher {number}"),
        ("dns", None) => "name server".to_owned(),
        ("tcp", None) => "relay".to_owned(),
        _ => "publisher".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_have_the_documented_form() {
        let event = Event::Listening {
            role: "publish".to_owned(),
            number: Some(2),
            pid: 7,
            address: "127.0.0.1:8082".to_owned(),
        };
        let line = serde_json::to_string(&event).expect("serialises");
        assert_eq!(
            line,
            r#"{"event":"listening","role":"publish","number":2,"pid":7,"address":"127.0.0.1:8082"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).expect("parses"), event);
    }
}
