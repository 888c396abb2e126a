//! The address sets and the services of all clauses, each once.
//!
//! Rules share sets: by name, or because they were written alike. What is worked out for a set is then worked out once, and
//! what is counted by set is counted in fewer places than rules.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use fw_common::abi::tables::MAX_SERVICE;
use fw_common::policy::list::service;

use super::clause::Clause;
use super::hash::IdMap;
use super::rules::{Change, RuleList};
use crate::set::address::AddressSet;
use crate::set::interval::{Cidr, Family};
use crate::set::service::{FamilyServices, PortRange, Ports, ServiceSet};

/// A run of services with a range of source ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Services {
    /// Lowest and highest, as [`fw_common::abi::tables::dimension::SERVICE`].
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) src_port: PortRange,
}

/// What concerns one family of a clause: positions in [`Operands`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FamilyClause {
    /// Position among the clauses of both families.
    pub(super) clause: u32,
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) services: u32,
}

/// The sets of one family.
#[derive(Debug, Default)]
pub(super) struct Operands {
    /// For each address set the fewest prefixes that hold it; no two overlap.
    pub(super) addresses: Vec<Arc<[Cidr]>>,
    pub(super) services: Vec<Arc<[Services]>>,
    /// The clauses that can match in this family, in their order.
    pub(super) clauses: Vec<FamilyClause>,
}

impl Operands {
    /// Collects what all clauses use.
    pub(super) fn new(clauses: &[Clause], family: Family) -> Self {
        let mut operands = Self::default();
        let mut addresses = Interned::default();
        let mut services = Interned::default();
        for (position, clause) in (0u32..).zip(clauses) {
            let empty = |set: &AddressSet| set.family(family).is_empty();
            if empty(&clause.source) || empty(&clause.destination) || clause.services.family(family).is_empty() {
                continue;
            }
            let services = services.id(&clause.services, |set: &ServiceSet| flatten(set.family(family)));
            let mut side =
                |set: &Arc<AddressSet>| addresses.id(set, |set: &AddressSet| set.family(family).cover(family));
            let (source, destination) = (side(&clause.source), side(&clause.destination));
            operands.clauses.push(FamilyClause { clause: position, source, destination, services });
        }
        operands.addresses = addresses.values;
        operands.services = services.values;
        operands
    }

    /// Those of the clauses of a list, and whether they name the same addresses as `before`, one after the other.
    pub(super) fn following(before: Option<Self>, list: &RuleList, family: Family) -> (Self, bool) {
        let small = list.change.as_ref().filter(|change| change.new.len() <= MOST_RENEWED);
        match (before, small) {
            (Some(before), Some(change)) => before.renewed(change, &list.clauses, family),
            (before, _) => {
                let now = Self::new(&list.clauses, family);
                let same = before.is_some_and(|before| before.has_addresses_of(&now));
                (now, same)
            }
        }
    }

    /// As [`Operands::new`], from those of the clauses before a change, and whether the clauses name the same addresses as before it.
    ///
    /// What clauses hold that stay is known. Ids are given anew all the same, in the order in which sets occur first, so that the
    /// result is that of [`Operands::new`].
    fn renewed(mut self, change: &Change, clauses: &[Clause], family: Family) -> (Self, bool) {
        let from = |clause: usize| self.clauses.partition_point(|known| (known.clause as usize) < clause);
        let replaced = from(change.old.start)..from(change.old.end);
        let mut addresses = Renumbered::new(std::mem::take(&mut self.addresses));
        let mut services = Renumbered::new(std::mem::take(&mut self.services));
        let renumber = |kept: &mut [FamilyClause], addresses: &mut Renumbered<_>, services: &mut Renumbered<_>| {
            for clause in kept {
                clause.services = services.of_id(clause.services);
                clause.source = addresses.of_id(clause.source);
                clause.destination = addresses.of_id(clause.destination);
            }
        };
        renumber(&mut self.clauses[..replaced.start], &mut addresses, &mut services);
        let mut replacing = Vec::new();
        let mut old = self.clauses[replaced.clone()].iter();
        for position in change.new.clone() {
            // Most edits leave some of a rule's sets as they are.
            let (likely_services, likely_addresses) = match old.next() {
                Some(old) => (&[old.services][..], &[old.source, old.destination][..]),
                None => (&[][..], &[][..]),
            };
            let Some(alone) = Self::of_clause(&clauses[position], family) else { continue };
            let of_family = alone.clauses[0];
            replacing.push(FamilyClause {
                clause: u32::try_from(position).unwrap_or(u32::MAX),
                services: services.of_value(&alone.services[0], likely_services),
                source: addresses.of_value(&alone.addresses[of_family.source as usize], likely_addresses),
                destination: addresses.of_value(&alone.addresses[of_family.destination as usize], likely_addresses),
            });
        }
        renumber(&mut self.clauses[replaced.end..], &mut addresses, &mut services);
        let [old_end, new_end] = [change.old.end, change.new.end].map(|end| u32::try_from(end).unwrap_or(u32::MAX));
        self.clauses[replaced.end..].iter_mut().for_each(|clause| clause.clause = clause.clause - old_end + new_end);
        // Where every set has the id that it had, so has every clause that stays.
        let same = addresses.is_as_before()
            && self.clauses[replaced.clone()]
                .iter()
                .map(FamilyClause::addresses)
                .eq(replacing.iter().map(FamilyClause::addresses));
        self.clauses.splice(replaced, replacing);
        (self.addresses, self.services) = (addresses.finish(), services.finish());
        (self, same)
    }

    /// What one clause uses, if it can match in a family.
    fn of_clause(clause: &Clause, family: Family) -> Option<Self> {
        Some(Self::new(std::slice::from_ref(clause), family)).filter(|operands| !operands.clauses.is_empty())
    }

    /// Whether the clauses name the same addresses, one after the other.
    fn has_addresses_of(&self, other: &Self) -> bool {
        let addresses = FamilyClause::addresses;
        let [own, others] = [self, other].map(|operands| operands.clauses.iter().map(addresses));
        self.addresses == other.addresses && own.eq(others)
    }
}

impl FamilyClause {
    pub(super) const fn addresses(&self) -> (u32, u32) {
        (self.source, self.destination)
    }
}

/// More clauses than that with other sets are worth collecting everything.
const MOST_RENEWED: usize = 16;

/// Gives values that had ids new ones, in the order in which they are asked for.
struct Renumbered<T> {
    before: Vec<Arc<[T]>>,
    /// What was not there before.
    new: Vec<Arc<[T]>>,
    /// New ids by old id; those of new values follow.
    ids: Vec<Option<u32>>,
    /// Old ids by new id.
    order: Vec<u32>,
}

impl<T: Eq> Renumbered<T> {
    fn new(before: Vec<Arc<[T]>>) -> Self {
        Self { new: Vec::new(), ids: vec![None; before.len()], order: Vec::with_capacity(before.len()), before }
    }

    fn of_id(&mut self, before: u32) -> u32 {
        let next = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        let id = *self.ids[before as usize].get_or_insert(next);
        if id == next {
            self.order.push(before);
        }
        id
    }

    /// `likely`: old ids that are tried first.
    fn of_value(&mut self, value: &Arc<[T]>, likely: &[u32]) -> u32 {
        if let Some(known) = likely.iter().find(|id| self.before[**id as usize] == *value) {
            return self.of_id(*known);
        }
        let known = self.before.iter().chain(&self.new).position(|known| known == value);
        let before = known.unwrap_or_else(|| {
            self.new.push(Arc::clone(value));
            self.ids.push(None);
            self.ids.len() - 1
        });
        self.of_id(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// Whether everything that was asked for has the id that it had, and everything was.
    fn is_as_before(&self) -> bool {
        self.order.len() == self.before.len() && self.order.iter().zip(0..).all(|(before, id)| *before == id)
    }

    /// The values by their new ids.
    fn finish(self) -> Vec<Arc<[T]>> {
        if self.is_as_before() {
            return self.before;
        }
        let all: Vec<&Arc<[T]>> = self.before.iter().chain(&self.new).collect();
        self.order.iter().map(|before| Arc::clone(all[*before as usize])).collect()
    }
}

/// Gives equal values equal ids. The same `Arc` is recognized without looking at what it holds.
struct Interned<T> {
    by_place: IdMap<usize, u32>,
    by_value: HashMap<Arc<[T]>, u32>,
    values: Vec<Arc<[T]>>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { by_place: IdMap::default(), by_value: HashMap::new(), values: Vec::new() }
    }
}

impl<T: std::hash::Hash + Eq> Interned<T> {
    /// The id of a set, of which `value` makes what tells it from others.
    fn id<S>(&mut self, set: &Arc<S>, value: impl FnOnce(&S) -> Vec<T>) -> u32 {
        let place = Arc::as_ptr(set).addr();
        if let Some(id) = self.by_place.get(&place) {
            return *id;
        }
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let value: Arc<[T]> = value(set).into();
        let id = match self.by_value.entry(value) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.values.push(Arc::clone(new.key()));
                *new.insert(next)
            }
        };
        self.by_place.insert(place, id);
        id
    }
}

/// The services of a family as runs over all protocols: what allows everything, or everything but a few ports, is a few of
/// them.
fn flatten(set: &FamilyServices) -> Vec<Services> {
    let mut runs: Vec<Services> = Vec::new();
    for (number, rectangles) in set.protocols() {
        for Ports { source, destination } in rectangles {
            let run = Services {
                first: service(number, destination.0),
                last: service(number, destination.1).min(MAX_SERVICE),
                src_port: *source,
            };
            // The rectangles of a protocol ascend by destination, so a run that can be continued is one of the last.
            let continued =
                runs.iter_mut().rev().take(4).find(|last| last.src_port == *source && last.last + 1 == run.first);
            match continued {
                Some(last) => last.last = run.last,
                None => runs.push(run),
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::SetAlgebra;
    use crate::set::service_term::parse_literal;

    #[test]
    fn everything_but_one_port_is_two_runs() {
        let all = ServiceSet::everything();
        assert_eq!(flatten(all.family(Family::V4)).len(), 1);
        let some = all.subtract(&parse_literal("tcp/25").unwrap());
        let runs = flatten(some.family(Family::V6));
        let ends: Vec<_> = runs.iter().map(|run| (run.first, run.last)).collect();
        assert_eq!(ends, [(0, 6 << 16 | 24), (6 << 16 | 26, MAX_SERVICE)]);
    }
}
