//! What the tables of a policy take in the kernel, and who is to blame when that is too much.

use fw_common::abi::tables::LINE;

use crate::tables::Tables;

/// What the kernel takes memory in.
const PAGE: u64 = 4096;
/// Bytes that a prefix takes in a trie of the kernel, in the mean: `struct lpm_trie_node` with key and value, and nodes
/// between prefixes (kernel/bpf/lpm_trie.c).
const TRIE_NODE4: u64 = 64;
const TRIE_NODE6: u64 = 96;

/// Kernel memory of one policy, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of each table, by its number in [`fw_common::abi::tables::table`].
    pub tables: [u64; fw_common::abi::tables::table::COUNT as usize],
    /// Of the two tries of zones.
    pub zones: u64,
}

impl Memory {
    /// Of everything.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.tables.iter().sum::<u64>() + self.zones
    }
}

/// The memory of the maps of one policy. An array that can be mapped has a page of its own in front, and whole pages for
/// its values (`array_map_alloc` in kernel/bpf/arraymap.c).
pub(super) fn memory(tables: &Tables) -> Memory {
    let array = |lines: usize| PAGE + ((lines.max(1) * LINE) as u64).next_multiple_of(PAGE);
    Memory {
        tables: tables.line_counts().map(array),
        zones: tables.zones4.len() as u64 * TRIE_NODE4 + tables.zones6.len() as u64 * TRIE_NODE6,
    }
}

/// The rules that are counted most often, at most three, the greatest first; the earlier of equals first.
pub(super) fn most_expensive(counts: impl Iterator<Item = (u32, u64)>) -> Vec<(u32, u64)> {
    let mut by_rule = std::collections::BTreeMap::new();
    for (rule, count) in counts {
        *by_rule.entry(rule).or_insert(0) += count;
    }
    let mut ranked: Vec<(u32, u64)> = by_rule.into_iter().collect();
    ranked.sort_by_key(|(rule, count)| (std::cmp::Reverse(*count), *rule));
    ranked.truncate(3);
    ranked
}
