//! Packing: what was no longer current at the pack time goes, and on request what nothing reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{MemoryStorage, References, State, Transaction, own_bytes};
use crate::draft::View;
use crate::{
    DataRecord, Oid, Pack, PackError, PackOptions, PackProgress, PackReport, Stage, StorageError,
    Tid,
};

impl Pack for MemoryStorage {
    /// Nobody reads or commits meanwhile.
    fn pack(&self, options: &PackOptions) -> Result<PackReport, PackError> {
        let Some(_alone) = self.packing.try_lock() else {
            return Err(PackError::Running);
        };
        let mut state = self.state.write();
        let reached = if options.gc {
            let references = self.options.references.as_ref();
            let references = references.ok_or(StorageError::Unsupported {
                operation: "collecting garbage: nothing was given to read references with",
            })?;
            Some(Marking::new(&state, options.to, references).run()?)
        } else {
            None
        };
        let total = state.transactions.len() as u64;
        let mut packed = state.clone();
        let report = drop_old(&mut packed, options.to, reached.as_ref());
        if report.packed {
            // Where nothing was to be taken away, all may still be undone.
            *state = packed;
        }
        (options.progress)(PackProgress {
            stage: Stage::Copying,
            done: total,
            total,
        });
        Ok(report)
    }

    /// Garbage is collected where something was given to read references with.
    fn options(&self) -> PackOptions {
        PackOptions {
            gc: self.options.references.is_some(),
            ..PackOptions::default()
        }
    }

    fn is_packing(&self) -> bool {
        self.packing.is_locked()
    }
}

/// Which objects have to be kept.
struct Marking<'a> {
    state: &'a State,
    to: Tid,
    references: &'a References,
    reached: BTreeSet<Oid>,
    pending: Vec<Oid>,
}

impl<'a> Marking<'a> {
    fn new(state: &'a State, to: Tid, references: &'a References) -> Self {
        Self {
            state,
            to,
            references,
            reached: BTreeSet::new(),
            pending: Vec::new(),
        }
    }

    /// The root is kept, what was stored after the pack time, and all that these need.
    fn run(mut self) -> Result<BTreeSet<Oid>, PackError> {
        let state = self.state;
        if state.revisions.is_empty() {
            return Ok(self.reached);
        }
        let root = state.revision_before(Oid::ROOT, Tid::MAX)?;
        if root.is_none_or(|root| root.data.is_none()) {
            return Err(PackError::NoRoot);
        }
        self.reach(Oid::ROOT);
        for (oid, revisions) in &state.revisions {
            if revisions.last().is_some_and(|last| last.tid > self.to) {
                self.reach(*oid);
            }
        }
        while let Some(oid) = self.pending.pop() {
            self.follow(oid)?;
        }
        Ok(self.reached)
    }

    fn reach(&mut self, oid: Oid) {
        if self.reached.insert(oid) {
            self.pending.push(oid);
        }
    }

    fn follow(&mut self, oid: Oid) -> Result<(), PackError> {
        let revisions = &self.state.revisions[&oid];
        for revision in &revisions[first_kept(revisions, self.to)..] {
            let Some(record) = &revision.data else {
                continue;
            };
            let tid = revision.tid;
            let found = (self.references)(record);
            let found = found.map_err(|cause| PackError::Unreadable { oid, tid, cause })?;
            for missing in found {
                if !self.state.revisions.contains_key(&missing) {
                    let parent = oid;
                    return Err(PackError::Dangling { parent, missing });
                }
                self.reach(missing);
            }
        }
        Ok(())
    }
}

/// The place of the revision that was current at the pack time: everything before it goes.
fn first_kept(revisions: &[DataRecord], to: Tid) -> usize {
    let after = revisions.partition_point(|revision| revision.tid <= to);
    after.saturating_sub(1)
}

fn drop_old(state: &mut State, to: Tid, reached: Option<&BTreeSet<Oid>>) -> PackReport {
    let bytes_before = state.bytes;
    let records = |state: &State| -> usize {
        let transactions = state.transactions.iter();
        transactions.map(|t| t.records.len()).sum()
    };
    let before = (
        state.revisions.len(),
        records(state),
        state.transactions.len(),
    );
    if let Some(reached) = reached {
        state.revisions.retain(|oid, _| reached.contains(oid));
    }
    let mut kept: BTreeMap<Tid, BTreeSet<Oid>> = BTreeMap::new();
    for (oid, revisions) in &mut state.revisions {
        revisions.drain(..first_kept(revisions, to));
        let mut here = BTreeSet::new();
        for revision in revisions {
            // What a record referred to may be gone, and up to the pack time none refers.
            let referred = revision.data_tid.filter(|_| revision.tid > to);
            revision.data_tid = referred.filter(|tid| here.contains(tid));
            here.insert(revision.tid);
            kept.entry(revision.tid).or_default().insert(*oid);
        }
    }
    let old = std::mem::take(&mut state.transactions);
    for transaction in old {
        let kept = kept.get(&transaction.tid);
        let packed = repack(&transaction, state, to, kept);
        state.transactions.extend(packed);
    }
    let all = state.transactions.iter().flat_map(|t| &t.records);
    state.bytes = all.map(own_bytes).sum();
    let after = (
        state.revisions.len(),
        records(state),
        state.transactions.len(),
    );
    PackReport {
        packed: before != after,
        bytes_before,
        bytes_after: state.bytes,
        objects_removed: (before.0 - after.0) as u64,
        records_dropped: Some((before.1 - after.1) as u64),
        transactions_dropped: Some((before.2 - after.2) as u64),
        blobs_removed: None,
    }
}

/// What is left of a transaction; nothing where that is nothing and it is from before the pack time.
fn repack(
    transaction: &Arc<Transaction>,
    state: &State,
    to: Tid,
    kept: Option<&BTreeSet<Oid>>,
) -> Option<Arc<Transaction>> {
    let is_packed = transaction.tid <= to;
    if is_packed && kept.is_none() {
        return None;
    }
    let mut records = Vec::new();
    for (place, record) in transaction.records.iter().enumerate() {
        let later = &transaction.records[place + 1..];
        if !kept.is_some_and(|kept| kept.contains(&record.oid)) {
            continue;
        }
        if later.iter().any(|later| later.oid == record.oid) {
            if !is_packed {
                records.push(record.clone());
            }
            continue;
        }
        // With the references that are left.
        records.extend(state.revision(record.oid, record.tid).cloned());
    }
    Some(Arc::new(Transaction {
        tid: transaction.tid,
        is_packed: is_packed || transaction.is_packed,
        meta: transaction.meta.clone(),
        records,
    }))
}
