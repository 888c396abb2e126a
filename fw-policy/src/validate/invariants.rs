//! Invariants with their names looked up.

use std::sync::Arc;

use super::Context;
use super::rules::{addresses, services};
use super::zones::Words;
use crate::diagnostic::Report;
use crate::invariant::{Invariant, Scope, Wants};
use crate::parse::{InvariantDefinition, ScopeDefinition};
use crate::policy::ZoneSelector;

pub(super) fn invariants(
    definitions: Vec<InvariantDefinition>,
    context: &Context,
    report: &mut Report,
) -> Vec<Invariant> {
    definitions.into_iter().map(|definition| invariant(definition, context, report)).collect()
}

fn invariant(definition: InvariantDefinition, context: &Context, report: &mut Report) -> Invariant {
    let InvariantDefinition { name, wants, scope: outer, except, at } = definition;
    let scope = scope(outer, context, report);
    let except = except.into_iter().map(|exception| self::scope(exception, context, report)).collect();
    let name = name.map_or_else(
        || {
            let word = match wants {
                Wants::Denied => "deny_all",
                Wants::Allowed => "allow_all",
            };
            format!("{word} from {} to {}", scope.from.display, scope.to.display)
        },
        |name| name.value,
    );
    Invariant { name, wants, scope, except, at }
}

fn scope(definition: ScopeDefinition, context: &Context, report: &mut Report) -> Scope {
    let everywhere = || ZoneSelector { any: true, local: true, ..ZoneSelector::default() };
    let mut zones = |names: Option<Vec<_>>| match names {
        Some(names) => context.zones.select(&names, Words::AnyAndLocal, report),
        None => everywhere(),
    };
    let (from, to) = (zones(definition.from), zones(definition.to));
    let (source, from_sets) = addresses(definition.source.as_ref(), "`source`", context, report);
    let (destination, to_sets) = addresses(definition.destination.as_ref(), "`destination`", context, report);
    let (services, service_sets) = services(definition.services.as_ref(), context, report);
    let recipes = [from_sets, to_sets].map(|recipe| recipe.map(Arc::new));
    Scope { from, to, source, destination, recipes, services, service_sets }
}
