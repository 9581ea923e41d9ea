//! References that lead nowhere (the original's `fsrefs`).

use std::collections::BTreeMap;
use std::fmt;

use filestorage::{Positions, Step, Survey, SurveyedRecord, Walk};
use serde::Serialize;
use storage::{Oid, Tid};

use crate::Stamp;
use crate::content::Content;
use crate::current::{of_file, tell_beside};
use crate::dump::damage;
use crate::line::{Line, named, shown};
use crate::listener::{Listener, ToolError, Verdict};
use crate::paths::Paths;
use crate::quick::{PIECE_BYTES, sound_objects};
use crate::sweep::{Glance, Sweep, sweep};

/// A reference that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DanglingLine {
    /// The object that refers.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// Its class.
    pub class: Option<String>,
    /// The transaction that wrote it.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// When that was.
    pub time: String,
    /// Where its record is.
    pub offset: u64,
    /// The object referred to.
    #[serde(serialize_with = "shown")]
    pub target: Oid,
    /// The class that the reference names.
    pub target_class: Option<String>,
    /// Why it leads nowhere.
    pub reason: Reason,
    /// The way from the root to the target, by the names under which objects hold each other;
    /// nothing where the root does not reach the object that refers.
    pub path: Option<String>,
    /// The objects on that way, the one that refers last.
    pub path_oids: Vec<String>,
}

/// Why a reference leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The file has no record of the object.
    Missing,
    /// Its creation was undone, or it was deleted.
    Undone,
    /// Its record cannot be read.
    Unreadable,
}

/// Tells of every reference in a current record to an object that cannot be loaded, with the way that
/// leads there.
///
/// # Errors
/// The file cannot be read, or is damaged before its end, so that what is current is unknown.
pub fn references(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let positions = survey.positions()?;
    if let Some(objects) = sound_objects(survey, &positions, PIECE_BYTES, listener)? {
        let wrong = tell_beside(survey, &positions, listener)?;
        listener.tell(Line::ReferencesChecked {
            objects,
            dangling: 0,
            unreadable: 0,
            damages: 0,
        })?;
        return Ok(Verdict::of(wrong));
    }
    // What was found may be wrong with the index, and not with the file.
    let positions = of_file(survey, listener)?.unwrap_or(positions);
    let mut check = Check {
        survey,
        positions: &positions,
        faulty: BTreeMap::new(),
        paths: Paths::new(survey, &positions),
        objects: 0,
        dangling: 0,
        unreadable: 0,
        damages: 0,
    };
    let is_odd = |_: &SurveyedRecord, glance: Glance<'_>| match glance {
        Ok((found, 2)) => found.iter().any(|oid| positions.get(*oid).is_none()),
        _ => true,
    };
    sweep(&is_odd, |sweep| check.pass(Pass::Missing, sweep, listener))?;
    if !check.faulty.is_empty() {
        let faulty = check.faulty.clone();
        let is_odd = |_: &SurveyedRecord, glance: Glance<'_>| match glance {
            Ok((found, 2)) => found.iter().any(|oid| faulty.contains_key(oid)),
            _ => true,
        };
        sweep(&is_odd, |sweep| check.pass(Pass::Faulty, sweep, listener))?;
    }
    let beside = tell_beside(survey, &positions, listener)?;
    let wrong = check.dangling + check.unreadable + check.damages + beside;
    listener.tell(Line::ReferencesChecked {
        objects: check.objects,
        dangling: check.dangling,
        unreadable: check.unreadable,
        damages: check.damages,
    })?;
    Ok(Verdict::of(wrong))
}

struct Check<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    /// Objects that have a record and cannot be loaded: known when all records were read.
    faulty: BTreeMap<Oid, Reason>,
    paths: Paths<'a>,
    objects: u64,
    dangling: u64,
    unreadable: u64,
    damages: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Finds what is faulty, and references to what is missing.
    Missing,
    /// Finds references to what is faulty.
    Faulty,
}

impl Check<'_> {
    fn pass(
        &mut self,
        pass: Pass,
        sweep: &mut Sweep<'_>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        let mut walk = self.survey.walk_within(self.positions);
        while let Some(step) = walk.next_step()? {
            let damaged = match step {
                Step::Transaction(_) => self.transaction(pass, sweep, &mut walk, listener)?,
                Step::Damage(damage) => Some(damage.into()),
                Step::Unfinished(tail) => Some(tail.into()),
            };
            // The second pass meets the same damage again and says nothing.
            if let Some(line) = damaged
                && pass == Pass::Missing
            {
                self.look(pass, sweep.rest(), listener)?;
                self.damages += 1;
                listener.tell(line)?;
            }
            listener.reached(walk.next_offset());
        }
        self.look(pass, sweep.rest(), listener)
    }

    /// Says what is wrong with the transaction, as far as that hides records.
    fn transaction(
        &mut self,
        pass: Pass,
        sweep: &mut Sweep<'_>,
        walk: &mut Walk<'_>,
        listener: &mut dyn Listener,
    ) -> Result<Option<Line>, ToolError> {
        loop {
            let record = match walk.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(damage(error, None, None)?)),
            };
            if self.positions.get(record.oid) != Some(record.offset) {
                continue;
            }
            self.objects += u64::from(pass == Pass::Missing);
            // Where the data cannot be read, the closer look says why.
            let odd = match walk.own_data(&record) {
                Ok(data) => sweep.show(record, data.unwrap_or_default()),
                Err(_) => sweep.show(record, &[]),
            };
            self.look(pass, odd, listener)?;
        }
    }

    fn look(
        &mut self,
        pass: Pass,
        odd: Vec<SurveyedRecord>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        odd.iter()
            .try_for_each(|record| self.look_at(pass, record, listener))
    }

    fn look_at(
        &mut self,
        pass: Pass,
        record: &SurveyedRecord,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        if pass == Pass::Faulty && self.faulty.contains_key(&record.oid) {
            return Ok(());
        }
        let (tid, oid) = (Some(record.tid), Some(record.oid));
        let content = match self.survey.data(record) {
            Ok(data) => match data.record.as_deref().map(Content::decode) {
                Some(content) => content.map_err(|what| Line::Damage {
                    offset: record.offset,
                    tid,
                    oid,
                    what,
                    resumed: None,
                }),
                None => {
                    self.faulty.insert(record.oid, Reason::Undone);
                    return Ok(());
                }
            },
            Err(error) => Err(damage(error, tid, oid)?),
        };
        let content = match content {
            Ok(content) => content,
            Err(line) => {
                self.faulty.insert(record.oid, Reason::Unreadable);
                self.unreadable += 1;
                listener.tell(line)?;
                return Ok(());
            }
        };
        for (target, target_class) in content.references() {
            let reason = match pass {
                Pass::Missing if self.positions.get(target).is_none() => Some(Reason::Missing),
                Pass::Missing => None,
                Pass::Faulty => self.faulty.get(&target).copied(),
            };
            if let Some(reason) = reason {
                self.dangling += 1;
                let way = self.paths.way_to(record.oid, listener)?;
                let path = match &way {
                    Some(way) => Some(self.paths.name(way, Some(target))?),
                    None => None,
                };
                listener.tell(Line::Dangling(DanglingLine {
                    oid: record.oid,
                    class: content.class(),
                    tid: record.tid,
                    time: Stamp(record.tid).to_string(),
                    offset: record.offset,
                    target,
                    target_class,
                    reason,
                    path,
                    path_oids: way.iter().flatten().map(ToString::to_string).collect(),
                }))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DanglingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::Missing => "which does not exist",
            Reason::Undone => "whose creation was undone",
            Reason::Unreadable => "which cannot be read",
        };
        write!(
            f,
            "object {} {}, written {} in transaction {} at offset {}, refers to {} {}, {reason}\n  ",
            self.oid,
            named(&self.class),
            self.time,
            self.tid,
            self.offset,
            self.target,
            named(&self.target_class),
        )?;
        match &self.path {
            Some(path) => write!(f, "path: {path}"),
            None => f.write_str("the root does not reach it"),
        }
    }
}
