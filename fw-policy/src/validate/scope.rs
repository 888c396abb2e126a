//! What a rule or an invariant is about, with its names looked up.

use std::sync::Arc;

use super::Context;
use crate::diagnostic::Report;
use crate::parse::Terms;
use crate::policy::ZoneSelector;
use crate::scope::Scope;
use crate::set::address::AddressSet;
use crate::set::named;
use crate::set::resolve::Recipe;
use crate::set::service::ServiceSet;

/// The sets of a scope, before its zones are known.
pub(super) struct Sets {
    addresses: [Arc<AddressSet>; 2],
    recipes: [Option<Arc<Recipe<AddressSet>>>; 2],
    services: Arc<ServiceSet>,
    service_sets: Vec<String>,
}

impl Sets {
    /// Those of the keys `source`, `destination` and `services`; a key that is not there is about everything.
    pub(super) fn of(
        [source, destination]: [Option<&Terms<AddressSet>>; 2],
        services: Option<&Terms<ServiceSet>>,
        context: &Context,
        report: &mut Report,
    ) -> Self {
        let (source, of_source) = addresses(source, "`source`", context, report);
        let (destination, of_destination) = addresses(destination, "`destination`", context, report);
        let (services, service_sets) = match services {
            Some(terms) => {
                let services = context.services.evaluate(&terms.value, "`services`", terms.at, report);
                (services, named(&terms.value).map(str::to_owned).collect())
            }
            None => (Arc::clone(&context.any_service), Vec::new()),
        };
        let recipes = [of_source, of_destination].map(|recipe| recipe.map(Arc::new));
        Self { addresses: [source, destination], recipes, services, service_sets }
    }

    /// The scope between these zones.
    pub(super) fn between(self, from: ZoneSelector, to: ZoneSelector) -> Scope {
        let Self { addresses: [source, destination], recipes, services, service_sets } = self;
        Scope { from, to, source, destination, recipes, services, service_sets }
    }
}

/// The addresses of a key, and how they are made, if they name sets.
fn addresses(
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
