//! Which way leads from the root to an object.

use filestorage::{Positions, References, Survey};
use storage::{Oid, Record, StorageError};

use crate::content::Content;

/// For each object that the root reaches, one that refers to it, on a shortest way. Twelve bytes an
/// object.
pub(crate) struct Parents {
    oids: Vec<Oid>,
    /// For the object at the same place in `oids`, the place of its parent.
    parents: Vec<u32>,
}

impl Parents {
    /// Goes through the object graph, breadth first. Objects that cannot be read lead nowhere.
    pub(crate) fn find(
        survey: &Survey,
        positions: &Positions,
        mut progress: impl FnMut(u64),
    ) -> Result<Self, StorageError> {
        let oids: Vec<Oid> = positions.iter().map(|(oid, _)| oid).collect();
        if u32::try_from(oids.len()).is_err() {
            return Err(StorageError::Limit {
                what: "the number of objects",
                found: positions.len(),
                max: u64::from(u32::MAX),
            });
        }
        let mut this = Self {
            parents: vec![NONE; oids.len()],
            oids,
        };
        let Some(root) = this.place(Oid::ROOT) else {
            return Ok(this);
        };
        this.parents[root as usize] = root;
        let mut references = References::default();
        let mut level = vec![root];
        while !level.is_empty() {
            let mut next = Vec::new();
            for parent in level {
                let oid = this.oids[parent as usize];
                progress(positions.get(oid).unwrap_or_default());
                for child in children(survey, positions, oid, &mut references)? {
                    if let Some(child) = this.place(child)
                        && this.parents[child as usize] == NONE
                    {
                        this.parents[child as usize] = parent;
                        next.push(child);
                    }
                }
            }
            level = next;
        }
        Ok(this)
    }

    /// The objects from the root to this one; `None` where the root does not reach it.
    pub(crate) fn way_to(&self, oid: Oid) -> Option<Vec<Oid>> {
        let mut at = self.place(oid)?;
        let mut way = vec![oid];
        loop {
            let parent = self.parents[at as usize];
            if parent == NONE {
                return None;
            }
            if parent == at {
                way.reverse();
                return Some(way);
            }
            way.push(self.oids[parent as usize]);
            at = parent;
        }
    }

    fn place(&self, oid: Oid) -> Option<u32> {
        u32::try_from(self.oids.binary_search(&oid).ok()?).ok()
    }
}

/// What the object refers to, perhaps several times.
fn children(
    survey: &Survey,
    positions: &Positions,
    oid: Oid,
    references: &mut References,
) -> Result<Vec<Oid>, StorageError> {
    let Some(record) = record(survey, positions, oid)? else {
        return Ok(Vec::new());
    };
    if let Ok((found, 2)) = references.read(&record) {
        return Ok(found.to_vec());
    }
    // Of an odd record, what can be read.
    let references = Content::decode(&record).map(|content| content.references());
    let oids = |found: Vec<(Oid, Option<String>)>| found.into_iter().map(|(oid, _)| oid).collect();
    Ok(references.map(oids).unwrap_or_default())
}

/// The current state of the object, where it can be read.
pub(crate) fn content(
    survey: &Survey,
    positions: &Positions,
    oid: Oid,
) -> Result<Option<Content>, StorageError> {
    let record = record(survey, positions, oid)?;
    Ok(record.and_then(|record| Content::decode(&record).ok()))
}

/// The current record of the object, where it can be read.
pub(crate) fn record(
    survey: &Survey,
    positions: &Positions,
    oid: Oid,
) -> Result<Option<Record>, StorageError> {
    let Some(offset) = positions.get(oid) else {
        return Ok(None);
    };
    match survey.data_at(oid, offset) {
        Ok(data) => Ok(data.record),
        Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

const NONE: u32 = u32::MAX;
