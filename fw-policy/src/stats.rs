//! How large a policy is, who answers for it, and what of it ends soon.

use std::collections::{BTreeMap, BTreeSet};

use fw_common::abi::policy::Action;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::compile::Compiled;
use crate::policy::{Policy, Rule, ZoneSelector};
use crate::set::SetAlgebra;
use crate::set::interval::Family;
use crate::set::service::ServiceSet;

/// Rules that expire within this time are listed.
const SOON: Duration = Duration::days(30);

/// What `fwctl policy stats` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Rules of the policy, without generated ones and defaults.
    pub rules: RuleCounts,
    /// Zones, and defaults of zone pairs.
    pub zones: usize,
    /// Defaults of zone pairs.
    pub zone_pairs: usize,
    /// `[[test]]`s.
    pub tests: usize,
    /// `[[invariant]]`s.
    pub invariants: usize,
    /// Prefixes of all named address sets.
    pub prefixes: usize,
    /// Address sets, those with the most prefixes first.
    pub address_sets: Vec<SetSize>,
    /// Service sets, those with the most ranges first.
    pub service_sets: Vec<SetSize>,
    /// What may be opened from zone to zone, by their names; pairs without anything are left out.
    pub services: Vec<PairServices>,
    /// Kernel memory of the tables, in bytes.
    pub memory: Vec<TableMemory>,
    /// All of it, in bytes.
    pub memory_total: u64,
    /// Rules by owner, those with the most first; without an owner under an empty name.
    pub owners: Vec<Owner>,
    /// Different tickets.
    pub tickets: usize,
    /// Rules without a ticket.
    pub without_ticket: usize,
    /// Rules that expire within 30 days, or have expired; the earliest first.
    pub expiring: Vec<Expiring>,
}

/// Rules, by what they do and whether they do it now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleCounts {
    /// All of them.
    pub total: usize,
    /// Those that allow.
    pub allow: usize,
    /// Those that drop.
    pub drop: usize,
    /// Those that reject.
    pub reject: usize,
    /// Those that match now.
    pub active: usize,
    /// Those that have not started.
    pub pending: usize,
    /// Those that have expired.
    pub expired: usize,
    /// Those with `rate` or `max_flows`.
    pub limited: usize,
    /// Those that only observe.
    pub observing: usize,
}

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetSize {
    /// Its name.
    pub name: String,
    /// Prefixes of an address set, ranges of ports of a service set.
    pub size: usize,
}

/// What may be opened between two zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairServices {
    /// From here.
    pub from: String,
    /// To here.
    pub to: String,
    /// Rules that allow something.
    pub rules: usize,
    /// What they allow for any addresses, all together.
    pub services: Vec<String>,
}

/// A table of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableMemory {
    /// Its name.
    pub table: &'static str,
    /// In bytes.
    pub bytes: u64,
}

/// Who answers for rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The name; may be empty.
    pub name: String,
    /// How many rules.
    pub rules: usize,
}

/// A rule that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// Its id.
    pub rule: String,
    /// When it ends.
    pub expires: String,
    /// Who answers for it; may be empty.
    pub owner: String,
}

/// The tables by their numbers in [`fw_common::abi::tables::table`].
const TABLES: [&str; fw_common::abi::tables::table::COUNT as usize] =
    ["header", "roots", "nodes", "classes", "pairs", "splits", "entries", "clauses", "defaults"];

impl Policy {
    /// Counts. `compiled` is this policy, compiled for `now`.
    #[must_use]
    pub fn stats(&self, compiled: &Compiled, now: OffsetDateTime) -> Stats {
        let mut address_sets: Vec<SetSize> = self
            .addresses
            .iter()
            .map(|(name, set)| SetSize { name: name.to_owned(), size: set.prefix_count() })
            .collect();
        let mut service_sets: Vec<SetSize> = self
            .services
            .iter()
            .map(|(name, set)| SetSize {
                name: name.to_owned(),
                size: Family::ALL.iter().map(|family| set.family(*family).range_count()).max().unwrap_or(0),
            })
            .collect();
        for sets in [&mut address_sets, &mut service_sets] {
            // The earlier of equals by name stays first.
            sets.sort_by_key(|set| std::cmp::Reverse(set.size));
        }
        let tables = TABLES.into_iter().zip(compiled.memory.tables).map(|(table, bytes)| TableMemory { table, bytes });
        let tickets: BTreeSet<&str> = self.rules().map(Rule::ticket).filter(|ticket| !ticket.is_empty()).collect();
        Stats {
            rules: self.rule_counts(now),
            zones: self.zones.len(),
            zone_pairs: self.zone_pairs.len(),
            tests: self.test_count(),
            invariants: self.invariant_count(),
            prefixes: address_sets.iter().map(|set| set.size).sum(),
            address_sets,
            service_sets,
            services: self.services_by_pair(now),
            memory: tables.chain([TableMemory { table: "zones", bytes: compiled.memory.zones }]).collect(),
            memory_total: compiled.memory.total(),
            owners: self.owners(),
            tickets: tickets.len(),
            without_ticket: self.rules().filter(|rule| rule.ticket().is_empty()).count(),
            expiring: self.expiring(now),
        }
    }

    fn rule_counts(&self, now: OffsetDateTime) -> RuleCounts {
        let mut counts = RuleCounts::default();
        for rule in self.rules() {
            counts.total += 1;
            *match rule.action {
                Action::Allow => &mut counts.allow,
                Action::Drop => &mut counts.drop,
                Action::Reject => &mut counts.reject,
            } += 1;
            *match rule.starts {
                _ if rule.is_active(now) => &mut counts.active,
                Some(starts) if now < starts => &mut counts.pending,
                _ => &mut counts.expired,
            } += 1;
            counts.limited += usize::from(rule.limits.is_some());
            counts.observing += usize::from(rule.observes());
        }
        counts
    }

    fn owners(&self) -> Vec<Owner> {
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        self.rules().for_each(|rule| *by_name.entry(rule.owner()).or_default() += 1);
        let owners = by_name.into_iter().map(|(name, rules)| Owner { name: name.to_owned(), rules });
        let mut owners: Vec<Owner> = owners.collect();
        owners.sort_by_key(|owner| std::cmp::Reverse(owner.rules));
        owners
    }

    fn expiring(&self, now: OffsetDateTime) -> Vec<Expiring> {
        let horizon = now.checked_add(SOON).unwrap_or(now);
        let dated = self.rules().filter_map(|rule| Some((rule.expires?, rule)));
        let mut soon: Vec<_> = dated.filter(|(expires, _)| *expires <= horizon).collect();
        soon.sort_by_key(|(expires, _)| *expires);
        let row = |(expires, rule): (OffsetDateTime, &Rule)| Expiring {
            rule: rule.id.clone(),
            expires: expires.format(&Rfc3339).unwrap_or_default(),
            owner: rule.owner.clone(),
        };
        soon.into_iter().map(row).collect()
    }

    /// What active rules allow from zone to zone. What a rule before them forbids is not taken off: that depends on addresses.
    fn services_by_pair(&self, now: OffsetDateTime) -> Vec<PairServices> {
        let mut pairs: BTreeMap<(usize, usize), Vec<&ServiceSet>> = BTreeMap::new();
        let allows = |rule: &&Rule| rule.action == Action::Allow && !rule.observes() && rule.is_active(now);
        for rule in self.rules().filter(allows) {
            for from in self.positions(&rule.scope.from) {
                for to in self.positions(&rule.scope.to) {
                    pairs.entry((from, to)).or_default().push(&rule.scope.services);
                }
            }
        }
        let name = |position: usize| self.zones.get(position).map_or("local", |zone| zone.name.as_str()).to_owned();
        let row = |((from, to), sets): ((usize, usize), Vec<&ServiceSet>)| PairServices {
            from: name(from),
            to: name(to),
            rules: sets.len(),
            services: ServiceSet::union(sets.into_iter()).terms(),
        };
        pairs.into_iter().map(row).collect()
    }

    /// The zones that a selector means; the firewall itself is behind the last one.
    fn positions(&self, selector: &ZoneSelector) -> Vec<usize> {
        let zones = if selector.any { (0..self.zones.len()).collect() } else { selector.zones.clone() };
        zones.into_iter().chain(selector.local.then_some(self.zones.len())).collect()
    }
}
