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

    /// As [`Operands::new`], from those of clauses of which nearly all are the same; `None` if they are not.
    ///
    /// Where a clause has the very sets that it had, what they hold is known. Ids are given anew all the same, in the order in
    /// which sets occur first, so that the result is that of [`Operands::new`].
    pub(super) fn renewed(&self, before: &[Clause], clauses: &[Clause], family: Family) -> Option<Self> {
        let same = |(before, now): (&Clause, &Clause)| {
            Arc::ptr_eq(&before.source, &now.source)
                && Arc::ptr_eq(&before.destination, &now.destination)
                && Arc::ptr_eq(&before.services, &now.services)
        };
        let others: Vec<usize> =
            (0..).zip(before.iter().zip(clauses)).filter(|(_, pair)| !same(*pair)).map(|(at, _)| at).collect();
        if before.len() != clauses.len() || others.len() > MOST_RENEWED {
            return None;
        }
        let mut renewed = Self::default();
        let mut addresses = Renumbered::new(&self.addresses);
        let mut services = Renumbered::new(&self.services);
        let mut known = self.clauses.iter().peekable();
        for (position, clause) in (0u32..).zip(clauses) {
            let known = known.next_if(|of_family| of_family.clause == position);
            let of_family = if others.contains(&(position as usize)) {
                let Some(alone) = Self::of_clause(clause, family) else { continue };
                let services = services.of_value(&alone.services[0]);
                let [source, destination] = [alone.clauses[0].source, alone.clauses[0].destination]
                    .map(|id| addresses.of_value(&alone.addresses[id as usize]));
                FamilyClause { clause: position, source, destination, services }
            } else {
                let Some(known) = known else { continue };
                let services = services.of_id(known.services);
                let (source, destination) = (addresses.of_id(known.source), addresses.of_id(known.destination));
                FamilyClause { clause: position, source, destination, services }
            };
            renewed.clauses.push(of_family);
        }
        renewed.addresses = addresses.values;
        renewed.services = services.values;
        Some(renewed)
    }

    /// What one clause uses, if it can match in a family.
    fn of_clause(clause: &Clause, family: Family) -> Option<Self> {
        Some(Self::new(std::slice::from_ref(clause), family)).filter(|operands| !operands.clauses.is_empty())
    }

    /// Whether the clauses name the same addresses, one after the other.
    pub(super) fn has_addresses_of(&self, other: &Self) -> bool {
        let addresses = |clause: &FamilyClause| (clause.source, clause.destination);
        self.addresses == other.addresses && self.clauses.iter().map(addresses).eq(other.clauses.iter().map(addresses))
    }
}

/// More clauses than that with other sets are worth collecting everything.
const MOST_RENEWED: usize = 16;

/// Gives values that had ids new ones, in the order in which they are asked for.
struct Renumbered<'b, T> {
    before: &'b [Arc<[T]>],
    /// By old id.
    ids: Vec<Option<u32>>,
    values: Vec<Arc<[T]>>,
}

impl<'b, T: Eq> Renumbered<'b, T> {
    fn new(before: &'b [Arc<[T]>]) -> Self {
        Self { before, ids: vec![None; before.len()], values: Vec::with_capacity(before.len()) }
    }

    fn next(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    fn of_id(&mut self, before: u32) -> u32 {
        let next = self.next();
        let id = self.ids[before as usize].get_or_insert(next);
        if *id == next {
            self.values.push(Arc::clone(&self.before[before as usize]));
        }
        *id
    }

    fn of_value(&mut self, value: &Arc<[T]>) -> u32 {
        if let Some(before) = self.before.iter().position(|before| before == value) {
            return self.of_id(u32::try_from(before).unwrap_or(u32::MAX));
        }
        // One of the few that are new.
        let known = self.values.iter().position(|known| known == value).and_then(|at| u32::try_from(at).ok());
        known.unwrap_or_else(|| {
            self.values.push(Arc::clone(value));
            self.next() - 1
        })
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
