//! Whose record is it? What the rest of the file says of the object id in a record's header.
//!
//! A record's pointer to the previous one leads to a record of the same object, the next one of that
//! object leads back to it, back pointers stay with one object, and the index beside the file names the
//! newest record of each. In a sound file all of them agree. Where they do not, [`judge`] finds out
//! which field is wrong, or that nobody can tell.

use std::collections::{BTreeMap, BTreeSet};

use filestorage::Positions;
use storage::Oid;

/// A record in the neighbourhood of a contradiction. Places are those that pointers name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The object, as its header says.
    pub(super) oid: Oid,
    pub(super) previous: u64,
    /// Where the record leads to for its data.
    pub(super) back: Option<u64>,
    /// Where its transaction begins.
    pub(super) transaction: u64,
    /// Whether the transaction was packed: a pack forgets what was before.
    pub(super) is_packed: bool,
}

impl Node {
    /// Where it leads to. Whatever leads forward is no pointer.
    fn targets(&self, at: u64) -> impl Iterator<Item = u64> {
        let targets = [Some(self.previous), self.back].into_iter().flatten();
        targets.filter(move |target| *target != 0 && *target < at)
    }
}

/// What is true of a record whose header is contradicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Its object is this one.
    Is(Oid),
    /// Its object is the one in its header, the pointer to the previous record is wrong.
    Previous,
    /// Nobody can tell. The likeliest other object.
    Doubtful(Option<Oid>),
    /// It and another one both say that they are the first of one object, and no witness decides.
    Contested,
}

/// What is known of the neighbourhood.
pub(super) struct Neighbours<'a> {
    pub(super) nodes: BTreeMap<u64, Node>,
    /// What an index of this file says of the places before its end.
    pub(super) index: Option<&'a Positions>,
    /// From where to where nothing could be read.
    pub(super) lost: &'a [(u64, u64)],
    /// Objects of which the index says nothing that counts.
    pub(super) mistrusted: &'a BTreeSet<Oid>,
}

/// Judges all records of the neighbourhood.
pub(super) fn judge(mut all: Neighbours<'_>) -> BTreeMap<u64, Finding> {
    let mut findings = BTreeMap::new();
    let mut contradicted = all.follow_index(&mut findings);
    // What is put right may be the witness that was missing elsewhere.
    for _ in 0..ROUNDS_MAX {
        let sure = all.each(|at, weighed| match weighed.finding() {
            Some(Finding::Is(oid)) => Some((at, oid)),
            _ => None,
        });
        if sure.is_empty() {
            break;
        }
        for (at, oid) in sure {
            findings.insert(at, Finding::Is(oid));
            if let Some(node) = all.nodes.get_mut(&at) {
                node.oid = oid;
            }
        }
    }
    contradicted.retain(|(at, _)| !findings.contains_key(at));
    all.set_aside(contradicted, &mut findings);
    for at in all.contested() {
        findings.insert(at, Finding::Contested);
        all.nodes.remove(&at);
    }
    // Without an impostor others may be seen to be one.
    for _ in 0..ROUNDS_MAX {
        let doubtful = all.each(|at, weighed| match weighed.finding() {
            Some(Finding::Doubtful(likely)) => Some((at, likely)),
            // A record that was put right and is contradicted still.
            Some(Finding::Is(oid)) => Some((at, Some(oid))),
            _ => None,
        });
        if doubtful.is_empty() {
            break;
        }
        all.set_aside(doubtful, &mut findings);
    }
    let previous = all.each(|at, weighed| {
        let own = weighed.own;
        (own.previous == Link::Stale || own.previous == Link::Wrong).then_some(at)
    });
    for at in previous {
        findings.entry(at).or_insert(Finding::Previous);
    }
    findings
}

/// What a witness says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    /// Nothing.
    #[default]
    Silent,
    /// It leads to what it should.
    Right,
    /// To an older record of the object.
    Stale,
    Wrong,
}

/// What speaks for and against a record being an object's.
#[derive(Clone, Copy, Debug)]
struct Case {
    oid: Oid,
    previous: Link,
    /// Witnesses for it, beside its own header.
    support: u32,
    against: u32,
    /// How much of that the index says.
    by_index: u32,
}

struct Weighed {
    /// The object in the header.
    own: Case,
    /// The best other one.
    other: Option<Case>,
    has_previous: bool,
}

impl Weighed {
    /// Whether a witness says that it is another object's.
    fn is_claimed(&self) -> bool {
        self.other.is_some_and(|other| other.support > 0)
    }

    fn finding(&self) -> Option<Finding> {
        let own = self.own;
        if own.against == 0 {
            return None;
        }
        let likely = self.other.map(|other| other.oid);
        let Some(other) = self.other.filter(|other| other.against == 0) else {
            let only_previous = own.previous == Link::Wrong && own.against == 1;
            if own.support > 0 || own.previous != Link::Wrong {
                // What contradicts is wrong itself, and judged by its own witnesses.
                // An index alone does not outvote records that agree.
                let outvoted = own.support == 0 && own.against - own.by_index > 1;
                return outvoted.then_some(Finding::Doubtful(likely));
            }
            // A pointer to where no record is says nothing; none at all may be another object's.
            let is_harmless = only_previous && self.has_previous && self.other.is_none();
            return (!is_harmless).then_some(Finding::Doubtful(likely));
        };
        if own.support == 0 && other.support > 0 && other.support + own.against >= SURE {
            return Some(Finding::Is(other.oid));
        }
        if own.support > 0 && own.previous == Link::Wrong && own.against == 1 {
            return None;
        }
        (other.support > 0).then_some(Finding::Doubtful(Some(other.oid)))
    }
}

impl Neighbours<'_> {
    /// Where the index names a place for another object than the record there, and no other record
    /// speaks for that one, the index is right if all that it says of such places fits together.
    /// Gives the records where it does not.
    fn follow_index(&mut self, findings: &mut BTreeMap<u64, Finding>) -> Vec<(u64, Option<Oid>)> {
        let links = Links::new(self);
        let mut claims: BTreeMap<u64, (Oid, Oid)> = BTreeMap::new();
        for (&at, node) in &self.nodes {
            if let Some(&said) = links.indexed.get(&at)
                && said != node.oid
                && self.case(&links, at, node, node.oid).support == 0
            {
                claims.insert(at, (node.oid, said));
            }
        }
        let all = claims.clone();
        while !claims.is_empty() {
            for (at, (_, said)) in &claims {
                self.set(*at, *said);
            }
            let links = Links::new(self);
            let wrong = claims.iter().filter(|(at, (_, said))| {
                let node = self.nodes.get(at);
                node.is_none_or(|node| self.case(&links, **at, node, *said).against > 0)
            });
            let wrong: Vec<(u64, Oid)> = wrong.map(|(at, (was, _))| (*at, *was)).collect();
            if wrong.is_empty() {
                break;
            }
            for (at, was) in wrong {
                claims.remove(&at);
                self.set(at, was);
            }
        }
        for (at, (_, said)) in &claims {
            findings.insert(*at, Finding::Is(*said));
        }
        let rest = all.into_iter().filter(|(at, _)| !claims.contains_key(at));
        rest.map(|(at, (_, said))| (at, Some(said))).collect()
    }

    /// Records that say that there was none before them, though there is one of which nothing else
    /// says that it is that object's: one of the two has another's id, or the later one has lost
    /// its pointer. If a witness speaks for the later one, only the other is in question, and that only
    /// where no index could have told of the wrong id.
    fn contested(&self) -> BTreeSet<u64> {
        let links = Links::new(self);
        let mut contested = BTreeSet::new();
        for (&at, node) in &self.nodes {
            let before = links.of(node.oid).range(..at).next_back();
            let before = before.filter(|before| **before < node.transaction);
            let Some((before, rival)) =
                before.and_then(|before| Some((*before, self.nodes.get(before)?)))
            else {
                continue;
            };
            let weighed = self.weigh(&links, at, node);
            let denies = node.previous == 0 && weighed.own.previous == Link::Wrong;
            if !denies || weighed.is_claimed() {
                continue;
            }
            let rival = self.weigh(&links, before, rival);
            let has_witness = weighed.own.support > 0;
            if rival.own.support > 0 || rival.is_claimed() || (has_witness && self.index.is_some())
            {
                continue;
            }
            contested.insert(before);
            if !has_witness {
                contested.insert(at);
            }
        }
        contested
    }

    fn set_aside(
        &mut self,
        doubtful: Vec<(u64, Option<Oid>)>,
        findings: &mut BTreeMap<u64, Finding>,
    ) {
        for (at, likely) in doubtful {
            findings.insert(at, Finding::Doubtful(likely));
            self.nodes.remove(&at);
        }
    }

    fn set(&mut self, at: u64, oid: Oid) {
        if let Some(node) = self.nodes.get_mut(&at) {
            node.oid = oid;
        }
    }

    fn each<T>(&self, mut visit: impl FnMut(u64, &Weighed) -> Option<T>) -> Vec<T> {
        let links = Links::new(self);
        let nodes = self.nodes.iter();
        nodes
            .filter_map(|(&at, node)| visit(at, &self.weigh(&links, at, node)))
            .collect()
    }

    fn weigh(&self, links: &Links, at: u64, node: &Node) -> Weighed {
        let mut others = BTreeSet::new();
        let targets = node.targets(at);
        others.extend(targets.filter_map(|target| Some(self.nodes.get(&target)?.oid)));
        let leading = links.to.get(&at).into_iter().flatten();
        others.extend(leading.filter_map(|from| Some(self.nodes.get(from)?.oid)));
        others.extend(links.indexed.get(&at));
        others.remove(&node.oid);
        let own = self.case(links, at, node, node.oid);
        let others = others.into_iter();
        let other = others
            .map(|oid| self.case(links, at, node, oid))
            .min_by_key(|case| (case.against, u32::MAX - case.support));
        Weighed {
            own,
            other,
            has_previous: node.previous != 0,
        }
    }

    /// Asks all witnesses whether the record is that object's.
    fn case(&self, links: &Links, at: u64, node: &Node, oid: Oid) -> Case {
        let mut case = Case {
            oid,
            previous: self.previous(links, at, node, oid),
            support: 0,
            against: 0,
            by_index: 0,
        };
        match case.previous {
            Link::Right => case.support += 1,
            Link::Wrong => case.against += 1,
            Link::Silent | Link::Stale => {}
        }
        if let Some(back) = node.back.filter(|back| *back != 0 && !self.is_lost(*back)) {
            match self.nodes.get(&back).is_some_and(|found| found.oid == oid) {
                true => case.support += 1,
                false => case.against += 1,
            }
        }
        for from in links.to.get(&at).into_iter().flatten() {
            match self.nodes.get(from) {
                Some(found) if found.oid == oid => case.support += 1,
                Some(found) => {
                    case.against += 1 + u32::from(self.is_confirmed(links, *from, found.oid));
                }
                None => {}
            }
        }
        if self.skips(links, at, node, oid) {
            case.against += 1;
        }
        let index = self.index.filter(|_| !self.mistrusted.contains(&oid));
        if let Some(index) = index.filter(|index| at < index.end()) {
            let named = index.get(oid);
            if named == Some(at) {
                case.support += 1;
            } else {
                case.by_index += u32::from(links.indexed.contains_key(&at));
                case.by_index += u32::from(named.is_none_or(|named| named < at));
                case.against += case.by_index;
            }
        }
        case
    }

    fn previous(&self, links: &Links, at: u64, node: &Node, oid: Oid) -> Link {
        let known = links.of(oid);
        let before = known.range(..at).next_back().copied().unwrap_or(0);
        if node.previous == before {
            return match before {
                0 => Link::Silent,
                _ => Link::Right,
            };
        }
        if node.previous == 0 {
            let silent = node.is_packed;
            return if silent { Link::Silent } else { Link::Wrong };
        }
        // With several in one transaction all may lead to the one before it.
        let same = known.range(node.transaction..at);
        let mut same = same.filter_map(|at| self.nodes.get(at));
        if same.any(|same| same.previous == node.previous) {
            return Link::Right;
        }
        match known.contains(&node.previous) {
            true if node.previous < at => Link::Stale,
            _ if self.is_lost(node.previous) && node.previous > before => Link::Silent,
            _ => Link::Wrong,
        }
    }

    /// Whether the next record of the object leads to the one before this one.
    fn skips(&self, links: &Links, at: u64, node: &Node, oid: Oid) -> bool {
        let known = links.of(oid);
        let before = known.range(..at).next_back().copied().unwrap_or(0);
        let after = known.range(at + 1..).next();
        let Some(after) = after.and_then(|after| self.nodes.get(after)) else {
            return false;
        };
        let forgets = before == 0 && after.is_packed;
        after.transaction != node.transaction && after.previous == before && !forgets
    }

    /// Whether others say as well that the record there is that object's.
    fn is_confirmed(&self, links: &Links, at: u64, oid: Oid) -> bool {
        let next = links.to.get(&at).into_iter().flatten();
        let mut next = next.filter_map(|from| self.nodes.get(from));
        links.indexed.get(&at) == Some(&oid) || next.any(|node| node.oid == oid)
    }

    fn is_lost(&self, at: u64) -> bool {
        let after = self.lost.partition_point(|(start, _)| *start <= at);
        self.lost[..after].last().is_some_and(|(_, end)| at < *end)
    }
}

/// The neighbourhood from the other side.
struct Links {
    by_oid: BTreeMap<Oid, BTreeSet<u64>>,
    /// Which records lead there.
    to: BTreeMap<u64, BTreeSet<u64>>,
    /// Which object the index says is there.
    indexed: BTreeMap<u64, Oid>,
    none: BTreeSet<u64>,
}

impl Links {
    fn new(all: &Neighbours<'_>) -> Self {
        let mut this = Self {
            by_oid: BTreeMap::new(),
            to: BTreeMap::new(),
            indexed: BTreeMap::new(),
            none: BTreeSet::new(),
        };
        for (&at, node) in &all.nodes {
            this.by_oid.entry(node.oid).or_default().insert(at);
            for target in node.targets(at) {
                this.to.entry(target).or_default().insert(at);
            }
        }
        for (oid, at) in all.index.iter().flat_map(|index| index.iter()) {
            if all.nodes.contains_key(&at) && !all.mistrusted.contains(&oid) {
                this.indexed.insert(at, oid);
            }
        }
        this
    }

    fn of(&self, oid: Oid) -> &BTreeSet<u64> {
        self.by_oid.get(&oid).unwrap_or(&self.none)
    }
}

const ROUNDS_MAX: usize = 8;
/// How many witnesses must speak for another object and against the one in the header.
const SURE: u32 = 3;
