//! Trees put together: what the module functions `union`, `intersection`, `difference`,
//! `weightedUnion`, `weightedIntersection` and `multiunion` of `BTrees` do.

use std::cmp::Ordering;
use std::iter::FusedIterator;

use pickle::Pickles;
use zodb::Data;

use crate::bucket::Item;
use crate::compare::Comparer;
use crate::error::TreeError;
use crate::family::{Class, Datum};
use crate::range::{Entry, Range};
use crate::tree::Tree;

/// Trees, buckets and sets of one family are put together key by key, in order: no more of them is
/// loaded than what comes out has passed.
///
/// ```
/// # use std::sync::Arc;
/// # use storage::MemoryStorage;
/// # use zodb::{Data, Database, DatabaseOptions};
/// use btrees::{Shape, Tree, TreeError, TreeMut, class_name};
///
/// # let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
/// # let mut connection = database.connect();
/// let class = class_name("OI", Shape::BTree).expect("BTrees has it");
/// let mut make = |items: &[(&str, i64)]| -> Result<_, TreeError> {
///     let mut tree = TreeMut::create(&mut connection, &class)?;
///     tree.update(items.iter().copied())?;
///     tree.save()
/// };
/// let spring = make(&[("apple", 3), ("cherry", 9)])?;
/// let autumn = make(&[("apple", 2), ("plum", 4)])?;
///
/// let (spring, autumn) = (Tree::open(&connection, spring)?, Tree::open(&connection, autumn)?);
/// let both: Vec<Data> = spring
///     .intersection(&autumn)?
///     .map(|entry| Ok(entry?.key()))
///     .collect::<Result<_, TreeError>>()?;
/// assert_eq!(both, ["apple".into()]);
/// let sum = spring.weighted_union(&autumn, 1, 1)?;
/// assert_eq!(
///     sum.collect::<Result<Vec<_>, _>>()?,
///     [("apple".into(), 5.into()), ("cherry".into(), 9.into()), ("plum".into(), 4.into())]
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<'c> Tree<'c> {
    /// The keys that are here or there. What is told of a key that is in both is what is here.
    ///
    /// # Errors
    /// [`TreeError::OtherFamily`].
    pub fn union(&self, other: &Self) -> Result<Union<'c>, TreeError> {
        self.union_all([other])
    }

    /// The keys that are here or in any of the others (`multiunion`, and for keys of all kinds).
    ///
    /// # Errors
    /// [`TreeError::OtherFamily`].
    pub fn union_all<'t>(
        &self,
        others: impl IntoIterator<Item = &'t Self>,
    ) -> Result<Union<'c>, TreeError>
    where
        'c: 't,
    {
        let mut heads = vec![Head::of(self)];
        for other in others {
            self.check_family(other)?;
            heads.push(Head::of(other));
        }
        let class = self.kind();
        Ok(Union { class, heads })
    }

    /// What is here under keys that are there, too.
    ///
    /// # Errors
    /// [`TreeError::OtherFamily`].
    pub fn intersection(&self, other: &Self) -> Result<Selection<'c>, TreeError> {
        Selection::new(self, other, true)
    }

    /// What is here under keys that are not there.
    ///
    /// # Errors
    /// [`TreeError::OtherFamily`].
    pub fn difference(&self, other: &Self) -> Result<Selection<'c>, TreeError> {
        Selection::new(self, other, false)
    }

    /// The keys that are here or there, with the sums of their values, each times the weight of where
    /// it is (`weightedUnion`). The keys of sets count as if their value were 1; two sets together
    /// have no values. Sums overflow as they do in C.
    ///
    /// # Errors
    /// [`TreeError::OtherFamily`]; [`TreeError::NotSupported`] where the values are no numbers;
    /// [`TreeError::Kind`] where a weight is none that the values could be.
    pub fn weighted_union(
        &self,
        other: &Self,
        weight: impl Into<Data>,
        other_weight: impl Into<Data>,
    ) -> Result<Weighted<'c>, TreeError> {
        let weights = [weight.into(), other_weight.into()];
        Weighted::new([self, other], weights, false)
    }

    /// The same for the keys that are in both (`weightedIntersection`).
    ///
    /// # Errors
    /// As [`weighted_union`](Self::weighted_union).
    pub fn weighted_intersection(
        &self,
        other: &Self,
        weight: impl Into<Data>,
        other_weight: impl Into<Data>,
    ) -> Result<Weighted<'c>, TreeError> {
        let weights = [weight.into(), other_weight.into()];
        Weighted::new([self, other], weights, true)
    }

    fn check_family(&self, other: &Tree<'_>) -> Result<(), TreeError> {
        let (one, two) = (self.kind(), other.kind());
        if (one.key, one.value) == (two.key, two.value) {
            return Ok(());
        }
        Err(TreeError::OtherFamily {
            class: self.class(),
            other: other.class(),
        })
    }
}

/// A tree, and the entry of it that comes next, once it was asked for.
#[derive(Debug)]
struct Head<'c> {
    range: Range<'c>,
    next: Option<Option<Entry>>,
}

impl<'c> Head<'c> {
    fn of(tree: &Tree<'c>) -> Self {
        let (range, next) = (tree.iter(), None);
        Self { range, next }
    }

    fn peek(&mut self) -> Result<Option<&Entry>, TreeError> {
        if self.next.is_none() {
            self.next = Some(self.range.next().transpose()?);
        }
        Ok(self.next.as_ref().and_then(Option::as_ref))
    }

    fn take(&mut self) -> Option<Entry> {
        self.next.take().flatten()
    }
}

/// The order of what comes next in both; nothing where one of them is at its end.
fn order(
    class: Class,
    one: &mut Head<'_>,
    two: &mut Head<'_>,
) -> Result<Option<Ordering>, TreeError> {
    let (Some(one), Some(two)) = (one.peek()?, two.peek()?) else {
        return Ok(None);
    };
    let (left, right) = (item(class.key, one)?, item(class.key, two)?);
    let (arena, others) = (pickles(one), pickles(two));
    let comparer = Comparer::live(arena);
    Ok(Some(left.order_in(arena, right, others, &comparer)?))
}

fn pickles(entry: &Entry) -> &Pickles {
    entry.raw_key().pickles()
}

fn item(datum: Datum, entry: &Entry) -> Result<Item, TreeError> {
    datum
        .read(entry.raw_key())
        .map_err(|_| entry.damaged("a key is none that the class has"))
}

/// Keys of several trees, each once, in order. From [`Tree::union`] and [`Tree::union_all`].
#[derive(Debug)]
pub struct Union<'c> {
    class: Class,
    /// None is left after an error.
    heads: Vec<Head<'c>>,
}

impl Union<'_> {
    fn advance(&mut self) -> Result<Option<Entry>, TreeError> {
        let mut first: Option<usize> = None;
        for at in 0..self.heads.len() {
            let Some(best) = first else {
                if self.heads[at].peek()?.is_some() {
                    first = Some(at);
                }
                continue;
            };
            let [one, two] = self.heads.get_disjoint_mut([best, at]).expect("at > best");
            match order(self.class, one, two)? {
                Some(Ordering::Greater) => first = Some(at),
                Some(Ordering::Equal) => drop(two.take()),
                Some(Ordering::Less) | None => {}
            }
        }
        Ok(first.and_then(|first| self.heads[first].take()))
    }
}

impl Iterator for Union<'_> {
    type Item = Result<Entry, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.advance().transpose();
        if matches!(entry, Some(Err(_))) {
            self.heads.clear();
        }
        entry
    }
}

impl FusedIterator for Union<'_> {}

/// What is in one tree, chosen by the keys of another. From [`Tree::intersection`] and
/// [`Tree::difference`].
#[derive(Debug)]
pub struct Selection<'c> {
    class: Class,
    ours: Head<'c>,
    theirs: Head<'c>,
    of_both: bool,
    is_done: bool,
}

impl<'c> Selection<'c> {
    fn new(ours: &Tree<'c>, theirs: &Tree<'c>, of_both: bool) -> Result<Self, TreeError> {
        ours.check_family(theirs)?;
        Ok(Self {
            class: ours.kind(),
            ours: Head::of(ours),
            theirs: Head::of(theirs),
            of_both,
            is_done: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Entry>, TreeError> {
        loop {
            match order(self.class, &mut self.ours, &mut self.theirs)? {
                // Without ours there is nothing to choose from, and without theirs all is chosen.
                None if self.of_both => return Ok(None),
                None => {
                    self.ours.peek()?;
                    return Ok(self.ours.take());
                }
                Some(Ordering::Less) => {
                    let ours = self.ours.take();
                    if !self.of_both {
                        return Ok(ours);
                    }
                }
                Some(Ordering::Equal) => {
                    let ours = self.ours.take();
                    self.theirs.take();
                    if self.of_both {
                        return Ok(ours);
                    }
                }
                Some(Ordering::Greater) => drop(self.theirs.take()),
            }
        }
    }
}

impl Iterator for Selection<'_> {
    type Item = Result<Entry, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let entry = self.advance().transpose();
        self.is_done = !matches!(entry, Some(Ok(_)));
        entry
    }
}

impl FusedIterator for Selection<'_> {}

/// Keys of two trees with their weighted sums. From [`Tree::weighted_union`] and
/// [`Tree::weighted_intersection`].
#[derive(Debug)]
pub struct Weighted<'c> {
    class: Class,
    heads: [Head<'c>; 2],
    have_values: [bool; 2],
    weights: [Item; 2],
    of_both: bool,
    is_done: bool,
}

impl<'c> Weighted<'c> {
    fn new(trees: [&Tree<'c>; 2], weights: [Data; 2], of_both: bool) -> Result<Self, TreeError> {
        trees[0].check_family(trees[1])?;
        let class = trees[0].kind();
        if matches!(class.value, Datum::Object | Datum::Bytes(_)) {
            return Err(TreeError::NotSupported {
                class: trees[0].class(),
                operation: "weights",
            });
        }
        let [one, two] = weights.map(|weight| weight_of(class.value, &weight));
        Ok(Self {
            class,
            heads: trees.map(Head::of),
            have_values: trees.map(|tree| tree.kind().has_values()),
            weights: [one?, two?],
            of_both,
            is_done: false,
        })
    }

    /// The weight that the outcome has where it is put together with others in turn: the sum of both
    /// for what two sets have in common, else 1.
    pub fn weight(&self) -> Data {
        let datum = self.class.value;
        let [ours, theirs] = self.weights;
        data(if self.of_both && self.have_values == [false, false] {
            narrow(datum, add(ours, theirs))
        } else {
            one(datum)
        })
    }

    fn advance(&mut self) -> Result<Option<(Data, Data)>, TreeError> {
        loop {
            let [ours, theirs] = &mut self.heads;
            let order = match order(self.class, ours, theirs)? {
                Some(order) => order,
                None if self.of_both => return Ok(None),
                None if ours.peek()?.is_some() => Ordering::Less,
                None if theirs.peek()?.is_some() => Ordering::Greater,
                None => return Ok(None),
            };
            let ours = order.is_le().then(|| ours.take()).flatten();
            let theirs = order.is_ge().then(|| theirs.take()).flatten();
            if self.of_both && order.is_ne() {
                continue;
            }
            let Some(key) = ours.as_ref().or(theirs.as_ref()).map(Entry::key) else {
                return Ok(None);
            };
            if self.have_values == [false, false] {
                return Ok(Some((key, Data::None)));
            }
            let datum = self.class.value;
            let mut sum = None;
            for (entry, weight) in [ours, theirs].into_iter().zip(self.weights) {
                if let Some(entry) = entry {
                    let part = product(value(datum, &entry)?, weight);
                    sum = Some(sum.map_or(part, |sum| add(sum, part)));
                }
            }
            let value = sum.map_or(Data::None, |sum| data(narrow(datum, sum)));
            return Ok(Some((key, value)));
        }
    }
}

impl Iterator for Weighted<'_> {
    type Item = Result<(Data, Data), TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let pair = self.advance().transpose();
        self.is_done = !matches!(pair, Some(Ok(_)));
        pair
    }
}

impl FusedIterator for Weighted<'_> {}

/// The value of an entry; 1 in a set.
fn value(datum: Datum, entry: &Entry) -> Result<Item, TreeError> {
    match entry.raw_value() {
        None => Ok(one(datum)),
        Some(value) => datum
            .read(value)
            .map_err(|_| entry.damaged("a value is none that the class has")),
    }
}

fn weight_of(datum: Datum, weight: &Data) -> Result<Item, TreeError> {
    let mut arena = Pickles::new();
    let node = weight.write(&mut arena);
    datum.read(arena.value(node)).map_err(|_| TreeError::Kind {
        what: "the weight",
        expected: datum.expected(),
        found: arena.value(node).to_string(),
    })
}

fn one(datum: Datum) -> Item {
    match datum {
        Datum::Float => Item::Float(1.0),
        Datum::Unsigned | Datum::UnsignedLong => Item::Unsigned(1),
        _ => Item::Signed(1),
    }
}

fn product(value: Item, weight: Item) -> Item {
    match (value, weight) {
        (Item::Float(value), Item::Float(weight)) => Item::Float(value * weight),
        (Item::Signed(value), Item::Signed(weight)) => Item::Signed(value.wrapping_mul(weight)),
        (Item::Unsigned(value), Item::Unsigned(weight)) => {
            Item::Unsigned(value.wrapping_mul(weight))
        }
        (value, _) => value,
    }
}

fn add(one: Item, two: Item) -> Item {
    match (one, two) {
        (Item::Float(one), Item::Float(two)) => Item::Float(one + two),
        (Item::Signed(one), Item::Signed(two)) => Item::Signed(one.wrapping_add(two)),
        (Item::Unsigned(one), Item::Unsigned(two)) => Item::Unsigned(one.wrapping_add(two)),
        (one, _) => one,
    }
}

/// Cuts a sum to as many bits as the values have.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is beyond the bits is lost in the original, too"
)]
fn narrow(datum: Datum, sum: Item) -> Item {
    match (datum, sum) {
        (Datum::Int, Item::Signed(sum)) => Item::Signed(i64::from(sum as i32)),
        (Datum::Unsigned, Item::Unsigned(sum)) => Item::Unsigned(u64::from(sum as u32)),
        (_, sum) => sum,
    }
}

fn data(item: Item) -> Data {
    match item {
        Item::Signed(int) => Data::from(int),
        Item::Unsigned(int) => Data::from(int),
        Item::Float(float) => Data::from(f64::from(float)),
        Item::Object(_) | Item::Bytes(_) | Item::Nothing => Data::None,
    }
}
