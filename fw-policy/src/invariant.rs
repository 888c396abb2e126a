//! What must hold of a policy whatever its rules are.

use std::sync::Arc;

use crate::policy::ZoneSelector;
use crate::set::address::AddressSet;
use crate::set::resolve::{NamedSets, Recipe};
use crate::set::service::ServiceSet;
use crate::source::Location;

/// `[[invariant]]`.
#[derive(Clone, Debug)]
pub(crate) struct Invariant {
    pub(crate) name: String,
    pub(crate) wants: Wants,
    pub(crate) scope: Scope,
    /// What it does not speak of.
    pub(crate) except: Vec<Scope>,
    pub(crate) at: Location,
}

/// What must become of all packets of an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// They are dropped or rejected.
    Denied,
    /// They are allowed.
    Allowed,
}

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

impl Invariant {
    /// Everything that it names: what it speaks of, and what it does not.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        std::iter::once(&self.scope).chain(&self.except)
    }

    /// Makes its sets anew, after some of those that they name have changed.
    pub(crate) fn make_sets(&mut self, sets: &NamedSets<AddressSet>) {
        for scope in std::iter::once(&mut self.scope).chain(&mut self.except) {
            let Scope { source, destination, recipes, .. } = scope;
            for (set, recipe) in [source, destination].into_iter().zip(recipes) {
                if let Some(recipe) = recipe {
                    *set = sets.make(recipe);
                }
            }
        }
    }
}
