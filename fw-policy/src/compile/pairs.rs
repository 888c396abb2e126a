//! Pairs of classes for one address family, and the clauses that apply to each.

use super::classes::{Classes, Members, Prefixes};
use super::hash::IdMap;
use super::operands::{FamilyClause, Operands};
use crate::set::interval::{Cidr, Family};
use fw_common::abi::tables::AddressClass;

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
    source: Side,
    destination: Side,
}

/// One side, grouped.
#[derive(Debug)]
struct Side {
    prefixes: Prefixes,
    classes: Classes,
    /// For each set the number of classes that hold it.
    counts: Vec<u32>,
    last_id: u32,
}

/// The ids that are in use on each side, the highest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastIds {
    source: u32,
    destination: u32,
}

/// Why the clauses have no grouping that the data plane could hold: how often each clause would be listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) listed: Vec<u64>,
}

impl Grouping {
    /// Tries all thresholds. Class ids go on after those of the other family.
    pub(super) fn choose(operands: &Operands, family: Family, last: LastIds) -> Result<Self, TooMany> {
        Self::choose_among(thresholds(family), operands, family, last)
    }

    fn choose_among(thresholds: &[u8], operands: &Operands, family: Family, last: LastIds) -> Result<Self, TooMany> {
        let used = |side: fn(&FamilyClause) -> u32| {
            let mut used = vec![false; operands.addresses.len()];
            operands.clauses.iter().for_each(|clause| used[side(clause) as usize] = true);
            used
        };
        let sources = Prefixes::new(&operands.addresses, &used(|clause| clause.source), family);
        let destinations = Prefixes::new(&operands.addresses, &used(|clause| clause.destination), family);
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
        let side = |prefixes, mut candidates: Vec<(Classes, Vec<u32>)>, at, last_id| {
            let (classes, counts) = candidates.swap_remove(at);
            Side { prefixes, classes, counts, last_id }
        };
        let grouping = Self {
            source: side(sources, sources_by_threshold, source, last.source),
            destination: side(destinations, destinations_by_threshold, destination, last.destination),
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

    /// The ids after which the next family goes on.
    pub(super) fn last_ids(&self) -> LastIds {
        let last = |side: &Side| side.last_id + side.classes.len();
        LastIds { source: last(&self.source), destination: last(&self.destination) }
    }

    /// Every source prefix with its classes.
    pub(super) fn source_prefixes(&self) -> Vec<(Cidr, AddressClass)> {
        self.source.prefixes.labelled(&self.source.classes, self.source.last_id)
    }

    /// Every destination prefix with its classes.
    pub(super) fn destination_prefixes(&self) -> Vec<(Cidr, AddressClass)> {
        self.destination.prefixes.labelled(&self.destination.classes, self.destination.last_id)
    }

    /// The pairs with what applies to them.
    pub(super) fn pairs(&self, operands: &Operands) -> Pairs {
        let members = |side: &Side| side.prefixes.members(&side.classes, &side.counts, side.last_id);
        let (sources, destinations) = (members(&self.source), members(&self.destination));
        let bundles = Bundles::new(&operands.clauses);
        let mut listed = Vec::new();
        for ((source, destination), bundle) in bundles.sets.iter().zip(0u32..) {
            listed.extend(all_pairs(&sources, *source, &destinations, *destination).map(|pair| (pair, bundle)));
        }
        listed.sort_unstable();
        Pairs { bundles, listed }
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

fn all_pairs(sources: &Members, source: u32, destinations: &Members, destination: u32) -> impl Iterator<Item = u64> {
    let destinations = destinations.of(destination);
    sources.of(source).iter().flat_map(move |source| {
        destinations.iter().map(move |destination| u64::from(*source) << 32 | u64::from(*destination))
    })
}

/// The clauses that share both address sets, together: they are in the same lists.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    sets: Vec<(u32, u32)>,
    /// Positions of the clauses, ascending.
    pub(super) clauses: Vec<Vec<u32>>,
}

impl Bundles {
    fn new(clauses: &[FamilyClause]) -> Self {
        let mut bundles = Self::default();
        let mut known: IdMap<(u32, u32), usize> = IdMap::default();
        for (clause, position) in clauses.iter().zip(0..) {
            let sets = (clause.source, clause.destination);
            let bundle = *known.entry(sets).or_insert(bundles.sets.len());
            if bundle == bundles.sets.len() {
                bundles.sets.push(sets);
                bundles.clauses.push(Vec::with_capacity(1));
            }
            bundles.clauses[bundle].push(position);
        }
        bundles
    }
}

/// All pairs of classes.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) bundles: Bundles,
    /// Source class, destination class, and a bundle that applies to them, ascending.
    pub(super) listed: Vec<(u64, u32)>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::trie::Tries;
    use super::*;
    use fw_common::abi::tables::Side as TrieSide;
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
        let grouping = Grouping::choose_among(&[threshold], &operands, family, LastIds::default()).unwrap();
        let pairs = grouping.pairs(&operands);
        let mut tries = Tries::new();
        for of in Family::ALL {
            tries.add(&if of == family { grouping.source_prefixes() } else { Vec::new() }, of);
        }
        for of in Family::ALL {
            tries.add(&if of == family { grouping.destination_prefixes() } else { Vec::new() }, of);
        }
        let tables = Tables { roots: tries.roots, nodes: tries.nodes, classes: tries.classes, ..Tables::default() };
        for (source, destination) in queries {
            let (source, destination) = (scaled(*source, family), scaled(*destination, family));
            let class = |side, number| address::class(&tables, &mut Lookup::default(), side, &addr(number, family));
            let (of_source, of_destination) =
                (class(TrieSide::Source, source), class(TrieSide::Destination, destination));
            let mut found = Vec::new();
            for source in [of_source.specific, of_source.wide] {
                for destination in [of_destination.specific, of_destination.wide] {
                    let key = u64::from(source) << 32 | u64::from(destination);
                    let bundles =
                        pairs.listed.iter().filter(|(pair, _)| source != 0 && destination != 0 && *pair == key);
                    found.extend(
                        bundles.flat_map(|(_, bundle)| pairs.bundles.clauses[*bundle as usize].iter().copied()),
                    );
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
