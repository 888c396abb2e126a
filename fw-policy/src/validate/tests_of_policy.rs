//! The tests in the policy files: their packets must be ones that the firewall can meet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fw_common::wire::protocol;

use super::zones::{Words, Zones};
use crate::Code;
use crate::diagnostic::{Report, nearest};
use crate::parse::{RuleDefinition, TestDefinition, ZonePairDefinition};
use crate::policy::{PolicyTest, ZoneSelector, zone_pair_id};
use crate::set::SetAlgebra;
use crate::set::address::{AddressSet, Network};
use crate::source::Spanned;

pub(super) fn tests(
    definitions: Vec<TestDefinition>,
    zones: &Zones,
    ids: &BTreeSet<String>,
    report: &mut Report,
) -> Vec<PolicyTest> {
    definitions.into_iter().map(|definition| test(definition, zones, ids, report)).collect()
}

/// The ids that a test may expect, also those of rules that something else is wrong with.
pub(super) fn ids(rules: &[RuleDefinition], zone_pairs: &[ZonePairDefinition]) -> BTreeSet<String> {
    let of_rules = rules.iter().filter_map(|rule| Some(rule.id.as_ref()?.value.clone()));
    let of_pairs =
        zone_pairs.iter().filter_map(|pair| Some(zone_pair_id(&pair.from.as_ref()?.value, &pair.to.as_ref()?.value)));
    of_rules.chain(of_pairs).chain(["default".to_owned()]).collect()
}

fn test(definition: TestDefinition, zones: &Zones, ids: &BTreeSet<String>, report: &mut Report) -> PolicyTest {
    let from = zones.select(std::slice::from_ref(&definition.from), Words::Local, report);
    let to = zones.select(std::slice::from_ref(&definition.to), Words::Local, report);
    if families_fit(&definition, report) {
        check_zone(&definition.src_addr, &from, zones, report);
        check_zone(&definition.dst_addr, &to, zones, report);
    }
    if let Some(rule) = &definition.expect.rule {
        check_rule(rule, ids, report);
    }
    PolicyTest {
        name: definition.name.value,
        from,
        to,
        src_addr: definition.src_addr.value,
        dst_addr: definition.dst_addr.value,
        packet: definition.service.value,
        state: definition.state,
        expected_action: definition.expect.action,
        expected_rule: definition.expect.rule.map(|rule| rule.value),
        moment: definition.moment,
        at: definition.at,
    }
}

/// Whether addresses and service are of one address family; if not, it is reported.
fn families_fit(definition: &TestDefinition, report: &mut Report) -> bool {
    let TestDefinition { src_addr, dst_addr, service, .. } = definition;
    if src_addr.value.is_ipv4() != dst_addr.value.is_ipv4() {
        report
            .at(Code::TestPacket, dst_addr.at, "source and destination are of different address families")
            .related(src_addr.at, "the source");
        return false;
    }
    let wrong = match service.value.protocol {
        protocol::ICMP => !src_addr.value.is_ipv4(),
        protocol::ICMPV6 => src_addr.value.is_ipv4(),
        _ => false,
    };
    if wrong {
        report
            .at(Code::TestPacket, service.at, "the addresses are not of the family that this protocol belongs to")
            .related(src_addr.at, "the source")
            .help("`icmp` goes with IPv4, `icmpv6` with IPv6");
    }
    !wrong
}

/// Reports an address outside the networks of the zone that it is said to be in: such a packet is spoofed, or leaves
/// towards another zone, before any rule sees it.
fn check_zone(addr: &Spanned<IpAddr>, selector: &ZoneSelector, zones: &Zones, report: &mut Report) {
    let [position] = selector.zones.as_slice() else { return };
    let zone = zones.zone(*position);
    let Some(networks) = &zone.networks else { return };
    let sets: Vec<AddressSet> = networks.iter().map(|network| Network::set(*network)).collect();
    if !AddressSet::union(sets.iter()).contains(addr.value) {
        let message = format!("`{}` is not in zone `{}`", addr.value, zone.name);
        let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
        report
            .at(Code::TestPacket, addr.at, message)
            .related(zone.at, "the zone")
            .help(format!("the networks of the zone are {}", networks.join(", ")));
    }
}

/// Generated rules depend on `agent.toml`, so any id that looks like one may exist.
fn check_rule(rule: &Spanned<String>, ids: &BTreeSet<String>, report: &mut Report) {
    if !ids.contains(&rule.value) && !rule.value.starts_with("system-") {
        report
            .at(Code::UnknownRule, rule.at, format!("there is no rule `{}`", rule.value))
            .did_you_mean(&rule.value, nearest(&rule.value, ids.iter().map(String::as_str)));
    }
}
