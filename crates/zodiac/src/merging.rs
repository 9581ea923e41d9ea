//! Merging conflicts, with a line in the log for each.

use btrees::Merger;
use storage::{ConflictingStates, Resolution, Resolver};

/// What a Data.fs is opened with where records are changed. It says what became of each conflict; to
/// those who ask for the log's details, since a busy site has many.
pub(crate) struct LoggedMerger;

impl Resolver for LoggedMerger {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        let resolution = Merger.resolve(states);
        let oid = states.oid;
        match &resolution {
            Resolution::Merged(_) => tracing::debug!(%oid, "a conflict was merged"),
            Resolution::Refused(reason) => {
                tracing::debug!(%oid, reason, "a conflict cannot be merged");
            }
            Resolution::Unknown => tracing::debug!(%oid, "a conflict is left to the client"),
        }
        resolution
    }
}
