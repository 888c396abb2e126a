//! Pairs of classes for one address family, and the clauses that apply to each.

use std::ops::Range;

use super::bundles::Bundles;
use super::classes::{Classes, Members, Prefixes};
use super::operands::{FamilyClause, Operands};
use crate::set::interval::{Cidr, Family};
use fw_common::abi::tables::{AddressClass, PAIRS_SPECIFIC, PAIRS_WIDE};

/// The thresholds that are tried on each side. The first of equals is taken; with 0 no prefix is wide, and the data plane
/// looks fewer pairs up.
const fn thresholds(family: Family) -> &'static [u8] {
    match family {
        Family::V4 => &[0, 4, 8, 12, 16, 20, 24],
        Family::V6 => &[0, 8, 16, 24, 32, 40, 48, 56, 64],
    }
}

/// How often clauses may stand in lists before lists are shared: what the compiler works through.
const MAX_LISTED: u64 = 16_000_000;

/// Both sides of all clauses, grouped with the thresholds that list them least often.
#[derive(Debug)]
pub(super) struct Grouping {
    family: Family,
    source: Side,
    destination: Side,
    bundles: Bundles,
}

/// One side, grouped.
#[derive(Debug, Default)]
struct Side {
    prefixes: Prefixes,
    classes: Classes,
    /// For each set the number of classes that hold it.
    counts: Vec<u32>,
    /// For each class its marks: with which widths of the other side it makes pairs.
    marks: Vec<u32>,
}

impl Side {
    /// Notes that a class makes a pair with a class of the other side.
    fn mark(&mut self, class: u32, other_is_wide: bool) {
        self.marks.resize(self.classes.len() as usize, 0);
        self.marks[class as usize - 1] |= if other_is_wide { PAIRS_WIDE } else { PAIRS_SPECIFIC };
    }

    /// A mark for each class that makes pairs; without one it makes none.
    fn marks(&self, class: u32) -> u32 {
        self.marks.get(class as usize - 1).copied().unwrap_or_default()
    }

    fn members(&self) -> Members {
        self.prefixes.members(&self.classes, &self.counts)
    }

    /// Follows a change of sets; the classes that are new.
    fn renew(&mut self, operands: &Operands, used: &[bool], family: Family) -> Range<u32> {
        let before = self.classes.len();
        self.prefixes = std::mem::take(&mut self.prefixes).renewed(&operands.addresses, used, family);
        self.classes = self.prefixes.renewed_classes(std::mem::take(&mut self.classes));
        if self.classes.len() != before {
            self.counts = self.prefixes.counts(&self.classes);
        }
        before + 1..self.classes.len() + 1
    }
}

/// Which side of a clause.
type OfClause = fn(&FamilyClause) -> u32;
const SOURCE: OfClause = |clause| clause.source;
const DESTINATION: OfClause = |clause| clause.destination;

/// Which sets one side of the clauses uses.
fn used(operands: &Operands, side: OfClause) -> Vec<bool> {
    let mut used = vec![false; operands.addresses.len()];
    operands.clauses.iter().for_each(|clause| used[side(clause) as usize] = true);
    used
}

/// Why the clauses have no grouping that the data plane could hold: how often each clause would be listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) listed: Vec<u64>,
}

/// Which sides have other prefixes than before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewed {
    pub(super) source: bool,
    pub(super) destination: bool,
}

impl Grouping {
    /// Tries all thresholds.
    pub(super) fn choose(operands: &Operands, family: Family) -> Result<Self, TooMany> {
        Self::choose_among(thresholds(family), operands, family)
    }

    fn choose_among(thresholds: &[u8], operands: &Operands, family: Family) -> Result<Self, TooMany> {
        let sources = Prefixes::new(&operands.addresses, &used(operands, SOURCE), family);
        let destinations = Prefixes::new(&operands.addresses, &used(operands, DESTINATION), family);
        let sources_by_threshold = candidates(&sources, thresholds);
        let destinations_by_threshold = candidates(&destinations, thresholds);
        let mut best = (u64::MAX, 0, 0);
        for (source, (_, source_counts)) in sources_by_threshold.iter().enumerate() {
            for (destination, (_, destination_counts)) in destinations_by_threshold.iter().enumerate() {
                if let Some(total) = total(operands, source_counts, destination_counts, best.0) {
                    best = (total, source, destination);
                }
            }
        }
        let (total, source, destination) = best;
        let side = |prefixes, mut candidates: Vec<(Classes, Vec<u32>)>, at| {
            let (classes, counts) = candidates.swap_remove(at);
            Side { prefixes, classes, counts, marks: Vec::new() }
        };
        let grouping = Self {
            family,
            source: side(sources, sources_by_threshold, source),
            destination: side(destinations, destinations_by_threshold, destination),
            bundles: Bundles::new(&operands.clauses),
        };
        if total > MAX_LISTED {
            return Err(TooMany { listed: grouping.listed(operands).collect() });
        }
        Ok(grouping)
    }

    /// For each clause the number of pairs that list it.
    pub(super) fn listed(&self, operands: &Operands) -> impl Iterator<Item = u64> {
        operands.clauses.iter().map(|clause| {
            let sources = self.source.counts[clause.source as usize];
            u64::from(sources) * u64::from(self.destination.counts[clause.destination as usize])
        })
    }

    /// The id of a class: both families share the hash of pairs, so each has every second id.
    const fn id(&self, class: u32) -> u32 {
        match self.family {
            Family::V4 => class * 2,
            Family::V6 => class * 2 + 1,
        }
    }

    /// Every source prefix with its classes.
    pub(super) fn source_prefixes(&self) -> Vec<(Cidr, AddressClass)> {
        self.source.prefixes.labelled(&self.source.classes, |class| self.id(class) | self.source.marks(class))
    }

    /// Every destination prefix with its classes.
    pub(super) fn destination_prefixes(&self) -> Vec<(Cidr, AddressClass)> {
        self.destination
            .prefixes
            .labelled(&self.destination.classes, |class| self.id(class) | self.destination.marks(class))
    }

    /// The clauses by the sets that they share.
    pub(super) fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    /// The pairs with what applies to them: source class, destination class, and a bundle, ascending.
    pub(super) fn pairs(&mut self) -> Vec<(u64, u32)> {
        let (sources, destinations) = (self.source.members(), self.destination.members());
        let mut listed = Vec::new();
        for ((source, destination), bundle) in self.bundles.sets.iter().zip(0u32..) {
            for source in sources.of(*source) {
                let pair = |destination: &u32| (self.pair(*source, *destination), bundle);
                listed.extend(destinations.of(*destination).iter().map(pair));
            }
        }
        listed.sort_unstable();
        self.mark(&listed);
        listed
    }

    /// Marks the classes of pairs.
    fn mark(&mut self, listed: &[(u64, u32)]) {
        let class = |id: u64| u32::try_from((id & 0xffff_ffff) / 2).unwrap_or(0);
        for run in listed.chunk_by(|(one, _), (other, _)| one == other) {
            let (source, destination) = (class(run[0].0 >> 32), class(run[0].0));
            self.source.mark(source, self.destination.classes.is_wide(destination));
            self.destination.mark(destination, self.source.classes.is_wide(source));
        }
    }

    fn pair(&self, source: u32, destination: u32) -> u64 {
        u64::from(self.id(source)) << 32 | u64::from(self.id(destination))
    }

    /// Follows a change of address sets. The pairs that are new, as [`Grouping::pairs`] gives them: those of classes that are.
    pub(super) fn renew(&mut self, operands: &Operands, renewed: Renewed) -> Vec<(u64, u32)> {
        let family = self.family;
        let new_sources =
            if renewed.source { self.source.renew(operands, &used(operands, SOURCE), family) } else { 0..0 };
        let new_destinations = if renewed.destination {
            self.destination.renew(operands, &used(operands, DESTINATION), family)
        } else {
            0..0
        };
        let mut listed = Vec::new();
        if !new_sources.is_empty() {
            let others = self.destination.members();
            let by_set = self.bundles.by_set(operands.addresses.len(), |(source, _)| source);
            for class in new_sources.clone() {
                self.source.prefixes.sets_of(&self.source.classes, class, |set| {
                    for bundle in &by_set[set as usize] {
                        let other = self.bundles.sets[*bundle as usize].1;
                        listed.extend(others.of(other).iter().map(|other| (self.pair(class, *other), *bundle)));
                    }
                });
            }
        }
        if !new_destinations.is_empty() {
            let others = self.source.members();
            let by_set = self.bundles.by_set(operands.addresses.len(), |(_, destination)| destination);
            for class in new_destinations {
                self.destination.prefixes.sets_of(&self.destination.classes, class, |set| {
                    for bundle in &by_set[set as usize] {
                        let other = self.bundles.sets[*bundle as usize].0;
                        // New on both sides has been listed above.
                        let others = others.of(other).iter().filter(|other| !new_sources.contains(other));
                        listed.extend(others.map(|other| (self.pair(*other, class), *bundle)));
                    }
                });
            }
        }
        listed.sort_unstable();
        self.mark(&listed);
        listed
    }
}

/// The classes and counts of a side with each threshold.
fn candidates(prefixes: &Prefixes, thresholds: &[u8]) -> Vec<(Classes, Vec<u32>)> {
    let candidate = |threshold: &u8| {
        let classes = prefixes.classes(*threshold);
        let counts = prefixes.counts(&classes);
        (classes, counts)
    };
    thresholds.iter().map(candidate).collect()
}

/// How often all clauses are listed; `None` as soon as that is not fewer than `bound`.
fn total(operands: &Operands, sources: &[u32], destinations: &[u32], bound: u64) -> Option<u64> {
    let mut total = 0;
    for clauses in operands.clauses.chunks(1024) {
        let listed = clauses.iter().map(|clause| {
            u64::from(sources[clause.source as usize]) * u64::from(destinations[clause.destination as usize])
        });
        total += listed.sum::<u64>();
        if total >= bound {
            return None;
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::trie::{Trie, join};
    use super::*;
    use fw_common::abi::tables::{CLASS_ID, Side as TrieSide};
    use fw_common::policy::{Lookup, address};
    use fw_common::wire::Address;
    use proptest::prelude::*;

    use crate::tables::Tables;

    fn number() -> impl Strategy<Value = u128> {
        (0u128..4, 0u128..4, 0u128..4).prop_map(|(a, b, c)| a << 30 | b << 15 | c)
    }

    /// Prefixes around a few addresses, so that they nest and share ends.
    fn set(family: Family) -> impl Strategy<Value = Arc<[Cidr]>> {
        let prefix = (number(), 0..=family.bits());
        prop::collection::vec(prefix, 1..4).prop_map(move |prefixes| {
            // Disjoint, as sets are.
            let mut set: Vec<Cidr> = Vec::new();
            for (first, len) in prefixes {
                let cidr = Cidr { first: scaled(first, family) & !family.host_mask(len), len };
                if !set.iter().any(|other| other.contains(cidr, family) || cidr.contains(*other, family)) {
                    set.push(cidr);
                }
            }
            set.sort_unstable();
            set.into()
        })
    }

    fn scaled(addr: u128, family: Family) -> u128 {
        if family == Family::V4 { addr } else { addr << 96 | addr << 40 | addr }
    }

    fn addr(number: u128, family: Family) -> Address {
        match family {
            Family::V4 => Address::v4(u32::try_from(number).unwrap().to_be_bytes()),
            Family::V6 => Address::v6(number.to_be_bytes()),
        }
    }

    fn check(family: Family, threshold: u8, sets: &[Arc<[Cidr]>], queries: &[(u128, u128)]) {
        // Each set as a source with the next one as destination.
        let count = u32::try_from(sets.len()).unwrap();
        let clauses = (0..count)
            .map(|n| FamilyClause { clause: n, source: n, destination: (n + 1) % count, services: 0 })
            .collect();
        let operands = Operands { addresses: sets.to_vec(), services: Vec::new(), clauses };
        let mut grouping = Grouping::choose_among(&[threshold], &operands, family).unwrap();
        let pairs = grouping.pairs();
        let trie = |of, prefixes: &[_]| Trie::new(if of == family { prefixes } else { &[] }, of);
        let sides = [grouping.source_prefixes(), grouping.destination_prefixes()];
        let tries: Vec<Trie> = sides.iter().flat_map(|side| Family::ALL.map(|of| trie(of, side))).collect();
        let mut tables = Tables::default();
        join(&tries, &mut tables);
        for (source, destination) in queries {
            let (source, destination) = (scaled(*source, family), scaled(*destination, family));
            let class = |side, number| address::class(&tables, &mut Lookup::default(), side, &addr(number, family));
            let (of_source, of_destination) =
                (class(TrieSide::Source, source), class(TrieSide::Destination, destination));
            let mut found = Vec::new();
            for source in [of_source.specific, of_source.wide] {
                for destination in [of_destination.specific, of_destination.wide] {
                    let key = u64::from(source & CLASS_ID) << 32 | u64::from(destination & CLASS_ID);
                    let bundles = pairs.iter().filter(|(pair, _)| source != 0 && destination != 0 && *pair == key);
                    found.extend(bundles.flat_map(|(_, bundle)| grouping.bundles.clauses(*bundle).iter().copied()));
                }
            }
            found.sort_unstable();
            let holds =
                |set: u32, addr| sets[set as usize].iter().any(|cidr| cidr.first <= addr && addr <= cidr.last(family));
            let expected: Vec<u32> =
                (0..count).filter(|n| holds(*n, source) && holds((n + 1) % count, destination)).collect();
            assert_eq!(found, expected, "threshold {threshold}, from {source:x} to {destination:x}");
        }
    }

    proptest! {
        #[test]
        fn every_threshold_finds_each_clause_that_matches_once(
            sets4 in prop::collection::vec(set(Family::V4), 1..12),
            sets6 in prop::collection::vec(set(Family::V6), 1..12),
            queries in prop::collection::vec((number(), number()), 1..20),
        ) {
            for threshold in [0, 1, 8, 16, 17, 24, 33] {
                check(Family::V4, threshold, &sets4, &queries);
                check(Family::V6, threshold * 4, &sets6, &queries);
            }
        }
    }
}
