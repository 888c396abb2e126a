//! What must hold of a policy whatever its rules are.

use crate::scope::Scope;
use crate::set::address::AddressSet;
use crate::set::resolve::NamedSets;
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

impl Invariant {
    /// Everything that it names: what it speaks of, and what it does not.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        std::iter::once(&self.scope).chain(&self.except)
    }

    /// Makes its sets anew, after some of those that they name have changed.
    pub(crate) fn make_sets(&mut self, sets: &NamedSets<AddressSet>) {
        std::iter::once(&mut self.scope).chain(&mut self.except).for_each(|scope| scope.make_sets(sets));
    }
}
