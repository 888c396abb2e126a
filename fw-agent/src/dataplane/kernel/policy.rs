//! Loading a policy: fill the idle slot, then switch.

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{ArrayOfMaps, InnerMap, MapData};
use fw_common::abi::config::Active;
use fw_common::abi::limit::RuleLimit;
use fw_common::abi::policy::{MAX_RULES, ZoneAddress, ZoneEntry};
use fw_policy::{Compiled, RuleInfos, Tables, ZonePrefix};

use super::memory::Mapped;
use super::object::{Object, map_error};
use super::{handles, tables};
use crate::dataplane::DataplaneError;

/// Flag of `include/uapi/linux/bpf.h`.
const BPF_F_NO_PREALLOC: u32 = 1;

/// Loads the tables of a policy and switches to them; the new epoch.
///
/// Nothing that judges packets now is touched before the switch, which is one store. A packet that is under way at that
/// moment goes on with the old tables; the last step waits until there is none, so that the next policy may fill their
/// slot.
pub(super) fn apply(object: &mut Object, policy: &Compiled) -> Result<u32, DataplaneError> {
    settle(object)?;
    let next = match Active::from_word(object.config()?.active) {
        Some(active) => Active { epoch: next_epoch(active.epoch), slot: 1 - active.slot },
        None => Active { epoch: 1, slot: 0 },
    };
    let handles = handles::assign(object, &policy.rules)?;
    fill_zones(object, next.slot, &policy.tables)?;
    let loaded = tables::fill(object, next.slot, &policy.tables, &handles)?;
    object
        .array_mut::<[u8; 32]>("DIGESTS")?
        .set(next.slot, policy.digest, 0)
        .map_err(|error| map_error("DIGESTS", &error))?;
    store_timeouts(object, &policy.tables, &handles)?;
    store_limits(object, &policy.rules, &handles)?;
    object.activate(next)?;
    object.unsettled = Some(loaded);
    if let Err(error) = settle(object) {
        tracing::warn!(%error, "the policy is in force; before another one is loaded, the packets of the one before are waited for");
    }
    Ok(next.epoch)
}

/// Waits until the last switch is over for every packet.
fn settle(object: &mut Object) -> Result<(), DataplaneError> {
    let Some(loaded) = object.unsettled.take() else { return Ok(()) };
    let waited = loaded.wait(object);
    if waited.is_err() {
        object.unsettled = Some(loaded);
    }
    waited
}

/// The idle time-outs that rules ask for, by handle.
pub(super) const RULE_TIMEOUTS: &str = "RULE_TIMEOUTS";

/// Stores the idle time-outs of the rules that have one. A rule's flows take over a new one at once.
fn store_timeouts(object: &Object, tables: &Tables, handles: &[u32]) -> Result<(), DataplaneError> {
    let timeouts: BTreeMap<u32, u32> = tables
        .clauses
        .iter()
        .filter(|clause| clause.idle_timeout != 0)
        .filter_map(|clause| Some((*handles.get(clause.rule as usize)?, clause.idle_timeout)))
        .collect();
    let data = object.array_data(RULE_TIMEOUTS)?;
    let mut map =
        Mapped::<u64>::new(data.fd(), MAX_RULES as usize).map_err(|error| map_error(RULE_TIMEOUTS, &error))?;
    for (handle, seconds) in timeouts {
        map.set(handle as usize, u64::from(seconds));
    }
    Ok(())
}

/// What rules limit.
const RULE_LIMITS: &str = "RULE_LIMITS";

/// Stores the limits of the rules that have some. What has been counted for a rule goes on counting.
fn store_limits(object: &Object, rules: &RuleInfos, handles: &[u32]) -> Result<(), DataplaneError> {
    let data = object.array_data(RULE_LIMITS)?;
    let mut map =
        Mapped::<RuleLimit>::new(data.fd(), MAX_RULES as usize).map_err(|error| map_error(RULE_LIMITS, &error))?;
    for (rule, handle) in rules.iter().zip(handles).filter(|(rule, _)| rule.limits.is_some()) {
        map.set(*handle as usize, rule.limits.to_table());
    }
    Ok(())
}

/// What a slot holds of zones.
pub(super) type Zones = (Vec<(ZonePrefix<[u8; 4]>, ZoneEntry)>, Vec<(ZonePrefix<[u8; 16]>, ZoneEntry)>);

/// Fills the tries of a slot, unless they are as they must be: most changes of a policy leave the zones as they are, and each
/// trie that is set waits for a grace period.
fn fill_zones(object: &mut Object, slot: u32, tables: &Tables) -> Result<(), DataplaneError> {
    let Tables { zones4, zones6, .. } = tables;
    let held = object.zones(slot).take();
    if held.as_ref().is_some_and(|(held4, held6)| held4 == zones4 && held6 == zones6) {
        *object.zones(slot) = held;
        return Ok(());
    }
    let trie4 = trie("ZONES4", zones4.iter().map(|(key, value)| (zone_key(key), *value)))?;
    fill(object, "ZONES4", slot, &trie4)?;
    let trie6 = trie("ZONES6", zones6.iter().map(|(key, value)| (zone_key(key), *value)))?;
    fill(object, "ZONES6", slot, &trie6)?;
    *object.zones(slot) = Some((zones4.clone(), zones6.clone()));
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

/// Maps have at least one entry.
fn capacity(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).max(1)
}
