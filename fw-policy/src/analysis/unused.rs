//! Address and service sets, and feeds, that no rule and no invariant needs, directly or through other sets.

use std::collections::{BTreeMap, BTreeSet};

use crate::Code;
use crate::diagnostic::Report;
use crate::feed::Feed;
use crate::invariant::Invariant;
use crate::policy::{NamedSet, Policy};

/// Reports them.
pub(super) fn sets(policy: &Policy, report: &mut Report) {
    let scopes = || policy.invariants.iter().flat_map(Invariant::scopes);
    let recipes = policy.rules.iter().map(|rule| &rule.scope.recipes).chain(scopes().map(|scope| &scope.recipes));
    let addresses = recipes.flat_map(|recipes| recipes.iter().flatten()).flat_map(|recipe| recipe.names());
    let services =
        policy.rules.iter().map(|rule| &rule.scope.service_sets).chain(scopes().map(|scope| &scope.service_sets));
    let services = services.flatten().map(String::as_str);
    let feed = |feed: &Feed| NamedSet { name: feed.name.clone(), at: feed.at, names: Vec::new() };
    let feeds: Vec<NamedSet> = policy.feeds.iter().map(feed).collect();
    let used = used(&policy.named_addresses, addresses);
    unused("address set", &policy.named_addresses, &used, &policy.named_addresses, report);
    unused("feed", &feeds, &used, &policy.named_addresses, report);
    let used = self::used(&policy.named_services, services);
    unused("service set", &policy.named_services, &used, &policy.named_services, report);
}

/// The names that are needed: `roots`, and what the sets of these names name.
fn used<'p>(sets: &'p [NamedSet], roots: impl Iterator<Item = &'p str>) -> BTreeSet<&'p str> {
    let by_name: BTreeMap<&str, &NamedSet> = sets.iter().map(|set| (set.name.as_str(), set)).collect();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = roots.collect();
    while let Some(name) = open.pop() {
        if used.insert(name) {
            open.extend(by_name.get(name).iter().flat_map(|set| set.names.iter().map(String::as_str)));
        }
    }
    used
}

/// Reports those of some sets that are not used; `namers` are the sets that may name them.
fn unused(kind: &str, sets: &[NamedSet], used: &BTreeSet<&str>, namers: &[NamedSet], report: &mut Report) {
    for set in sets.iter().filter(|set| !used.contains(set.name.as_str())) {
        let is_named = namers.iter().any(|other| other.names.contains(&set.name));
        let who = if is_named { "only sets that no rule needs name it" } else { "nothing names it" };
        report.at(Code::Unused, set.at, format!("{kind} `{}` is not used: {who}", set.name)).help("remove it");
    }
}
