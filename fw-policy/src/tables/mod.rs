//! The compiled tables on the host: what the agent writes into maps, and what `fwctl` and the tests look up in.

mod column;

use std::any::Any;

use fw_common::abi::policy::{ZoneEntry, zone};
use fw_common::abi::tables::{
    ClassLine, ClauseLine, DefaultLine, EntryLine, HeaderLine, NodeLine, PairBucket, RootLine, SplitLine, TableLine,
    table,
};
use fw_common::policy::observing::{self, Step};
use fw_common::policy::{Decision, Lookup, PolicyTables, Query, Walk, classify};
use fw_common::wire::Address;

pub use column::{Column, Packed};

/// A prefix in network byte order; `A` is `[u8; 4]` or `[u8; 16]`. The bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<A> {
    /// The address.
    pub addr: A,
    /// Length in bits, without a slot.
    pub len: u8,
}

/// The key of a zone trie: the prefix as seen by the interface of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZonePrefix<A> {
    /// Slot of the interface.
    pub slot: u32,
    /// The prefix.
    pub prefix: Prefix<A>,
}

/// All tables of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// `ZONES4`, sorted by its key and free of duplicates.
    pub zones4: Vec<(ZonePrefix<[u8; 4]>, ZoneEntry)>,
    /// `ZONES6`, likewise.
    pub zones6: Vec<(ZonePrefix<[u8; 16]>, ZoneEntry)>,
    /// [`table::HEADER`].
    pub header: HeaderLine,
    /// [`table::ROOTS`].
    pub roots: Column<RootLine>,
    /// [`table::NODES`].
    pub nodes: Column<NodeLine>,
    /// [`table::CLASSES`].
    pub classes: Column<ClassLine>,
    /// [`table::PAIRS`].
    pub pairs: Vec<PairBucket>,
    /// [`table::SPLITS`].
    pub splits: Column<SplitLine>,
    /// [`table::ENTRIES`].
    pub entries: Column<EntryLine>,
    /// [`table::CLAUSES`]; [`Clause::rule`](fw_common::abi::tables::Clause) is an index into [`crate::Compiled::rules`].
    pub clauses: Column<ClauseLine>,
    /// [`table::DEFAULTS`]: 4,096 values, at `from * 64 + to`.
    pub zone_defaults: Column<DefaultLine>,
}

impl Tables {
    /// The zone of an address as seen by the interface of a slot; [`zone::NONE`] if nothing matches.
    #[must_use]
    pub fn zone(&self, slot: u32, addr: &Address) -> u8 {
        let entry = if addr.is_ipv4() {
            longest_match(&self.zones4, addr.first4(), |prefix| ZonePrefix { slot, prefix })
        } else {
            longest_match(&self.zones6, addr.octets(), |prefix| ZonePrefix { slot, prefix })
        };
        entry.and_then(|entry| u8::try_from(entry.zone).ok()).unwrap_or(zone::NONE)
    }

    /// What the policy decides about a packet that opens a flow.
    #[must_use]
    pub fn classify(&self, query: &Query) -> Decision {
        classify(self, &mut Lookup::default(), query)
    }

    /// The rules that observe a packet that opens a flow: those that match it in front of the one that decides, in order.
    #[must_use]
    pub fn observing(&self, query: &Query) -> Vec<u32> {
        let mut lookup = Lookup::default();
        let _ = classify(self, &mut lookup, query);
        let mut rules = Vec::new();
        if lookup.is_observed() {
            observing::begin(&mut lookup);
            loop {
                match observing::step(&mut lookup, self) {
                    Step::GoesOn => {}
                    Step::Found(clause) => rules.push(clause.rule),
                    Step::Over => break,
                }
            }
        }
        // List by list they ascend, and each is in one.
        rules.sort_unstable();
        rules
    }

    /// Number of lines of each table, by its number.
    #[must_use]
    pub fn line_counts(&self) -> [usize; table::COUNT as usize] {
        let Self {
            zones4: _,
            zones6: _,
            header: _,
            roots,
            nodes,
            classes,
            pairs,
            splits,
            entries,
            clauses,
            zone_defaults,
        } = self;
        [
            1,
            roots.lines().len(),
            nodes.lines().len(),
            classes.lines().len(),
            pairs.len(),
            splits.lines().len(),
            entries.lines().len(),
            clauses.lines().len(),
            zone_defaults.lines().len(),
        ]
    }

    /// A line of the table of this number, whatever its type.
    fn any_line(&self, number: u32, index: usize) -> Option<&dyn Any> {
        fn any<L: Any>(line: &L) -> &dyn Any {
            line
        }
        match number {
            table::HEADER => (index == 0).then_some(&self.header).map(any),
            table::ROOTS => self.roots.lines().get(index).map(any),
            table::NODES => self.nodes.lines().get(index).map(any),
            table::CLASSES => self.classes.lines().get(index).map(any),
            table::PAIRS => self.pairs.get(index).map(any),
            table::SPLITS => self.splits.lines().get(index).map(any),
            table::ENTRIES => self.entries.lines().get(index).map(any),
            table::CLAUSES => self.clauses.lines().get(index).map(any),
            table::DEFAULTS => self.zone_defaults.lines().get(index).map(any),
            _ => None,
        }
    }
}

/// Looks the prefixes that hold `addr` up, the longest first.
fn longest_match<const N: usize, K: Ord, V: Copy>(
    table: &[(K, V)],
    addr: [u8; N],
    key: impl Fn(Prefix<[u8; N]>) -> K,
) -> Option<V> {
    let longest = u8::try_from(N * 8).unwrap_or(u8::MAX);
    (0..=longest).rev().find_map(|len| {
        let key = key(Prefix { addr: truncate(addr, len), len });
        table.binary_search_by(|(candidate, _)| candidate.cmp(&key)).ok().map(|at| table[at].1)
    })
}

/// Clears the bits behind the first `len`.
fn truncate<const N: usize>(mut addr: [u8; N], len: u8) -> [u8; N] {
    for (position, byte) in addr.iter_mut().enumerate() {
        let kept = usize::from(len).saturating_sub(position * 8).min(8);
        *byte &= u8::MAX.checked_shl(8 - u32::try_from(kept).unwrap_or(8)).unwrap_or(0);
    }
    addr
}

impl PolicyTables for Tables {
    fn line<L: TableLine>(&self, index: u32) -> Option<&L> {
        self.any_line(L::TABLE, index as usize)?.downcast_ref()
    }

    fn repeat<W: Walk<Self>>(&self, times: u32, lookup: &mut Lookup) {
        for position in 0..times {
            if !W::step(lookup, position, self) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_keeps_exactly_the_bits_of_the_prefix() {
        assert_eq!(truncate([0xff; 4], 0), [0, 0, 0, 0]);
        assert_eq!(truncate([0xff; 4], 12), [0xff, 0xf0, 0, 0]);
        assert_eq!(truncate([0xff; 4], 31), [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(truncate([0xff; 4], 32), [0xff; 4]);
    }

    #[test]
    fn the_longest_prefix_of_the_right_slot_wins() {
        let key = |slot, addr, len| ZonePrefix { slot, prefix: Prefix { addr, len } };
        let tables = Tables {
            zones4: vec![
                (key(0, [0, 0, 0, 0], 0), ZoneEntry { zone: 1 }),
                (key(0, [10, 0, 0, 0], 8), ZoneEntry { zone: 2 }),
                (key(1, [10, 0, 0, 0], 8), ZoneEntry { zone: 3 }),
            ],
            ..Tables::default()
        };
        assert_eq!(tables.zone(0, &Address::v4([10, 9, 9, 9])), 2);
        assert_eq!(tables.zone(0, &Address::v4([11, 0, 0, 1])), 1);
        assert_eq!(tables.zone(1, &Address::v4([10, 0, 0, 1])), 3);
        assert_eq!(tables.zone(1, &Address::v4([11, 0, 0, 1])), zone::NONE);
        assert_eq!(tables.zone(0, &Address::v6([0; 16])), zone::NONE);
    }
}
