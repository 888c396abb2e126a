//! Pairs of classes and their lists of entries, for one address family.

use std::collections::HashMap;

use fw_common::abi::policy::{Entry, EntryList, MAX_LIST, PairKey};

use super::classes::Classes;
use super::clause::FamilyClause;
use crate::set::interval::Family;

/// The thresholds that are tried. The first of equals is taken; with 0 no prefix is wide, and the data plane probes one
/// pair instead of four.
const fn thresholds(family: Family) -> &'static [u8] {
    match family {
        Family::V4 => &[0, 4, 8, 12, 16, 20, 24],
        Family::V6 => &[0, 8, 16, 24, 32, 40, 48, 56, 64],
    }
}

/// How often clauses may stand in lists before lists are shared: what the compiler works through.
const MAX_LISTED: u64 = 16_000_000;

/// Both sides of all clauses, grouped with the threshold that lists them least often.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    pub(super) sources: Classes,
    pub(super) destinations: Classes,
}

/// Why the clauses have no grouping or no lists that the data plane could hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// The tables would take more memory than they may. The number of times that each clause is listed is what costs.
    Memory { listed: Vec<u64> },
    /// The list of one pair is longer than [`MAX_LIST`]: its length, and the clauses in it.
    List { len: usize, clauses: Vec<u32> },
}

impl Grouping {
    /// Tries all thresholds. Class ids go on after those of `previous`, the other family.
    pub(super) fn choose(clauses: &[FamilyClause], family: Family, previous: &Self) -> Result<Self, TooLarge> {
        let group = |threshold: &u8| Self::with_threshold(clauses, family, *threshold, previous);
        let groupings = thresholds(family).iter().filter_map(group);
        let best = groupings.min_by_key(|grouping| grouping.listed().sum::<u64>());
        let best = best.ok_or_else(|| TooLarge::Memory {
            listed: clauses.iter().map(|clause| (clause.source.len() * clause.destination.len()) as u64).collect(),
        })?;
        if best.listed().sum::<u64>() > MAX_LISTED {
            return Err(TooLarge::Memory { listed: best.listed().collect() });
        }
        Ok(best)
    }

    fn with_threshold(clauses: &[FamilyClause], family: Family, threshold: u8, previous: &Self) -> Option<Self> {
        let sources = clauses.iter().map(|clause| clause.source.as_slice());
        let destinations = clauses.iter().map(|clause| clause.destination.as_slice());
        Some(Self {
            sources: Classes::new(sources, family, threshold, previous.sources.last_id)?,
            destinations: Classes::new(destinations, family, threshold, previous.destinations.last_id)?,
        })
    }

    /// For each clause the number of pairs that list it.
    fn listed(&self) -> impl Iterator<Item = u64> {
        let sides = self.sources.of_clause.iter().zip(&self.destinations.of_clause);
        sides.map(|(sources, destinations)| sources.len() as u64 * destinations.len() as u64)
    }
}

/// The tables that both families share, while they grow.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) pairs: Vec<(PairKey, EntryList)>,
    pub(super) entries: Vec<Entry>,
}

impl Lists {
    /// Adds the pairs of a family. `most_entries` bounds the array of entries.
    pub(super) fn add(
        &mut self,
        clauses: &[FamilyClause],
        grouping: &Grouping,
        most_entries: usize,
    ) -> Result<(), TooLarge> {
        let mut shared: HashMap<Vec<u32>, EntryList> = HashMap::new();
        let listed = listed_pairs(grouping);
        for run in listed.chunk_by(|(one, _), (other, _)| one == other) {
            let members: Vec<u32> = run.iter().map(|(_, clause)| *clause).collect();
            let list = match shared.get(&members) {
                Some(list) => *list,
                None => {
                    let list = self.append(&members, clauses)?;
                    if self.entries.len() > most_entries {
                        return Err(TooLarge::Memory { listed: grouping.listed().collect() });
                    }
                    shared.insert(members, list);
                    list
                }
            };
            self.pairs.push((run[0].0, list));
        }
        Ok(())
    }

    /// Writes a list: the entries of its clauses, which ascend by rule.
    fn append(&mut self, members: &[u32], clauses: &[FamilyClause]) -> Result<EntryList, TooLarge> {
        let start = self.entries.len();
        for clause in members {
            self.entries.extend_from_slice(&clauses[*clause as usize].entries);
        }
        let len = self.entries.len() - start;
        match (u32::try_from(start), u32::try_from(len)) {
            (Ok(start), Ok(len)) if len <= MAX_LIST => Ok(EntryList { start, len }),
            _ => Err(TooLarge::List { len, clauses: members.to_vec() }),
        }
    }
}

/// Every pair with every clause in it, ascending by both.
fn listed_pairs(grouping: &Grouping) -> Vec<(PairKey, u32)> {
    let mut listed = Vec::new();
    let sides = grouping.sources.of_clause.iter().zip(&grouping.destinations.of_clause);
    for (clause, (sources, destinations)) in (0u32..).zip(sides) {
        for source in sources {
            let pair = |destination: &u32| (PairKey { source: *source, destination: *destination }, clause);
            listed.extend(destinations.iter().map(pair));
        }
    }
    listed.sort_unstable();
    listed
}

#[cfg(test)]
mod tests {
    use super::super::zones::prefix4;
    use super::*;
    use crate::set::interval::Cidr;
    use crate::tables::Tables;
    use fw_common::abi::policy::{Action, ZoneDefault};
    use fw_common::policy::{Query, classify};
    use fw_common::wire::Address;
    use proptest::prelude::*;

    /// Prefixes around a few addresses, so that they nest and share ends.
    fn cidr() -> impl Strategy<Value = Cidr> {
        (address(), 0u8..=32).prop_map(|(addr, len)| Cidr { first: addr & !Family::V4.host_mask(len), len })
    }

    fn address() -> impl Strategy<Value = u128> {
        (0u128..4, 0u128..4, 0u128..4).prop_map(|(a, b, c)| a << 30 | b << 15 | c)
    }

    fn clauses() -> impl Strategy<Value = Vec<FamilyClause>> {
        let side = || prop::collection::vec(cidr(), 1..4);
        prop::collection::vec((side(), side()), 1..12).prop_map(|sides| {
            let clause = |(rule, (source, destination)): (u32, (Vec<Cidr>, Vec<Cidr>))| {
                let entry = Entry { from_zones: 1, to_zones: 1, order: rule, rule, ..Entry::default() };
                FamilyClause { rule, source, destination, entries: vec![entry] }
            };
            (0..).zip(sides).map(clause).collect()
        })
    }

    fn tables(clauses: &[FamilyClause], threshold: u8) -> Tables {
        let grouping = Grouping::with_threshold(clauses, Family::V4, threshold, &Grouping::default()).unwrap();
        let mut lists = Lists::default();
        lists.add(clauses, &grouping, usize::MAX).unwrap();
        let trie = |classes: &Classes| classes.prefixes.iter().map(|(cidr, class)| (prefix4(*cidr), *class)).collect();
        Tables {
            sources4: trie(&grouping.sources),
            destinations4: trie(&grouping.destinations),
            pairs: lists.pairs,
            entries: lists.entries,
            zone_defaults: vec![ZoneDefault { rule: u32::MAX, action: Action::Drop as u8, ..ZoneDefault::default() }],
            ..Tables::default()
        }
    }

    fn linear(clauses: &[FamilyClause], source: u128, destination: u128) -> u32 {
        let holds = |side: &[Cidr], addr| side.iter().any(|cidr| cidr.first <= addr && addr <= cidr.last(Family::V4));
        let matching =
            |clause: &&FamilyClause| holds(&clause.source, source) && holds(&clause.destination, destination);
        clauses.iter().find(matching).map_or(u32::MAX, |clause| clause.rule)
    }

    proptest! {
        #[test]
        fn every_threshold_finds_the_first_clause(
            clauses in clauses(),
            queries in prop::collection::vec((address(), address()), 1..20),
        ) {
            for threshold in [0, 1, 8, 16, 17, 24, 33] {
                let tables = tables(&clauses, threshold);
                for (source, destination) in &queries {
                    let addr = |number: u128| Address::v4(u32::try_from(number).unwrap().to_be_bytes());
                    let query = Query {
                        src_addr: addr(*source),
                        dst_addr: addr(*destination),
                        from_zone: 0,
                        to_zone: 0,
                        protocol: 6,
                        src_port: 1,
                        dst_port: 1,
                    };
                    let expected = linear(&clauses, *source, *destination);
                    prop_assert_eq!(classify(&tables, &query).rule, expected, "threshold {}", threshold);
                }
            }
        }
    }

    #[test]
    fn equal_lists_are_stored_once() {
        let host = |first| vec![Cidr { first, len: 32 }];
        let any = vec![Cidr { first: 0, len: 0 }];
        let entry = Entry::default();
        let clauses: Vec<FamilyClause> = [(host(1), any.clone()), (any.clone(), host(2)), (any.clone(), any)]
            .into_iter()
            .zip(0..)
            .map(|((source, destination), rule)| FamilyClause { rule, source, destination, entries: vec![entry] })
            .collect();
        let tables = tables(&clauses, 8);
        let lists: std::collections::BTreeSet<_> =
            tables.pairs.iter().map(|(_, list)| (list.start, list.len)).collect();
        let stored: u32 = lists.iter().map(|(_, len)| len).sum();
        assert_eq!(stored as usize, tables.entries.len());
    }
}
