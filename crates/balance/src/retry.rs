//! Which failed attempts may be made again.

/// How far an attempt came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No byte of the request left: the backend cannot have acted on it.
    NotSent,
    /// At least a part of the request left; the client has not been answered.
    Sent,
    /// The client has seen the beginning of an answer.
    Answered,
}

/// Whether a request of this method changes nothing, so that it may be made twice.
///
/// `PUT` and `DELETE` are idempotent in RFC 9110, but not here: between two attempts another
/// client may have written, and the second attempt would undo that.
pub fn is_safe(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH"
    )
}

/// Whether a failed attempt may be made again at another backend. `replayable` says that the
/// request's body is still there in whole.
pub fn may_retry(method: &str, progress: Progress, replayable: bool) -> bool {
    match progress {
        Progress::NotSent => true,
        Progress::Sent => replayable && is_safe(method),
        Progress::Answered => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_repeated_only_if_it_never_left() {
        for method in ["PUT", "POST", "DELETE", "PATCH", "MKCOL", "get"] {
            assert!(may_retry(method, Progress::NotSent, false));
            assert!(!may_retry(method, Progress::Sent, true));
        }
    }

    #[test]
    fn a_read_is_repeated_until_the_client_saw_something() {
        for method in ["GET", "HEAD", "OPTIONS", "PROPFIND"] {
            assert!(may_retry(method, Progress::Sent, true));
            assert!(!may_retry(method, Progress::Sent, false));
            assert!(!may_retry(method, Progress::Answered, true));
        }
    }
}
