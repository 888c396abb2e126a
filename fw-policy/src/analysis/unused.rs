//! Address and service sets that no rule and no invariant needs, directly or through other sets.

use std::collections::{BTreeMap, BTreeSet};

use crate::Code;
use crate::diagnostic::Report;
use crate::invariant::Invariant;
use crate::policy::{NamedSet, Policy};

/// Reports them.
pub(super) fn sets(policy: &Policy, report: &mut Report) {
    let scopes = || policy.invariants.iter().flat_map(Invariant::scopes);
    let recipes = policy.rules.iter().map(|rule| &rule.recipes).chain(scopes().map(|scope| &scope.recipes));
    let addresses = recipes.flat_map(|recipes| recipes.iter().flatten()).flat_map(|recipe| recipe.names());
    let services = policy.rules.iter().map(|rule| &rule.service_sets).chain(scopes().map(|scope| &scope.service_sets));
    let services = services.flatten().map(String::as_str);
    unused("address set", &policy.named_addresses, addresses, report);
    unused("service set", &policy.named_services, services, report);
}

fn unused<'p>(kind: &str, sets: &'p [NamedSet], roots: impl Iterator<Item = &'p str>, report: &mut Report) {
    let by_name: BTreeMap<&str, &NamedSet> = sets.iter().map(|set| (set.name.as_str(), set)).collect();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = roots.collect();
    while let Some(name) = open.pop() {
        if used.insert(name) {
            open.extend(by_name.get(name).iter().flat_map(|set| set.names.iter().map(String::as_str)));
        }
    }
    for set in sets.iter().filter(|set| !used.contains(set.name.as_str())) {
        let is_named = sets.iter().any(|other| other.names.contains(&set.name));
        let who = if is_named { "only sets that no rule needs name it" } else { "nothing names it" };
        report.at(Code::Unused, set.at, format!("{kind} `{}` is not used: {who}", set.name)).help("remove it");
    }
}
