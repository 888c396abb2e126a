//! Rules and zone pairs with their names looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use fw_common::abi::policy::Action;

use super::Context;
use super::zones::{Words, Zones};
use crate::Code;
use crate::diagnostic::Report;
use crate::level::Level;
use crate::limits::Limits;
use crate::parse::{RuleDefinition, Terms, ZonePairDefinition};
use crate::policy::{Defaults, Placed, Rule, ZonePair};
use crate::set::address::AddressSet;
use crate::set::interval::Family;
use crate::set::resolve::Recipe;
use crate::set::service::ServiceSet;
use crate::set::{SetAlgebra, named};
use crate::source::Location;

/// Looks up what a rule names; `None` if a key that it needs is missing, which has been reported.
pub(super) fn rule(definition: RuleDefinition, context: &Context, report: &mut Report) -> Option<Placed> {
    let (source, from_sets) = addresses(definition.source.as_ref(), "`source`", context, report);
    let (destination, to_sets) = addresses(definition.destination.as_ref(), "`destination`", context, report);
    let recipes = [from_sets, to_sets].map(|recipe| recipe.map(Arc::new));
    let (services, service_sets) = services(definition.services.as_ref(), context, report);
    let from = definition.from.map(|names| context.zones.select(&names, Words::AnyAndLocal, report));
    let to = definition.to.map(|names| context.zones.select(&names, Words::AnyAndLocal, report));
    let action = definition.action?.value;
    let rule = Rule {
        id: definition.id?.value,
        renamed_from: definition.renamed_from.map_or_else(String::new, |id| id.value),
        description: definition.description,
        from: from?,
        to: to?,
        source,
        destination,
        recipes,
        services,
        service_sets,
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

/// The addresses of a key, all if it is not there; and how they are made, if they name sets.
pub(super) fn addresses(
    terms: Option<&Terms<AddressSet>>,
    key: &str,
    context: &Context,
    report: &mut Report,
) -> (Arc<AddressSet>, Option<Recipe<AddressSet>>) {
    match terms {
        Some(terms) => (context.addresses.evaluate(&terms.value, key, terms.at, report), Recipe::new(&terms.value)),
        None => (Arc::clone(&context.any_address), None),
    }
}

/// The services of a key, all if it is not there; and the sets that they name.
pub(super) fn services(
    terms: Option<&Terms<ServiceSet>>,
    context: &Context,
    report: &mut Report,
) -> (Arc<ServiceSet>, Vec<String>) {
    match terms {
        Some(terms) => {
            let services = context.services.evaluate(&terms.value, "`services`", terms.at, report);
            (services, named(&terms.value).map(str::to_owned).collect())
        }
        None => (Arc::clone(&context.any_service), Vec::new()),
    }
}

/// Warns about a rule whose source, destination and services have no address family in common.
fn warn_about_families(rule: &Placed, report: &mut Report) {
    let parts = [rule.source.is_empty(), rule.destination.is_empty(), rule.services.is_empty()];
    if parts.contains(&true) {
        // An empty set has its own warning, or an error.
        return;
    }
    let possible = |family: &Family| {
        let sets = [rule.source.family(*family), rule.destination.family(*family)];
        sets.iter().all(|set| !set.is_empty()) && !rule.services.family(*family).is_empty()
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
