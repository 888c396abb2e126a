//! Loading a policy: fill the idle slot, then switch.

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, ArrayOfMaps, HashMap, InnerMap, MapData};
use fw_common::abi::config::Active;
use fw_common::abi::policy::{Entry, EntryList, PairKey, ZoneAddress, ZoneDefault};
use fw_policy::{Compiled, Prefix, ZonePrefix};

use super::handles;
use super::object::{Object, map_error};
use crate::dataplane::DataplaneError;

/// Flags of `include/uapi/linux/bpf.h`.
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// Loads the tables of a policy and switches to them; the new epoch.
///
/// Nothing that judges packets now is touched before the switch, which is one store. A packet that is under way at that
/// moment goes on with the old tables; the last step waits until there is none, so that the next policy may fill their
/// slot.
pub(super) fn apply(object: &mut Object, policy: &Compiled) -> Result<u32, DataplaneError> {
    let next = match Active::from_word(object.config()?.active) {
        Some(active) => Active { epoch: next_epoch(active.epoch), slot: 1 - active.slot },
        None => Active { epoch: 1, slot: 0 },
    };
    let ids: Vec<&str> = policy.rules.iter().map(|rule| rule.id.as_str()).collect();
    let handles = handles::assign(object, &ids)?;
    let tables = &policy.tables;

    fill(
        object,
        "ZONES4",
        next.slot,
        &trie("ZONES4", tables.zones4.iter().map(|(key, value)| (zone_key(key), *value)))?,
    )?;
    fill(
        object,
        "ZONES6",
        next.slot,
        &trie("ZONES6", tables.zones6.iter().map(|(key, value)| (zone_key(key), *value)))?,
    )?;
    for (name, table) in [("SOURCES4", &tables.sources4), ("DESTINATIONS4", &tables.destinations4)] {
        fill(object, name, next.slot, &trie(name, table.iter().map(|(key, value)| (address_key(key), *value)))?)?;
    }
    for (name, table) in [("SOURCES6", &tables.sources6), ("DESTINATIONS6", &tables.destinations6)] {
        fill(object, name, next.slot, &trie(name, table.iter().map(|(key, value)| (address_key(key), *value)))?)?;
    }
    fill(object, "PAIRS", next.slot, &pairs(&tables.pairs)?)?;
    fill(object, "ENTRIES", next.slot, &entries(&tables.entries, &handles)?)?;
    let zone_defaults = zone_defaults(&tables.zone_defaults, &handles)?;
    fill(object, "ZONE_DEFAULTS", next.slot, &zone_defaults)?;
    object
        .array_mut::<[u8; 32]>("DIGESTS")?
        .set(next.slot, policy.digest, 0)
        .map_err(|error| map_error("DIGESTS", &error))?;
    store_timeouts(object, &tables.entries, &handles)?;
    object.activate(next)?;
    // Setting an inner map, be it to what it is, waits for an RCU grace period (`maybe_wait_bpf_programs` in
    // kernel/bpf/syscall.c), and every program runs within one.
    fill(object, "ZONE_DEFAULTS", next.slot, &zone_defaults)?;
    Ok(next.epoch)
}

/// The idle time-outs that rules ask for, by handle.
pub(super) const RULE_TIMEOUTS: &str = "RULE_TIMEOUTS";

/// Stores the idle time-outs of the rules that have one. A rule's flows take over a new one at once.
fn store_timeouts(object: &mut Object, entries: &[Entry], handles: &[u32]) -> Result<(), DataplaneError> {
    let mut map = object.array_mut::<u32>(RULE_TIMEOUTS)?;
    let timeouts: BTreeMap<u32, u32> = entries
        .iter()
        .filter(|entry| entry.idle_timeout != 0)
        .map(|entry| (handle_of(handles, entry.rule), entry.idle_timeout))
        .collect();
    for (handle, seconds) in timeouts {
        map.set(handle, seconds, 0).map_err(|error| map_error(RULE_TIMEOUTS, &error))?;
    }
    Ok(())
}

/// Epochs wrap after four billion policies, over the one that means "none".
const fn next_epoch(epoch: u32) -> u32 {
    match epoch.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

/// Puts an inner map into a slot of a map of maps.
fn fill<M: InnerMap>(object: &mut Object, name: &'static str, slot: u32, inner: &M) -> Result<(), DataplaneError> {
    let map = object.map_mut(name)?;
    let mut outer: ArrayOfMaps<&mut MapData, M> =
        ArrayOfMaps::try_from(map).map_err(|error| map_error(name, &error))?;
    outer.set(slot, inner, 0).map_err(|error| map_error(name, &error))
}

/// Makes a trie of the size that its entries need.
fn trie<K: Pod, V: Pod>(
    name: &'static str,
    entries: impl ExactSizeIterator<Item = (Key<K>, V)>,
) -> Result<LpmTrie<MapData, K, V>, DataplaneError> {
    let mut map =
        LpmTrie::create(capacity(entries.len()), BPF_F_NO_PREALLOC).map_err(|error| map_error(name, &error))?;
    for (key, value) in entries {
        map.insert(&key, value, 0).map_err(|error| map_error(name, &error))?;
    }
    Ok(map)
}

/// The key of a zone trie: its prefix covers the slot and the first bits of the address.
fn zone_key<A: Copy>(key: &ZonePrefix<A>) -> Key<ZoneAddress<A>>
where
    ZoneAddress<A>: Pod,
{
    Key::new(32 + u32::from(key.prefix.len), ZoneAddress { slot: key.slot.to_be_bytes(), addr: key.prefix.addr })
}

/// The key of an address trie.
fn address_key<A: Pod>(prefix: &Prefix<A>) -> Key<A> {
    Key::new(u32::from(prefix.len), prefix.addr)
}

/// The hash of pairs of classes.
fn pairs(pairs: &[(PairKey, EntryList)]) -> Result<HashMap<MapData, PairKey, EntryList>, DataplaneError> {
    let mut map =
        HashMap::create(capacity(pairs.len()), BPF_F_NO_PREALLOC).map_err(|error| map_error("PAIRS", &error))?;
    for (key, list) in pairs {
        map.insert(key, list, 0).map_err(|error| map_error("PAIRS", &error))?;
    }
    Ok(map)
}

/// The array of entries, with handles in place of positions.
fn entries(entries: &[Entry], handles: &[u32]) -> Result<Array<MapData, Entry>, DataplaneError> {
    let mut map =
        Array::create(capacity(entries.len()), BPF_F_INNER_MAP).map_err(|error| map_error("ENTRIES", &error))?;
    for (index, entry) in (0u32..).zip(entries) {
        let entry = Entry { rule: handle_of(handles, entry.rule), ..*entry };
        map.set(index, entry, 0).map_err(|error| map_error("ENTRIES", &error))?;
    }
    Ok(map)
}

/// The array of defaults, likewise.
fn zone_defaults(defaults: &[ZoneDefault], handles: &[u32]) -> Result<Array<MapData, ZoneDefault>, DataplaneError> {
    let mut map = Array::create(capacity(defaults.len()), 0).map_err(|error| map_error("ZONE_DEFAULTS", &error))?;
    for (index, default) in (0u32..).zip(defaults) {
        let default = ZoneDefault { rule: handle_of(handles, default.rule), ..*default };
        map.set(index, default, 0).map_err(|error| map_error("ZONE_DEFAULTS", &error))?;
    }
    Ok(map)
}

/// The handle of a rule by its position; 0, "no rule", if the compiler named one that it did not list.
fn handle_of(handles: &[u32], position: u32) -> u32 {
    handles.get(position as usize).copied().unwrap_or_default()
}

/// Maps have at least one entry.
fn capacity(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).max(1)
}
