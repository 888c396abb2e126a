//! What must stay reachable under any policy: what `[management] allow` says, as packets that can be asked about.

use std::borrow::Cow;

use fw_common::abi::policy::{Action, zone};
use fw_common::policy::Query;
use fw_common::wire::Address;

use super::Compiled;
use super::system_rules::{management_rule_id, parse_allow};
use crate::set::address::{AddressSet, address};
use crate::set::interval::Family;
use crate::set::service::ServiceSet;

/// What a policy does to a packet that `agent.toml` promises to let in.
#[derive(Clone, Debug)]
pub struct BrokenPromise<'c> {
    /// The entry of `[management] allow`, as written.
    pub entry: &'c str,
    /// Id of the generated rule that would keep it.
    pub rule: String,
    /// The packet.
    pub query: Query,
    /// Id of the rule or default that denies it.
    pub denied_by: Cow<'c, str>,
}

impl Compiled {
    /// The first packet from the management interface that `[management] allow` promises to let in and this policy does not.
    ///
    /// Asked are the corners of each entry: the first and the last of its addresses, and of its ports with each protocol.
    #[must_use]
    pub fn broken_promise(&self) -> Option<BrokenPromise<'_>> {
        let management = self.binding.management.as_ref()?;
        (1..).zip(&management.allow).find_map(|(number, entry)| {
            // An entry that cannot be read does not compile.
            let (services, source) = parse_allow(entry).ok()?;
            let denied = corners(&services, &source).find_map(|query| Some((query, self.denied_by(&query)?)));
            denied.map(|(query, denied_by)| BrokenPromise { entry, rule: management_rule_id(number), query, denied_by })
        })
    }

    /// Id of the rule or default that denies a packet, or the number of one that the policy does not tell of; `None` if the packet is
    /// allowed.
    #[must_use]
    pub fn denied_by(&self, query: &Query) -> Option<Cow<'_, str>> {
        let decision = self.tables.classify(query);
        if decision.action == Action::Allow {
            return None;
        }
        let rule = self.rules.get(decision.rule as usize);
        Some(rule.map_or_else(|| Cow::Owned(format!("#{}", decision.rule)), |rule| Cow::Borrowed(rule.id.as_str())))
    }

    /// Whether the same may reach the firewall through the management interface under another policy. Policy files cannot name
    /// that interface, so this is a matter of `agent.toml` alone.
    #[must_use]
    pub fn has_same_access(&self, other: &Self) -> bool {
        self.binding.management == other.binding.management
            && self.binding.disabled_system_rules == other.binding.disabled_system_rules
    }
}

/// The corners of what an entry lets in.
fn corners(services: &ServiceSet, source: &AddressSet) -> impl Iterator<Item = Query> {
    [Family::V4, Family::V6].into_iter().flat_map(|family| {
        let addresses: Vec<u128> =
            source.family(family).ranges().iter().flat_map(|(first, last)| [*first, *last]).collect();
        let ports = services.family(family).protocols().flat_map(|(protocol, rectangles)| {
            rectangles.iter().flat_map(move |ports| {
                let (sources, destinations) = (ports.source, ports.destination);
                [sources.0, sources.1].into_iter().flat_map(move |src_port| {
                    [destinations.0, destinations.1].into_iter().map(move |dst_port| (protocol, src_port, dst_port))
                })
            })
        });
        let ports: Vec<(u8, u16, u16)> = ports.collect();
        addresses.into_iter().flat_map(move |number| {
            let src_addr: Address = address(family, number).into();
            ports.clone().into_iter().map(move |(protocol, src_port, dst_port)| Query {
                src_addr,
                // One of our own: which one makes no difference to what is promised.
                dst_addr: address(family, 0).into(),
                from_zone: zone::MANAGEMENT,
                to_zone: zone::LOCAL,
                protocol,
                src_port,
                dst_port,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::RuleInfos;
    use crate::binding::{Binding, InterfaceBinding, ManagementBinding};
    use crate::source::SourceFile;

    const ALLOW: [&str; 4] = [
        "tcp/22 from 10.3.0.0/16",
        "tcp/9477-9480 from fd00::/8",
        "icmp/echo-request from 0.0.0.0/0",
        "sctp from 10.4.0.1",
    ];

    fn compile(policy: &str, disabled: &[&str]) -> Compiled {
        let text = format!("version = 1\n{policy}");
        let policy = crate::load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap();
        let binding = Binding {
            interfaces: vec![
                InterfaceBinding { name: "ens6".to_owned(), zones: vec!["a".to_owned()] },
                InterfaceBinding { name: "ens5".to_owned(), zones: vec![] },
            ],
            management: Some(ManagementBinding { slot: 1, allow: ALLOW.map(str::to_owned).to_vec() }),
            disabled_system_rules: disabled.iter().map(|id| (*id).to_owned()).collect(),
            probes: Vec::new(),
        };
        policy.compile(&binding, OffsetDateTime::UNIX_EPOCH).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
    }

    /// Policies that deny whatever a policy can.
    const HOSTILE: [&str; 6] = [
        "[defaults]\naction = \"drop\"\n[zones.a]\n",
        "[defaults]\naction = \"reject\"\n[zones.a]\nnetworks = [\"0.0.0.0/0\", \"::/0\"]\n",
        "[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"no\"\nfrom = [\"any\", \"local\"]\nto = [\"any\", \"local\"]\naction = \"drop\"\n",
        "[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"no\"\nfrom = [\"any\"]\nto = [\"local\"]\nsource = [\"10.3.0.0/16\", \"10.4.0.1\", \"fd00::/8\"]\nservices = [\"tcp/22\", \"tcp/9477-9480\", \"icmp/echo-request\"]\naction = \"reject\"\n",
        "[defaults]\naction = \"drop\"\n[zones.a]\nnetworks = [\"10.3.0.0/16\", \"10.4.0.0/16\"]\n[[zone_pair]]\nfrom = \"a\"\nto = \"local\"\naction = \"drop\"\n",
        "[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"none\"\nfrom = [\"a\"]\nto = [\"local\"]\naction = \"allow\"\nmax_flows = { limit = 1, per = \"rule\" }\n[[rule]]\nid = \"no\"\nfrom = [\"any\"]\nto = [\"local\"]\naction = \"drop\"\n",
    ];

    #[test]
    fn no_policy_cuts_what_agent_toml_promises() {
        for policy in HOSTILE {
            let compiled = compile(policy, &[]);
            let broken = compiled.broken_promise();
            assert!(broken.is_none(), "{policy}: {broken:?}");
        }
    }

    #[test]
    fn no_policy_lets_in_what_agent_toml_does_not_say() {
        let generous = "[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"all\"\nfrom = [\"any\"]\nto = [\"any\", \"local\"]\naction = \"allow\"\n";
        let (services, source) = parse_allow("tcp/23 from 10.3.0.0/16").unwrap();
        for policy in HOSTILE.into_iter().chain([generous]) {
            let compiled = compile(policy, &[]);
            assert!(corners(&services, &source).all(|query| compiled.denied_by(&query).is_some()), "{policy}");
        }
    }

    #[test]
    fn a_denial_by_a_rule_that_is_not_told_of_is_one() {
        let mut compiled = compile(HOSTILE[0], &["system-management-1"]);
        compiled.rules = RuleInfos::default();
        let broken = compiled.broken_promise().unwrap();
        assert!(broken.denied_by.starts_with('#'), "{broken:?}");
    }

    #[test]
    fn a_disabled_rule_breaks_a_promise_and_is_named() {
        for (number, entry) in (1..).zip(ALLOW) {
            let id = management_rule_id(number);
            let compiled = compile(HOSTILE[0], &[&id]);
            let broken = compiled.broken_promise().unwrap();
            assert_eq!(
                (broken.entry, broken.rule.as_str(), broken.denied_by.as_ref()),
                (entry, id.as_str(), "default")
            );
        }
        assert!(!compile(HOSTILE[0], &["system-management-1"]).has_same_access(&compile(HOSTILE[0], &[])));
        assert!(compile(HOSTILE[0], &[]).has_same_access(&compile(HOSTILE[1], &[])));
    }
}
