//! The compiled tables on the host: what the agent writes into maps, and what `fwctl` and the tests look up in.

use fw_common::abi::policy::{AddressClass, Entry, EntryList, PairKey, ZoneDefault, ZoneEntry, zone};
use fw_common::policy::{PolicyTables, Query, matches};
use fw_common::wire::Address;

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

/// All tables of a policy. Every list is sorted by its key and free of duplicates, except [`Tables::entries`] and
/// [`Tables::zone_defaults`], which are indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// `ZONES4`.
    pub zones4: Vec<(ZonePrefix<[u8; 4]>, ZoneEntry)>,
    /// `ZONES6`.
    pub zones6: Vec<(ZonePrefix<[u8; 16]>, ZoneEntry)>,
    /// `SOURCES4`.
    pub sources4: Vec<(Prefix<[u8; 4]>, AddressClass)>,
    /// `SOURCES6`.
    pub sources6: Vec<(Prefix<[u8; 16]>, AddressClass)>,
    /// `DESTINATIONS4`.
    pub destinations4: Vec<(Prefix<[u8; 4]>, AddressClass)>,
    /// `DESTINATIONS6`.
    pub destinations6: Vec<(Prefix<[u8; 16]>, AddressClass)>,
    /// `PAIRS`.
    pub pairs: Vec<(PairKey, EntryList)>,
    /// `ENTRIES`; [`Entry::rule`] is an index into [`crate::Compiled::rules`].
    pub entries: Vec<Entry>,
    /// `ZONE_DEFAULTS`: 4,096 values, at `from * 64 + to`.
    pub zone_defaults: Vec<ZoneDefault>,
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
    fn source_class(&self, addr: &Address) -> AddressClass {
        class(&self.sources4, &self.sources6, addr)
    }

    fn destination_class(&self, addr: &Address) -> AddressClass {
        class(&self.destinations4, &self.destinations6, addr)
    }

    fn pair(&self, key: PairKey) -> Option<EntryList> {
        self.pairs.binary_search_by_key(&key, |(key, _)| *key).ok().map(|at| self.pairs[at].1)
    }

    fn improve(&self, list: EntryList, query: &Query, best: &mut Entry) {
        let start = list.start as usize;
        let run = self.entries.get(start..start + list.len as usize).unwrap_or_default();
        let limit = best.order;
        if let Some(entry) = run.iter().take_while(|entry| entry.order < limit).find(|entry| matches(entry, query)) {
            *best = *entry;
        }
    }

    fn zone_default(&self, from_zone: u8, to_zone: u8) -> Option<ZoneDefault> {
        self.zone_defaults.get(usize::from(from_zone) * zone::COUNT + usize::from(to_zone)).copied()
    }
}

fn class(
    table4: &[(Prefix<[u8; 4]>, AddressClass)],
    table6: &[(Prefix<[u8; 16]>, AddressClass)],
    addr: &Address,
) -> AddressClass {
    let class = if addr.is_ipv4() {
        longest_match(table4, addr.first4(), |prefix| prefix)
    } else {
        longest_match(table6, addr.octets(), |prefix| prefix)
    };
    class.unwrap_or_default()
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
