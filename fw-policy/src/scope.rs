//! Which packets a rule, an invariant or an exception of it is about.

use std::sync::Arc;

use crate::policy::ZoneSelector;
use crate::set::address::AddressSet;
use crate::set::resolve::{NamedSets, Recipe};
use crate::set::service::ServiceSet;

/// Packets by what a rule can say of them.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) from: ZoneSelector,
    pub(crate) to: ZoneSelector,
    pub(crate) source: Arc<AddressSet>,
    pub(crate) destination: Arc<AddressSet>,
    /// How source and destination are made, if they name sets.
    pub(crate) recipes: [Option<Arc<Recipe<AddressSet>>>; 2],
    pub(crate) services: Arc<ServiceSet>,
    /// The service sets that it names.
    pub(crate) service_sets: Vec<String>,
}

impl Scope {
    /// Makes its sets anew, after some of those that it names have changed.
    pub(crate) fn make_sets(&mut self, sets: &NamedSets<AddressSet>) {
        let Self { source, destination, recipes, .. } = self;
        for (set, recipe) in [source, destination].into_iter().zip(recipes) {
            if let Some(recipe) = recipe {
                *set = sets.make(recipe);
            }
        }
    }
}
