//! The members of a pool, and which of them a request gets.

use std::time::{Duration, Instant};

use crate::backend::{Backend, Health};
use crate::method::{Candidate, Chooser};
use crate::pool::Settings;
use crate::queue::{Demand, Refusal};

#[derive(Debug)]
pub(crate) struct Members {
    /// Those that drain included.
    pub(crate) list: Vec<Backend>,
    chooser: Chooser,
    slow_start: Duration,
    panic_percent: usize,
}

/// What a request gets.
pub(crate) enum Choice {
    /// The member at that place in the list.
    Free(usize),
    /// Nothing now.
    Busy,
    Nobody(Refusal),
}

/// How good a choice a member is: the smaller, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    health: Health,
    tier: u8,
}

impl Members {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            list: Vec::new(),
            chooser: Chooser::new(settings.method, settings.seed),
            slow_start: settings.slow_start,
            panic_percent: usize::try_from(settings.panic_percent).unwrap_or(100),
        }
    }

    /// One of the best members that have not been tried. Members that are down are used when no
    /// better one is left, those that show signs of life first: refusing everybody helps nobody.
    pub(crate) fn choose(&mut self, demand: &Demand, now: Instant) -> Choice {
        let is_panic = self.is_panic();
        let standing = |member: &Backend| Standing::of(member, is_panic);
        let open = || self.list.iter().filter(|member| is_open(member, demand));
        let Some(best) = open().map(standing).min() else {
            return Choice::Nobody(match demand.tried.is_empty() {
                true => Refusal::NoBackends,
                false => Refusal::Exhausted,
            });
        };
        if demand.may_probe && best.health == Health::Up {
            let is_due = |member: &Backend| {
                is_open(member, demand) && member.tier() <= best.tier && member.is_probe_due(now)
            };
            if let Some(place) = self.list.iter().position(is_due) {
                return Choice::Free(place);
            }
        }
        let of_session = open().find(|member| {
            Some(member.address()) == demand.session
                && standing(member).health == best.health
                && member.has_reached(demand.needs)
        });
        let may_get_it = |member: &Backend| match of_session {
            Some(of_session) => of_session.id() == member.id(),
            None => {
                is_open(member, demand)
                    && standing(member) == best
                    && member.has_reached(demand.needs)
            }
        };
        // Among those that are down, one that shows signs of life.
        let is_lively = |member: &Backend| !member.is_silent() && member.has_free_slot();
        let some_are_lively =
            best.health == Health::Down && self.list.iter().any(|m| may_get_it(m) && is_lively(m));
        let candidates: Vec<Candidate> = (0..)
            .zip(&self.list)
            .filter(|(_, member)| may_get_it(member) && (!some_are_lively || is_lively(member)))
            .map(|(place, member)| Candidate {
                place,
                share: member.share(self.slow_start, now),
            })
            .collect();
        let chosen = self.chooser.choose(&mut self.list, &candidates, demand.key);
        chosen.map_or(Choice::Busy, Choice::Free)
    }

    /// All of those among `which` that are equally good and none of the others better, whatever they have to do now.
    pub(crate) fn best(&self, which: impl Fn(&Backend) -> bool) -> Vec<&Backend> {
        let is_panic = self.is_panic();
        let is_open = |member: &Backend| !member.is_draining() && member.weight().get() > 0;
        let standings = self
            .list
            .iter()
            .filter(|member| is_open(member) && which(member));
        let standings = standings.map(|member| (Standing::of(member, is_panic), member));
        let standings: Vec<_> = standings.collect();
        let best = standings.iter().map(|(standing, _)| *standing).min();
        let mut members = standings;
        members.retain(|(standing, _)| Some(*standing) == best);
        members.into_iter().map(|(_, member)| member).collect()
    }

    /// Whether so few members are up that it is not believed. Where none is, all are tried in any case.
    fn is_panic(&self) -> bool {
        let members = || self.list.iter().filter(|member| !member.is_draining());
        let up = members()
            .filter(|member| member.health() != Health::Down)
            .count();
        up > 0 && up * 100 < members().count() * self.panic_percent
    }
}

impl Standing {
    fn of(member: &Backend, is_panic: bool) -> Self {
        // Asking one that refuses connections relieves nobody.
        let is_believed = is_panic && !member.refuses();
        Self {
            health: match member.health() {
                Health::Down if is_believed => Health::Up,
                health => health,
            },
            tier: member.tier(),
        }
    }
}

fn is_open(member: &Backend, demand: &Demand) -> bool {
    !member.is_draining() && member.weight().get() > 0 && !demand.tried.contains(&member.id())
}
