//! Rules and zone pairs with their names looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use fw_common::abi::policy::Action;

use super::Context;
use super::scope::Sets;
use super::zones::{Words, Zones};
use crate::Code;
use crate::diagnostic::Report;
use crate::level::Level;
use crate::limits::Limits;
use crate::parse::{RuleDefinition, ZonePairDefinition};
use crate::policy::{Defaults, Placed, Rule, ZonePair};
use crate::set::SetAlgebra;
use crate::set::interval::Family;
use crate::source::Location;

/// Looks up what a rule names; `None` if a key that it needs is missing, which has been reported.
pub(super) fn rule(definition: RuleDefinition, context: &Context, report: &mut Report) -> Option<Placed> {
    let sets = Sets::of(
        [definition.source.as_ref(), definition.destination.as_ref()],
        definition.services.as_ref(),
        context,
        report,
    );
    let from = definition.from.map(|names| context.zones.select(&names, Words::AnyAndLocal, report));
    let to = definition.to.map(|names| context.zones.select(&names, Words::AnyAndLocal, report));
    let action = definition.action?.value;
    let rule = Rule {
        id: definition.id?.value,
        renamed_from: definition.renamed_from.map_or_else(String::new, |id| id.value),
        description: definition.description,
        scope: sets.between(from?, to?),
        action,
        log: definition.log.unwrap_or((action != Action::Allow).then(Level::default)),
        mode: definition.mode,
        limits: Limits {
            rate: definition.rate.map(|rate| rate.value),
            max_flows: definition.max_flows.map(|max_flows| max_flows.value),
        },
        idle_timeout: definition.idle_timeout.map_or(0, |timeout| timeout.value),
        starts: definition.starts.map(|starts| starts.value),
        expires: definition.expires.map(|expires| expires.value),
        owner: definition.owner,
        ticket: definition.ticket,
    };
    let placed = Placed { rule: Arc::new(rule), at: definition.at };
    warn_about_families(&placed, report);
    Some(placed)
}

/// Warns about a rule whose source, destination and services have no address family in common.
fn warn_about_families(rule: &Placed, report: &mut Report) {
    let parts = [rule.scope.source.is_empty(), rule.scope.destination.is_empty(), rule.scope.services.is_empty()];
    if parts.contains(&true) {
        // An empty set has its own warning, or an error.
        return;
    }
    let possible = |family: &Family| {
        let sets = [rule.scope.source.family(*family), rule.scope.destination.family(*family)];
        sets.iter().all(|set| !set.is_empty()) && !rule.scope.services.family(*family).is_empty()
    };
    if !Family::ALL.iter().any(possible) {
        report
            .at(Code::MatchesNothing, rule.at, format!("rule `{}` never matches", rule.id))
            .help("its source, its destination and its services have no address family in common");
    }
}

/// Looks up what the zone pairs name, and reports pairs that have two defaults.
pub(super) fn zone_pairs(
    definitions: Vec<ZonePairDefinition>,
    defaults: Defaults,
    zones: &Zones,
    report: &mut Report,
) -> Vec<ZonePair> {
    let mut pairs: Vec<ZonePair> = Vec::with_capacity(definitions.len());
    let mut places: BTreeMap<String, Location> = BTreeMap::new();
    for definition in definitions {
        let from = definition.from.map(|name| zones.select(&[name], Words::Local, report));
        let to = definition.to.map(|name| zones.select(&[name], Words::Local, report));
        let (Some(from), Some(to), Some(action)) = (from, to, definition.action) else { continue };
        let pair = ZonePair {
            from,
            to,
            description: definition.description,
            action: action.value,
            log: definition.log.unwrap_or(defaults.log),
            at: definition.at,
        };
        if let Some(first) = places.insert(pair.id(), pair.at) {
            report
                .at(Code::Duplicate, pair.at, format!("`{}` is defined twice", pair.id()))
                .label("defined again here")
                .related(first, "first defined here");
        }
        pairs.push(pair);
    }
    pairs
}
