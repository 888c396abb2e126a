//! From definitions to a policy: names are looked up, and what contradicts is reported.

mod invariants;
mod names;
mod rules;
mod scope;
mod tests_of_policy;
mod zones;

use std::sync::Arc;

use fw_common::abi::policy::Action;

use crate::Code;
use crate::diagnostic::Report;
use crate::feed::Feed;
use crate::level::Level;
use crate::parse::{DefaultsDefinition, Definitions, FeedDefinition, RuleDefinition};
use crate::policy::{Defaults, NamedSet, Placed, Policy};
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;
use crate::set::resolve::NamedSets;
use crate::set::service::ServiceSet;
use crate::source::{Location, Sources};

pub(crate) use names::name_fault;
use zones::Zones;

/// Everything that names are looked up in.
pub(crate) struct Context {
    zones: Zones,
    addresses: NamedSets<AddressSet>,
    services: NamedSets<ServiceSet>,
    /// Shared by all rules that do not restrict addresses or services.
    any_address: Arc<AddressSet>,
    any_service: Arc<ServiceSet>,
}

/// Checks the definitions; the policy means nothing if the report then has errors. Also what further rules of the policy can be
/// looked up in.
pub(crate) fn validate(definitions: Definitions, sources: Arc<Sources>, report: &mut Report) -> (Policy, Context) {
    names::check(&definitions, report);
    let defaults = defaults(&definitions.defaults, &sources, report);
    let feeds: Vec<Feed> = definitions.feeds.into_iter().map(feed).collect();
    let filled: Vec<&str> = feeds.iter().map(Feed::name).collect();
    let context = Context {
        addresses: NamedSets::resolve(&definitions.addresses, &filled, report),
        services: NamedSets::resolve(&definitions.services, &[], report),
        any_address: Arc::new(SetAlgebra::everything()),
        any_service: Arc::new(SetAlgebra::everything()),
        zones: Zones::new(definitions.zones, report),
    };
    let named_addresses = NamedSet::all(&definitions.addresses);
    let named_services = NamedSet::all(&definitions.services);
    let ids = tests_of_policy::ids(&definitions.rules, &definitions.zone_pairs);
    let rules: Vec<_> = definitions.rules.into_iter().filter_map(|rule| rules::rule(rule, &context, report)).collect();
    let zone_pairs = rules::zone_pairs(definitions.zone_pairs, defaults, &context.zones, report);
    let tests = tests_of_policy::tests(definitions.tests, &context.zones, &ids, report);
    let invariants = invariants::invariants(definitions.invariants, &context, report);
    let policy = Policy {
        sources,
        invariants,
        feeds: feeds.into(),
        named_addresses,
        named_services,
        defaults,
        zones: context.zones.all().to_vec(),
        rules,
        zone_pairs,
        tests,
        addresses: context.addresses.clone(),
        services: context.services.clone(),
        warnings: Vec::new(),
    };
    (policy, context)
}

fn feed(definition: FeedDefinition) -> Feed {
    let FeedDefinition { name, url, refresh, max_entries, max_age, max_bytes, integrity, at } = definition;
    Feed { name: name.value, url, refresh, max_entries, max_age, max_bytes, integrity, at }
}

impl Context {
    /// After sets of the policy have changed.
    pub(crate) fn take_addresses(&mut self, addresses: &NamedSets<AddressSet>) {
        self.addresses = addresses.clone();
    }

    /// Checks rules that take the place of others in a valid policy; nothing may be reported of them.
    pub(crate) fn rules(&self, definitions: Vec<RuleDefinition>, report: &mut Report) -> Vec<Placed> {
        names::check_rules(&definitions, report);
        definitions.into_iter().filter_map(|rule| rules::rule(rule, self, report)).collect()
    }
}

fn defaults(definitions: &[DefaultsDefinition], sources: &Sources, report: &mut Report) -> Defaults {
    let start = Location::new(0, 0..0);
    let Some(first) = definitions.first() else {
        const MESSAGE: &str = "no file has the table `[defaults]`";
        let finding = match sources.files().next() {
            Some(_) => report.at(Code::Defaults, start, MESSAGE),
            None => report.general(Code::Defaults, "the policy has no files"),
        };
        finding.help("write `[defaults]` with `action = \"drop\"` in one of them");
        return Defaults { action: Action::Drop, log: Some(Level::default()), at: start };
    };
    for again in &definitions[1..] {
        report
            .at(Code::Defaults, again.at, "the table `[defaults]` stands in a second file")
            .label("defined again here")
            .related(first.at, "first defined here");
    }
    let action = first.action.as_ref().map_or(Action::Drop, |action| action.value);
    Defaults { action, log: first.log, at: first.at }
}
