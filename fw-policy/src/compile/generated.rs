//! The generated rules as the analysis sees them: with zones by their position in the policy.

use std::sync::Arc;

use fw_common::abi::policy::zone;

use super::system_rules;
use super::zones::ZoneIds;
use crate::binding::Binding;
use crate::diagnostic::Report;
use crate::policy::Policy;
use crate::set::address::AddressSet;
use crate::set::service::ServiceSet;

/// A generated rule, which allows.
pub(crate) struct GeneratedRule {
    pub(crate) id: String,
    pub(crate) matches: Vec<GeneratedMatch>,
}

/// What it lets through between zones of the policy and the firewall itself.
pub(crate) struct GeneratedMatch {
    /// A bit for each position of a zone in the policy; the firewall itself has that of its id.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) source: AddressSet,
    pub(crate) destination: AddressSet,
    pub(crate) services: ServiceSet,
}

/// The generated rules of a firewall, in their order.
pub(crate) fn generated(policy: &Policy, binding: &Binding) -> Vec<GeneratedRule> {
    // What is wrong with the binding is reported when the policy is compiled with it.
    let mut report = Report::new(Arc::clone(&policy.sources));
    let ids = ZoneIds::assign(&policy.zones, &[]);
    let own = |bits: u64| {
        let of_policy = (0..policy.zones.len()).filter(|position| bits & zone::bit(ids.id(*position)) != 0);
        of_policy.fold(bits & zone::bit(zone::LOCAL), |own, position| own | 1 << position)
    };
    let rules = system_rules::generate(binding, &ids, &mut report).into_iter().map(|rule| {
        let matches = rule.matches.into_iter().map(|matching| GeneratedMatch {
            from: own(matching.from_zones),
            to: own(matching.to_zones),
            source: matching.source,
            destination: matching.destination,
            services: matching.services,
        });
        GeneratedRule { id: rule.id, matches: matches.collect() }
    });
    rules.collect()
}
