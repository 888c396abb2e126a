//! The common form of everything that matches packets: rules of the policy and generated ones.

use std::sync::Arc;

use fw_common::abi::policy::{Action, zone};
use fw_common::abi::tables::{self, LIMITED, LOG, OBSERVES};

use super::zones::ZoneIds;
use crate::policy::{Rule, ZoneSelector};
use crate::set::address::AddressSet;
use crate::set::service::ServiceSet;

/// One thing that a rule matches. A rule of the policy has one; a generated rule may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    /// Position of the rule in the list of rules. Clauses are matched in their order.
    pub(super) rule: u32,
    pub(super) from_zones: u64,
    pub(super) to_zones: u64,
    pub(super) source: Arc<AddressSet>,
    pub(super) destination: Arc<AddressSet>,
    pub(super) services: Arc<ServiceSet>,
    pub(super) action: Action,
    pub(super) log: bool,
    pub(super) limited: bool,
    /// It does not decide.
    pub(super) observes: bool,
    pub(super) idle_timeout: u32,
}

impl Clause {
    pub(super) fn of_rule(rule: &Rule, position: u32, ids: &ZoneIds) -> Self {
        Self {
            rule: position,
            from_zones: zone_bits(&rule.scope.from, ids),
            to_zones: zone_bits(&rule.scope.to, ids),
            source: Arc::clone(&rule.scope.source),
            destination: Arc::clone(&rule.scope.destination),
            services: Arc::clone(&rule.scope.services),
            action: rule.action,
            log: rule.log.is_some(),
            limited: rule.limits.is_some(),
            observes: rule.observes(),
            idle_timeout: rule.idle_timeout,
        }
    }

    /// The clause as the data plane has it.
    pub(super) fn to_table(&self) -> tables::Clause {
        tables::Clause {
            from_zones: self.from_zones,
            to_zones: self.to_zones,
            rule: self.rule,
            idle_timeout: self.idle_timeout,
            action: self.action as u8,
            flags: if self.log { LOG } else { 0 }
                | if self.limited { LIMITED } else { 0 }
                | if self.observes { OBSERVES } else { 0 },
            ..tables::Clause::default()
        }
    }
}

/// The bits of the zones that a rule names.
pub(super) fn zone_bits(selector: &ZoneSelector, ids: &ZoneIds) -> u64 {
    let mut bits = if selector.any { ids.all_bits() } else { 0 };
    if selector.local {
        bits |= zone::bit(zone::LOCAL);
    }
    selector.zones.iter().fold(bits, |bits, position| bits | zone::bit(ids.id(*position)))
}
