//! A part of the cache: which revisions there are, and the bytes of those that are in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use storage::{Oid, Record, Tid};

use super::disk::Place;
use super::journal::Event;

pub(super) struct Shard {
    pub(super) objects: HashMap<Oid, Vec<Entry>>,
    /// All entries in memory in the order in which they came, for the clock that evicts.
    pub(super) clock: VecDeque<(Oid, Tid)>,
    /// Those whose bytes are on disk only.
    cold: VecDeque<(Oid, Tid)>,
    pub(super) bytes: usize,
    bytes_max: usize,
}

pub(super) struct Entry {
    start: Tid,
    end: Option<Tid>,
    record: Option<Record>,
    place: Option<Place>,
    /// Whether it was looked up since the clock last came by.
    used: AtomicBool,
}

/// A revision as it was found.
pub(super) struct Known {
    pub(super) start: Tid,
    pub(super) end: Option<Tid>,
    pub(super) record: Option<Record>,
    pub(super) place: Option<Place>,
}

/// What an entry takes beside its record: keys, end, counters, and room in the tables.
pub(super) const ENTRY_BYTES: usize = 128;
/// The share of the memory that entries may have whose bytes are on disk.
const COLD_PARTS: usize = 4;

impl Entry {
    fn known(&self) -> Known {
        Known {
            start: self.start,
            end: self.end,
            record: self.record.clone(),
            place: self.place,
        }
    }

    fn cost(&self) -> usize {
        self.record.as_ref().map_or(ENTRY_BYTES, cost)
    }

    fn is_cold(&self) -> bool {
        self.record.is_none()
    }
}

impl Shard {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            objects: HashMap::new(),
            clock: VecDeque::new(),
            cold: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The revision that a snapshot just before `before` sees.
    pub(super) fn find(&self, oid: Oid, before: Tid) -> Option<Known> {
        let entries = self.objects.get(&oid)?;
        let entry = entries
            .iter()
            .find(|entry| entry.start < before && entry.end.is_none_or(|end| before <= end))?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.known())
    }

    /// Where on disk a revision is.
    pub(super) fn place(&self, oid: Oid, start: Tid) -> Option<Place> {
        self.entry(oid, start)?.place
    }

    pub(super) fn newest(&self) -> Option<(Oid, Known)> {
        let entries = |(oid, entries): (&Oid, &Vec<Entry>)| {
            let newest = entries.iter().max_by_key(|entry| entry.start)?;
            Some((*oid, newest.known()))
        };
        let all = self.objects.iter().filter_map(entries);
        all.max_by_key(|(oid, known)| (known.start, *oid))
    }

    fn entry(&self, oid: Oid, start: Tid) -> Option<&Entry> {
        let entries = self.objects.get(&oid)?;
        entries.iter().find(|entry| entry.start == start)
    }

    fn entry_mut(&mut self, oid: Oid, start: Tid) -> Option<&mut Entry> {
        let entries = self.objects.get_mut(&oid)?;
        entries.iter_mut().find(|entry| entry.start == start)
    }

    /// Takes a revision in, and tells the end that it has.
    pub(super) fn put(
        &mut self,
        oid: Oid,
        start: Tid,
        end: Option<Tid>,
        record: Option<Record>,
        place: Option<Place>,
    ) -> Option<Tid> {
        if let Some(known) = self.entry_mut(oid, start) {
            // A revision ends once: an end that is known is never taken back.
            known.end = known.end.or(end);
            known.place = known.place.or(place);
            let end = known.end;
            if let Some(record) = record {
                self.refill(oid, start, &record);
            }
            return end;
        }
        if end.is_none() {
            // The server calls this one current, so any other has ended. When is not known: there
            // may have been one in between.
            let stale = |entry: &Entry| entry.end.is_none() && entry.start < start;
            if self.remove(oid, stale) {
                self.forget_removed();
            }
        }
        let record = record.filter(|record| cost(record) <= self.bytes_max);
        if record.is_none() && place.is_none() {
            return end;
        }
        let entry = Entry {
            start,
            end,
            record,
            place,
            used: AtomicBool::new(false),
        };
        self.bytes += entry.cost();
        let queue = if entry.is_cold() {
            &mut self.cold
        } else {
            &mut self.clock
        };
        queue.push_back((oid, start));
        self.objects.entry(oid).or_default().push(entry);
        self.evict();
        end
    }

    /// The bytes of a revision were fetched from disk.
    pub(super) fn refill(&mut self, oid: Oid, start: Tid, record: &Record) {
        let bytes_max = self.bytes_max;
        let Some(entry) = self.entry_mut(oid, start) else {
            return;
        };
        if !entry.is_cold() || cost(record) > bytes_max {
            return;
        }
        entry.record = Some(record.clone());
        self.bytes += record.len();
        self.clock.push_back((oid, start));
        self.evict();
    }

    /// The bytes of a revision are no longer on disk.
    pub(super) fn misplace(&mut self, oid: Oid, start: Tid, place: Place) {
        let is_lost =
            |entry: &Entry| entry.start == start && entry.is_cold() && entry.place == Some(place);
        self.remove(oid, is_lost);
    }

    /// Second chance: the oldest entry goes, unless it was used since it was last considered. What is
    /// on disk as well loses its bytes only, until there are too many of those.
    fn evict(&mut self) {
        while self.cold.len() * ENTRY_BYTES > self.bytes_max / COLD_PARTS {
            self.evict_cold();
        }
        while self.bytes > self.bytes_max {
            let Some((oid, start)) = self.clock.pop_front() else {
                if self.cold.is_empty() {
                    break;
                }
                self.evict_cold();
                continue;
            };
            let Some(entry) = self.entry_mut(oid, start) else {
                continue;
            };
            if entry.used.swap(false, Ordering::Relaxed) {
                self.clock.push_back((oid, start));
            } else if entry.place.is_none() {
                self.remove(oid, |entry| entry.start == start);
            } else if let Some(record) = entry.record.take() {
                self.bytes -= record.len();
                self.cold.push_back((oid, start));
            }
        }
    }

    fn evict_cold(&mut self) {
        if let Some((oid, start)) = self.cold.pop_front() {
            self.remove(oid, |entry| entry.start == start && entry.is_cold());
        }
    }

    /// Whether there was anything to remove.
    fn remove(&mut self, oid: Oid, which: impl Fn(&Entry) -> bool) -> bool {
        let Some(entries) = self.objects.get_mut(&oid) else {
            return false;
        };
        let mut freed = 0;
        entries.retain(|entry| {
            let goes = which(entry);
            freed += if goes { entry.cost() } else { 0 };
            !goes
        });
        if entries.is_empty() {
            self.objects.remove(&oid);
        }
        self.bytes -= freed;
        freed > 0
    }

    pub(super) fn close_current(&mut self, oid: Oid, tid: Tid) {
        let Some(entries) = self.objects.get_mut(&oid) else {
            return;
        };
        for entry in entries.iter_mut() {
            if entry.end.is_none() && entry.start < tid {
                entry.end = Some(tid);
            }
        }
    }

    pub(super) fn drop_current(&mut self, oid: Oid) {
        if self.remove(oid, |entry| entry.end.is_none()) {
            self.forget_removed();
        }
    }

    /// Removed entries leave their place in the queues; these are swept before they outnumber the rest.
    fn forget_removed(&mut self) {
        let queued = self.clock.len() + self.cold.len();
        if queued < 64 || queued / 2 < self.objects.len() {
            return;
        }
        let objects = &self.objects;
        let is_there = |oid: &Oid, start: &Tid, is_cold: bool| {
            let entries = objects.get(oid);
            let mut entries = entries.into_iter().flatten();
            entries.any(|entry| entry.start == *start && entry.is_cold() == is_cold)
        };
        self.clock
            .retain(|(oid, start)| is_there(oid, start, false));
        self.cold.retain(|(oid, start)| is_there(oid, start, true));
    }

    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.clock.clear();
        self.cold.clear();
        self.bytes = 0;
    }

    /// Says what is on disk, for a journal that begins anew; the latest last.
    pub(super) fn describe(&self, events: &mut Vec<Event>) {
        let first = events.len();
        for (oid, entries) in self
            .objects
            .iter()
            .flat_map(|(oid, all)| all.iter().map(move |entry| (oid, entry)))
        {
            if let Some(place) = entries.place {
                events.push(Event::Put {
                    oid: *oid,
                    start: entries.start,
                    end: entries.end,
                    place,
                });
            }
        }
        events[first..].sort_unstable_by_key(|event| match event {
            Event::Put { start, place, .. } => (*start, *place),
            _ => unreachable!("only such are described"),
        });
    }
}

pub(super) fn cost(record: &Record) -> usize {
    record.len() + ENTRY_BYTES
}
