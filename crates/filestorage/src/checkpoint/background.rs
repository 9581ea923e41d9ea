//! When a storage writes its checkpoint.

use std::sync::Arc;

use storage::Tid;

use crate::file_storage::FileStorage;
use crate::format::Offset;
use crate::generation::Generation;

/// What the storage shows at some moment. Taken before a sync of the log, it is durable after it.
pub(crate) struct Moment {
    generation: Arc<Generation>,
    last_tid: Tid,
    end: Offset,
}

impl FileStorage {
    /// What is shown now.
    pub(crate) fn moment(&self) -> Moment {
        let generation = self.generation();
        // In this order: what is newer than this id and before the end is the last transaction.
        let last_tid = generation.last_tid();
        let end = generation.end();
        Moment {
            generation,
            last_tid,
            end,
        }
    }

    /// Lets a checkpoint be written beside the commits, where one is due. The log must be durable
    /// as far as it was shown then.
    pub(crate) fn checkpoint_if_due(&self, moment: Moment) {
        if moment.generation.checkpointer.due(moment.end) {
            (self.background)(Box::new(move || moment.write_checkpoint()));
        }
    }

    /// Renews the checkpoint at the end of the storage, if there is one: then the next process goes
    /// on with it.
    pub(crate) fn last_checkpoint(&self) {
        let moment = self.moment();
        if moment.generation.checkpointer.is_begun() {
            moment.write_checkpoint();
        }
    }
}

impl Moment {
    fn write_checkpoint(&self) {
        let generation = &self.generation;
        let (log, checkpointer) = (&generation.log, &generation.checkpointer);
        let index = generation.index.whole();
        let written =
            index.and_then(|index| checkpointer.write(log, index, self.end, self.last_tid));
        if let Err(error) = written {
            tracing::warn!(%error, "no checkpoint is written; an open after a crash takes longer");
        }
    }
}
