//! A first look at all headers, which finds those that contradict others.

use std::collections::{BTreeMap, BTreeSet};

use filestorage::{Damage, Positions, RawRecord, Status, Step, Survey};
use storage::{Oid, StorageError, Tid};

use super::input::{CLOSING_BYTES, Candidate, Input};
use super::segments::Met;
use super::witness::{self, Finding, Neighbours, Node};

/// What is known of the file before anything is copied. Places are those that pointers name.
#[derive(Default)]
pub(super) struct Doubts {
    /// An index that is of this file.
    pub(super) index: Option<Positions>,
    /// Whether what it says of the end of the file counts. After a pack it does not.
    pub(super) knows_end: bool,
    findings: BTreeMap<u64, Finding>,
    /// Objects of which the index says nothing that counts.
    mistrusted: BTreeSet<Oid>,
    /// Transactions that say they were undone, with records that others lead to.
    revived: BTreeSet<u64>,
}

impl Doubts {
    /// Whether the index is displaced where it speaks of that object.
    pub(super) fn is_mistrusted(&self, oid: Oid) -> bool {
        self.mistrusted.contains(&oid)
    }

    pub(super) fn finding(&self, at: u64) -> Option<Finding> {
        self.findings.get(&at).copied()
    }

    /// Whether nothing contradicts anything.
    pub(super) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether the transaction there was never undone, whatever it says.
    pub(super) fn is_revived(&self, origin: u64) -> bool {
        self.revived.contains(&origin)
    }

    /// Whether what looks like an unfinished end once was finished: both its status and the closing
    /// length at the end of the file say so, or an index goes on behind it.
    pub(super) fn was_finished(
        &self,
        input: &mut Input<'_>,
        offset: u64,
        gap: u64,
    ) -> Result<bool, StorageError> {
        if let Some(index) = &self.index
            && (self.knows_end || gap != 0)
            && index.end() > offset.wrapping_add(gap)
        {
            return Ok(true);
        }
        let size = input.survey.size();
        let (Some(header), Some(closing)) = (
            input.transaction(offset)?,
            input.number(size - CLOSING_BYTES.min(size))?,
        ) else {
            return Ok(false);
        };
        let is_whole = offset.checked_add(closing) == size.checked_sub(CLOSING_BYTES);
        let is_written = match header.status {
            Status::UNFINISHED => false,
            // A header that never reached the disk is zero all over.
            Status::NEVER_WRITTEN => header.tid != Tid::ZERO && header.length == closing,
            _ => true,
        };
        Ok(is_whole && is_written)
    }

    /// Reads all headers; those around a contradiction once more or twice.
    pub(super) fn find(survey: &Survey) -> Result<Self, StorageError> {
        let mut this = Self::default();
        // The newer one knows more; the other is asked where that one is of no use.
        let mut saved: Vec<Positions> = survey.saved_index().into_iter().collect();
        saved.extend(survey.saved_checkpoint());
        saved.retain(|saved| !survey.is_from_before_a_pack(saved));
        saved.sort_by_key(|saved| std::cmp::Reverse(saved.end()));
        this.knows_end = survey.longer(survey.size())?.is_some() || {
            let ends = saved.iter().map(Positions::end);
            ends.max().is_none_or(|end| end <= survey.size())
        };
        let mut look = Look::of(survey, &this, saved.first())?;
        for other in 1..saved.len() {
            if look.is_of_this_file {
                break;
            }
            look = Look::of(survey, &this, saved.get(other))?;
        }
        let end = look.index.filter(|_| look.is_of_this_file);
        let end = end.map(Positions::end);
        let Look {
            mut around,
            revived,
            ..
        } = look;
        this.index = saved.into_iter().find(|saved| Some(saved.end()) == end);
        if !revived.is_empty() || this.index.is_some() {
            this.revived = revived;
            let look = Look::of(survey, &this, this.index.as_ref())?;
            (around, this.mistrusted) = (look.around, look.mistrusted);
        }
        if !around.places.is_empty() {
            this.findings = this.judge(survey, around)?;
        }
        Ok(this)
    }

    fn judge(
        &self,
        survey: &Survey,
        mut around: Around,
    ) -> Result<BTreeMap<u64, Finding>, StorageError> {
        let disputed = around.places.clone();
        let mut nodes = BTreeMap::new();
        let mut lost = Vec::new();
        for _ in 0..COLLECTIONS {
            let known = around.oids.len();
            lost.clear();
            nodes.clear();
            each_record(survey, self, &mut |event| {
                match event {
                    Event::Record { at, node } => around.collect(at, node, &mut nodes),
                    Event::Lost(from, to) => lost.push((from, to)),
                    Event::Moved(from, to) => note_moved(&mut lost, from, to),
                    Event::Undone(..) | Event::End(_) => {}
                }
                Ok(())
            })?;
            if nodes.len() >= NODES_MAX {
                let doubtful = disputed.into_iter();
                return Ok(doubtful.map(|at| (at, Finding::Doubtful(None))).collect());
            }
            if around.oids.len() == known {
                break;
            }
        }
        Ok(witness::judge(Neighbours {
            nodes,
            index: self.index.as_ref(),
            lost: &lost,
            mistrusted: &self.mistrusted,
        }))
    }
}

/// What contradictions are about.
#[derive(Default)]
struct Around {
    oids: BTreeSet<Oid>,
    places: BTreeSet<u64>,
}

impl Around {
    fn add(&mut self, oid: Oid, places: &[u64]) {
        if self.places.len() < NODES_MAX {
            self.oids.insert(oid);
            self.places.extend(places.iter().filter(|at| **at != 0));
        }
    }

    fn collect(&mut self, at: u64, node: Node, nodes: &mut BTreeMap<u64, Node>) {
        let leads = |to: u64| self.places.contains(&to);
        let is_near = leads(at) || leads(node.previous) || node.back.is_some_and(leads);
        if is_near {
            self.oids.insert(node.oid);
        }
        if (is_near || self.oids.contains(&node.oid)) && nodes.len() < NODES_MAX {
            nodes.insert(at, node);
        }
    }
}

/// What there is in the file, in order.
enum Event {
    Record {
        at: u64,
        node: Node,
    },
    /// From where to where nothing can be read.
    Lost(u64, u64),
    /// An undone transaction.
    Undone(u64, u64),
    /// A transaction begins at the second place, where the first one was expected.
    Moved(u64, u64),
    /// A transaction or something broken ends.
    End(u64),
}

struct Look<'a> {
    index: Option<&'a Positions>,
    is_compared: bool,
    is_of_this_file: bool,
    last: Positions,
    around: Around,
    mistrusted: BTreeSet<Oid>,
    lost: Vec<(u64, u64)>,
    undone: Vec<(u64, u64)>,
    revived: BTreeSet<u64>,
    end: u64,
    /// The transaction that is read, and the pointers in it so far.
    transaction: u64,
    beside: BTreeSet<(Oid, u64)>,
}

impl<'a> Look<'a> {
    fn new(index: Option<&'a Positions>) -> Self {
        Self {
            index,
            is_compared: false,
            is_of_this_file: false,
            last: Positions::default(),
            around: Around::default(),
            mistrusted: BTreeSet::new(),
            lost: Vec::new(),
            undone: Vec::new(),
            revived: BTreeSet::new(),
            end: 0,
            transaction: 0,
            beside: BTreeSet::new(),
        }
    }

    fn of(
        survey: &Survey,
        doubts: &Doubts,
        index: Option<&'a Positions>,
    ) -> Result<Self, StorageError> {
        let mut this = Self::new(index);
        each_record(survey, doubts, &mut |event| this.meet(event))?;
        this.compare();
        Ok(this)
    }

    fn meet(&mut self, event: Event) -> Result<(), StorageError> {
        match event {
            Event::Record { at, node } => {
                let found = self.last.get(node.oid).unwrap_or(0);
                let forgets = node.previous == 0 && node.is_packed;
                if self.transaction != node.transaction {
                    self.transaction = node.transaction;
                    self.beside.clear();
                }
                // Of several in one transaction, all may lead to the one before it.
                let is_beside =
                    found >= node.transaction && self.beside.contains(&(node.oid, node.previous));
                self.beside.insert((node.oid, node.previous));
                if found != node.previous && !forgets && !is_beside {
                    self.around.add(node.oid, &[at, node.previous, found]);
                    self.revive(node.previous);
                }
                // Bytes that are there twice would lead back.
                if at > found {
                    self.last.set(node.oid, at);
                }
            }
            Event::Lost(from, to) => self.lost.push((from, to)),
            Event::Moved(from, to) => note_moved(&mut self.lost, from, to),
            Event::Undone(from, to) => self.undone.push((from, to)),
            Event::End(end) => {
                self.end = end;
                if self.index.is_some_and(|index| end >= index.end()) {
                    self.compare();
                }
            }
        }
        Ok(())
    }

    fn revive(&mut self, at: u64) {
        let after = self.undone.partition_point(|(start, _)| *start <= at);
        if let Some((start, end)) = self.undone[..after].last()
            && at < *end
        {
            self.revived.insert(*start);
        }
    }

    fn is_lost(&self, at: u64) -> bool {
        let after = self.lost.partition_point(|(start, _)| *start <= at);
        at >= self.end || self.lost[..after].last().is_some_and(|(_, end)| at < *end)
    }

    /// Compares the index with the records before its end.
    fn compare(&mut self) {
        let Some(index) = self.index.filter(|_| !self.is_compared) else {
            return;
        };
        self.is_compared = true;
        let (mut agree, mut disputed) = (0_u64, Vec::new());
        for (oid, at) in index.iter() {
            let found = self.last.get(oid);
            if found == Some(at) {
                agree += 1;
            } else if !self.is_lost(at) && found.is_none_or(|found| found < index.end()) {
                disputed.push((oid, at, found.unwrap_or(0)));
                if disputed.len() as u64 > DISPUTED_MIN && disputed.len() as u64 > agree * 2 {
                    return;
                }
            }
        }
        self.is_of_this_file = agree > 0 && disputed.len() as u64 <= agree;
        if !self.is_of_this_file {
            return;
        }
        disputed.sort_unstable_by_key(|(_, at, _)| *at);
        let trusted = self.trusted(index, &disputed);
        for ((oid, at, found), is_trusted) in disputed.into_iter().zip(trusted) {
            if !is_trusted {
                self.mistrusted.insert(oid);
                continue;
            }
            self.around.add(oid, &[at, found]);
            self.revive(at);
        }
        for (oid, at) in self.last.iter() {
            if at < index.end() && index.get(oid).is_none() {
                self.around.add(oid, &[at]);
            }
        }
    }

    /// Whether each disputed entry is one of few among entries that agree. An index that is displaced
    /// from some place on, as one from before a pack is, says nothing there.
    fn trusted(&self, index: &Positions, disputed: &[(Oid, u64, u64)]) -> Vec<bool> {
        let mut agreeing = vec![0_u64; disputed.len() + 1];
        for (oid, at) in index.iter() {
            if self.last.get(oid) == Some(at) {
                agreeing[disputed.partition_point(|(_, other, _)| *other < at)] += 1;
            }
        }
        let around = |number: usize| {
            let (mut low, mut high) = (number, number + 1);
            let mut agree = agreeing[low].min(AROUND) + agreeing[high].min(AROUND);
            let mut against = 1;
            while agree + against < AROUND && (low > 0 || high < disputed.len()) {
                if low > 0 {
                    low -= 1;
                    (agree, against) = (agree + agreeing[low].min(AROUND), against + 1);
                }
                if high < disputed.len() {
                    high += 1;
                    (agree, against) = (agree + agreeing[high].min(AROUND), against + 1);
                }
            }
            agree >= against
        };
        (0..disputed.len()).map(around).collect()
    }
}

/// What is missing is lost. What is there twice, or was put between, is not before it.
fn note_moved(lost: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    if from < to {
        lost.push((from, to));
    }
    lost.retain(|(start, _)| *start < to);
    if let Some((_, end)) = lost.last_mut() {
        *end = to.min(*end);
    }
}

/// Goes through all records that a recovery takes for records.
fn each_record(
    survey: &Survey,
    doubts: &Doubts,
    visit: &mut dyn FnMut(Event) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut input = Input::new(survey);
    let mut walk = survey.walk().across_gaps();
    let (mut gap, mut last) = (0_u64, Tid::ZERO);
    let mut met = Met::default();
    while let Some(step) = walk.next_step()? {
        let (offset, after, is_sound) = match step {
            Step::Transaction(found) => {
                let end = found.offset + found.bytes;
                if met.find(&mut input, found.offset, found.bytes)?.is_some() {
                    // What follows is expected where it was.
                    gap = gap.wrapping_sub(found.bytes);
                    continue;
                }
                let by_walk = found.origin.wrapping_sub(found.offset);
                let known = input.gap(found.offset, end, by_walk, gap)?;
                let origin = found.offset.wrapping_add(known);
                met.note(origin, found.offset, found.bytes);
                visit(Event::Moved(found.offset.wrapping_add(gap), origin))?;
                gap = known;
                if found.status == Status::UNDONE && !doubts.is_revived(origin) {
                    visit(Event::Undone(origin, origin + found.bytes))?;
                    continue;
                }
                last = last.max(found.tid);
                (found.offset, found.offset + found.bytes, true)
            }
            Step::Damage(Damage {
                offset,
                resumed: Some(resumed),
                ..
            }) => (offset, resumed, false),
            Step::Damage(_) => continue,
            Step::Unfinished(tail) => {
                if !doubts.was_finished(&mut input, tail.offset, gap)? {
                    continue;
                }
                (tail.offset, tail.offset + tail.bytes, false)
            }
        };
        let candidate = input.candidate(offset, offset.wrapping_add(gap), after)?;
        let reading = match &candidate {
            Some(candidate) => Some(input.read(candidate, last)?),
            None => None,
        };
        let reading = reading.filter(|reading| is_sound || (reading.records > 0 && reading.agrees));
        let mut at = after;
        if let (Some(candidate), Some(reading)) = (candidate, reading) {
            at = visit_records(&mut input, &candidate, reading.end, gap, visit)?;
            if reading.broken.is_some() {
                visit(Event::Lost(at.wrapping_add(gap), after.wrapping_add(gap)))?;
            }
        } else {
            visit(Event::Lost(offset.wrapping_add(gap), at.wrapping_add(gap)))?;
        }
        visit(Event::End(after.wrapping_add(gap)))?;
    }
    Ok(())
}

/// Gives the place behind the last one.
fn visit_records(
    input: &mut Input<'_>,
    candidate: &Candidate,
    end: u64,
    gap: u64,
    visit: &mut dyn FnMut(Event) -> Result<(), StorageError>,
) -> Result<u64, StorageError> {
    let is_packed = candidate.header.status == Status::PACKED;
    let mut at = candidate.records;
    while at < end {
        let Some(record) = input.record(at)? else {
            break;
        };
        let node = input.node(at, candidate.origin, &record, is_packed)?;
        let place = at.wrapping_add(gap);
        visit(Event::Record { at: place, node })?;
        at += record.bytes();
    }
    Ok(at)
}

impl Input<'_> {
    fn node(
        &mut self,
        at: u64,
        transaction: u64,
        record: &RawRecord,
        is_packed: bool,
    ) -> Result<Node, StorageError> {
        let back = match record.data_bytes {
            0 => self.number(at + RawRecord::BYTES)?,
            _ => None,
        };
        Ok(Node {
            oid: record.oid,
            previous: record.previous,
            back,
            transaction,
            is_packed,
        })
    }
}

/// How often the neighbourhood may grow.
const COLLECTIONS: usize = 4;
/// So many records around contradictions are kept in memory; with more, all of them are doubtful.
const NODES_MAX: usize = 1 << 20;
/// So many entries next to one say whether an index can be believed there.
const AROUND: u64 = 16;
/// With so many contradictions, and more than agree, an index is another file's.
const DISPUTED_MIN: u64 = 1000;
