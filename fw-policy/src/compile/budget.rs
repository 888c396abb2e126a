//! What the tables of a policy cost, and who is to blame when that is too much.

use fw_common::abi::policy::{Entry, EntryList, PairKey, ZoneDefault};

use crate::tables::Tables;

/// Bytes that the kernel keeps for each element besides key and value: `struct htab_elem` and its bucket
/// (kernel/bpf/hashtab.c).
const HASH_OVERHEAD: usize = 48 + 16;
/// The same for a trie: `struct lpm_trie_node`, rounded up to what the allocator hands out, and at most one intermediate
/// node for each prefix (kernel/bpf/lpm_trie.c).
const TRIE_NODE4: usize = 2 * 64;
const TRIE_NODE6: usize = 2 * 96;

/// Bytes of kernel memory that the maps of one policy take.
pub(super) fn memory_estimate(tables: &Tables) -> u64 {
    let Tables { zones4, zones6, sources4, sources6, destinations4, destinations6, pairs, entries, zone_defaults } =
        tables;
    let tries4 = zones4.len() + sources4.len() + destinations4.len();
    let tries6 = zones6.len() + sources6.len() + destinations6.len();
    let pair = size_of::<PairKey>() + size_of::<EntryList>() + HASH_OVERHEAD;
    let bytes = tries4 * TRIE_NODE4
        + tries6 * TRIE_NODE6
        + pairs.len() * pair
        + entries.len() * size_of::<Entry>()
        + zone_defaults.len() * size_of::<ZoneDefault>();
    bytes as u64
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
