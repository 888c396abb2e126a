//! Counters, summed over the processors.

use aya::Pod;
use aya::maps::MapError;
use fw_common::DropReason;
use fw_common::abi::counters::{Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::interface::MAX_INTERFACES;

use super::handles;
use super::object::{Object, map_error};
use crate::dataplane::DataplaneError;

/// A per-CPU value that can be summed.
trait Summed: Pod + Default {
    fn add(&mut self, other: &Self);
}

impl Summed for Counter {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl Summed for RuleCounter {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.flows += other.flows;
        self.limited += other.limited;
        self.last_hit = self.last_hit.max(other.last_hit);
    }
}

impl Summed for InterfaceCounter {
    fn add(&mut self, other: &Self) {
        self.received.add(&other.received);
        self.forwarded.add(&other.forwarded);
        self.dropped.add(&other.dropped);
        self.passed.add(&other.passed);
    }
}

impl Summed for Happenings {
    fn add(&mut self, other: &Self) {
        self.events_lost += other.events_lost;
        self.swept += other.swept;
        self.table_full += other.table_full;
        self.handed_over += other.handed_over;
        self.answers += other.answers;
        self.answers_limited += other.answers_limited;
        self.opened += other.opened;
        self.rejudged += other.rejudged;
        self.denied_unrecorded += other.denied_unrecorded;
        self.observed_lost += other.observed_lost;
        self.captured_lost += other.captured_lost;
        self.evicted += other.evicted;
        self.limits_full += other.limits_full;
    }
}

/// Sums one entry over the processors.
fn sum<V: Summed>(
    object: &Object,
    name: &'static str,
    indexes: impl Iterator<Item = u32>,
) -> Result<Vec<V>, DataplaneError> {
    let map = object.per_cpu::<V>(name)?;
    let summed = indexes.map(|index| {
        let mut total = V::default();
        for value in map.get(&index, 0)?.iter() {
            total.add(value);
        }
        Ok(total)
    });
    summed.collect::<Result<_, MapError>>().map_err(|error| map_error(name, &error))
}

/// Dropped packets, by reason.
pub(super) fn drops(object: &Object) -> Result<Vec<Counter>, DataplaneError> {
    sum(object, "DROPS", 0..DropReason::COUNT as u32)
}

/// What each rule did.
pub(super) fn rules(object: &Object) -> Result<Vec<(u32, RuleCounter)>, DataplaneError> {
    let handles: Vec<u32> = handles::names(object)?.into_iter().map(|(handle, _)| handle).collect();
    let counters = sum(object, "RULE_COUNTERS", handles.iter().copied())?;
    Ok(handles.into_iter().zip(counters).collect())
}

/// What crossed each interface, by slot.
pub(super) fn interfaces(object: &Object) -> Result<Vec<InterfaceCounter>, DataplaneError> {
    sum(object, "INTERFACE_COUNTERS", 0..MAX_INTERFACES as u32)
}

/// Rare happenings.
pub(super) fn happenings(object: &Object) -> Result<Happenings, DataplaneError> {
    Ok(sum(object, "HAPPENINGS", 0..1)?.remove(0))
}
