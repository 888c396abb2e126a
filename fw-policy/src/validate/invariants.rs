//! Invariants with their names looked up.

use super::Context;
use super::scope::Sets;
use super::zones::Words;
use crate::diagnostic::Report;
use crate::invariant::{Invariant, Wants};
use crate::parse::{InvariantDefinition, ScopeDefinition};
use crate::policy::ZoneSelector;
use crate::scope::Scope;

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
    let addresses = [definition.source.as_ref(), definition.destination.as_ref()];
    Sets::of(addresses, definition.services.as_ref(), context, report).between(from, to)
}
