//! The common form of everything that matches packets: rules of the policy and generated ones.

use std::sync::Arc;

use fw_common::abi::policy::{Action, Entry, entry_flags, zone};

use super::zones::ZoneIds;
use crate::policy::{Rule, ZoneSelector};
use crate::set::address::AddressSet;
use crate::set::interval::{Cidr, Family};
use crate::set::service::{Ports, ServiceRange, ServiceSet};

/// One thing that a rule matches. A rule of the policy has one; a generated rule may have several.
#[derive(Clone, Debug)]
pub(super) struct Clause {
    /// Position of the rule: the order in which it is matched, and its index in the list of rules.
    pub(super) rule: u32,
    pub(super) from_zones: u64,
    pub(super) to_zones: u64,
    pub(super) source: Arc<AddressSet>,
    pub(super) destination: Arc<AddressSet>,
    pub(super) services: Arc<ServiceSet>,
    pub(super) action: Action,
    pub(super) log: bool,
    pub(super) idle_timeout: u32,
}

impl Clause {
    pub(super) fn of_rule(rule: &Rule, position: u32, ids: &ZoneIds) -> Self {
        Self {
            rule: position,
            from_zones: zone_bits(&rule.from, ids),
            to_zones: zone_bits(&rule.to, ids),
            source: Arc::clone(&rule.source),
            destination: Arc::clone(&rule.destination),
            services: Arc::clone(&rule.services),
            action: rule.action,
            log: rule.log,
            idle_timeout: rule.idle_timeout,
        }
    }

    /// What of the clause concerns one address family; `None` if nothing does.
    pub(super) fn in_family(&self, family: Family) -> Option<FamilyClause> {
        let source = self.source.family(family).cover(family);
        let destination = self.destination.family(family).cover(family);
        let ranges = self.services.family(family).ranges();
        if source.is_empty() || destination.is_empty() || ranges.is_empty() {
            return None;
        }
        let entries = ranges.iter().map(|range| self.entry(range)).collect();
        Some(FamilyClause { rule: self.rule, source, destination, entries })
    }

    fn entry(&self, range: &ServiceRange) -> Entry {
        let mut flags = 0;
        if range.protocol.is_some() {
            flags |= entry_flags::PROTOCOL;
        }
        if range.ports.is_some() {
            flags |= entry_flags::PORTS;
        }
        if self.log {
            flags |= entry_flags::LOG;
        }
        let Ports { source, destination } = range.ports.unwrap_or(Ports::ALL);
        Entry {
            from_zones: self.from_zones,
            to_zones: self.to_zones,
            src_port: [source.0, source.1],
            dst_port: [destination.0, destination.1],
            protocol: range.protocol.unwrap_or(0),
            flags,
            action: self.action as u8,
            order: self.rule,
            rule: self.rule,
            idle_timeout: self.idle_timeout,
            ..Entry::default()
        }
    }
}

/// A clause in one address family.
#[derive(Clone, Debug)]
pub(super) struct FamilyClause {
    pub(super) rule: u32,
    pub(super) source: Vec<Cidr>,
    pub(super) destination: Vec<Cidr>,
    pub(super) entries: Vec<Entry>,
}

/// The bits of the zones that a rule names.
pub(super) fn zone_bits(selector: &ZoneSelector, ids: &ZoneIds) -> u64 {
    let mut bits = if selector.any { ids.all_bits() } else { 0 };
    if selector.local {
        bits |= zone::bit(zone::LOCAL);
    }
    selector.zones.iter().fold(bits, |bits, position| bits | zone::bit(ids.id(*position)))
}
