//! Rules that name feeds: what these hold is not known when a policy is written, and another thing tomorrow.
//!
//! So nothing is said of such a rule, and nothing that is said of another one may depend on it: it hides none and takes no other's place,
//! but may decide otherwise whatever its zones and services leave to it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::Policy;
use crate::scope::Scope;
use crate::set::SetAlgebra;

/// The policy with the most that such rules may match: any address where they name a feed, directly or through sets. And which ones.
pub(super) fn widened(policy: &Policy) -> (Cow<'_, Policy>, BTreeSet<usize>) {
    if policy.feeds.is_empty() {
        return (Cow::Borrowed(policy), BTreeSet::new());
    }
    let sets = policy.fed_sets();
    let mut widened = policy.clone();
    let mut fed = BTreeSet::new();
    for (position, placed) in widened.rules.iter_mut().enumerate() {
        let is_fed =
            placed.scope.recipes.each_ref().map(|recipe| recipe.as_ref().is_some_and(|recipe| recipe.uses(&sets)));
        if is_fed == [false; 2] {
            continue;
        }
        fed.insert(position);
        let Scope { source, destination, .. } = &mut Arc::make_mut(&mut placed.rule).scope;
        for (set, _) in [source, destination].into_iter().zip(is_fed).filter(|(_, is_fed)| *is_fed) {
            *set = Arc::new(SetAlgebra::everything());
        }
    }
    (Cow::Owned(widened), fed)
}
