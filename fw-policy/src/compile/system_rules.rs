//! The generated rules, which stand before the rules of the policy: what the host itself must be able to do under any
//! policy. They are visible like other rules, and `agent.toml` can disable them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fw_common::abi::policy::{Action, zone};
use fw_common::wire::protocol;

use super::clause::Clause;
use super::zones::ZoneIds;
use crate::Code;
use crate::binding::{Binding, ManagementBinding, ProbeBinding, ProbeService};
use crate::diagnostic::{Report, suggestion};
use crate::set::address::{self, AddressSet, number};
use crate::set::service::{Ports, ServiceSet};
use crate::set::{SetAlgebra, TermError, service_term};

/// Judged in the program, with checks that the policy language has no words for (hop limit 255: RFC 4861, section 6.1).
const NEIGHBOUR_DISCOVERY: &str = "system-neighbour-discovery";

const LOCAL: u64 = zone::bit(zone::LOCAL);
const LINK: u64 = zone::bit(zone::LINK);
const MANAGEMENT: u64 = zone::bit(zone::MANAGEMENT);

/// A generated rule.
pub(super) struct SystemRule {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) matches: Vec<Match>,
}

/// What it lets through.
pub(super) struct Match {
    pub(super) from_zones: u64,
    pub(super) to_zones: u64,
    pub(super) source: AddressSet,
    pub(super) destination: AddressSet,
    pub(super) services: ServiceSet,
}

impl Match {
    fn new(from_zones: u64, to_zones: u64, services: ServiceSet) -> Self {
        let any = AddressSet::everything;
        Self { from_zones, to_zones, source: any(), destination: any(), services }
    }

    /// From the host to a service of the instance.
    fn to_instance_service(v4: Ipv4Addr, v6: Ipv6Addr, services: ServiceSet) -> Self {
        let destination = AddressSet::union([single(v4.into()), single(v6.into())].iter());
        Self { destination, ..Self::new(LOCAL, LINK, services) }
    }
}

impl SystemRule {
    fn new(id: &str, description: &str, from: &'static str, to: &'static str, matches: Vec<Match>) -> Self {
        Self { id: id.to_owned(), description: description.to_owned(), from, to, matches }
    }

    /// Lets a probe out.
    fn of_probe(probe: &ProbeBinding, elsewhere: u64) -> Self {
        let ProbeBinding { name, target, service } = probe;
        let (what, services) = match (service, target) {
            (ProbeService::Echo, IpAddr::V4(_)) => ("an echo of".to_owned(), echo_request(protocol::ICMP, 8)),
            (ProbeService::Echo, IpAddr::V6(_)) => ("an echo of".to_owned(), echo_request(protocol::ICMPV6, 128)),
            (ProbeService::Tcp(port), _) => (format!("port {port} of"), tcp(*port)),
        };
        Self::new(
            &format!("system-probe-{name}"),
            &format!("The host probes {what} {target}"),
            "local",
            "any",
            vec![Match { destination: single(*target), ..Match::new(LOCAL, elsewhere, services) }],
        )
    }

    /// The rule as clauses, at its position among all rules.
    pub(super) fn clauses(self, position: u32) -> impl Iterator<Item = Clause> {
        self.matches.into_iter().map(move |matching| Clause {
            rule: position,
            from_zones: matching.from_zones,
            to_zones: matching.to_zones,
            source: Arc::new(matching.source),
            destination: Arc::new(matching.destination),
            services: Arc::new(matching.services),
            action: Action::Allow,
            log: false,
            limited: false,
            observes: false,
            idle_timeout: 0,
        })
    }
}

/// The generated rules of a firewall, without those that `agent.toml` disables.
pub(super) fn generate(binding: &Binding, ids: &ZoneIds, report: &mut Report) -> Vec<SystemRule> {
    let elsewhere = ids.all_bits() | LINK | MANAGEMENT;
    let mut rules = of_the_host(elsewhere);
    rules.extend(binding.probes.iter().map(|probe| SystemRule::of_probe(probe, elsewhere)));
    if let Some(management) = &binding.management {
        rules.extend(of_management(management, report));
    }
    check_disabled(binding, &rules, report);
    rules.retain(|rule| !binding.disabled_system_rules.contains(&rule.id));
    rules
}

fn check_disabled(binding: &Binding, rules: &[SystemRule], report: &mut Report) {
    for id in &binding.disabled_system_rules {
        if id == NEIGHBOUR_DISCOVERY {
            let message = format!("agent.toml: `{id}` cannot be disabled: IPv6 does not work without it");
            report.general(Code::UnknownSystemRule, message);
        } else if !rules.iter().any(|rule| rule.id == *id) {
            let help = suggestion(id, rules.iter().map(|rule| rule.id.as_str()));
            report
                .general(Code::UnknownSystemRule, format!("agent.toml: there is no generated rule `{id}`"))
                .help_if(help);
        }
    }
}

fn single(addr: IpAddr) -> AddressSet {
    let (family, first) = number(addr);
    AddressSet::range(family, first, first)
}

/// An echo request: code 0 of this type (RFC 792; RFC 4443, section 4.1).
fn echo_request(number: u8, kind: u8) -> ServiceSet {
    let packet = u16::from(kind) << 8;
    ServiceSet::of(number, &[Ports::to((packet, packet))])
}

fn tcp(port: u16) -> ServiceSet {
    ServiceSet::of(protocol::TCP, &[Ports::to((port, port))])
}

fn udp(port: u16) -> ServiceSet {
    ServiceSet::of(protocol::UDP, &[Ports::to((port, port))])
}

fn udp_between(source: u16, destination: u16) -> ServiceSet {
    ServiceSet::of(protocol::UDP, &[Ports { source: (source, source), destination: (destination, destination) }])
}

/// Addresses: Amazon VPC and EC2 User Guides, "Instance Metadata Service", "Amazon DNS server", "Amazon Time Sync".
fn of_the_host(elsewhere: u64) -> Vec<SystemRule> {
    // A client without an address sends from 0.0.0.0 and is answered at 255.255.255.255, both of the link.
    let client = LOCAL | LINK;
    let ec2 = |last| Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last);
    let link_service = |last| Ipv4Addr::new(169, 254, 169, last);
    vec![
        SystemRule::new(
            "system-dhcp",
            "The host obtains and renews its IPv4 addresses",
            "local",
            "any",
            vec![
                Match::new(client, elsewhere, udp_between(68, 67)),
                Match::new(elsewhere, client, udp_between(67, 68)),
            ],
        ),
        SystemRule::new(
            "system-dhcpv6",
            "The host obtains and renews its IPv6 addresses",
            "local",
            "any",
            vec![
                Match::new(client, elsewhere, udp_between(546, 547)),
                Match::new(elsewhere, client, udp_between(547, 546)),
            ],
        ),
        SystemRule::new(
            NEIGHBOUR_DISCOVERY,
            "ARP, neighbour discovery and router advertisements, judged before any rule",
            "(link)",
            "(link)",
            Vec::new(),
        ),
        SystemRule::new(
            "system-metadata",
            "The host reads the instance metadata",
            "local",
            "(link)",
            vec![Match::to_instance_service(link_service(254), ec2(0x254), tcp(80))],
        ),
        SystemRule::new(
            "system-dns",
            "The host resolves names through the resolver of its VPC",
            "local",
            "(link)",
            vec![Match::to_instance_service(
                link_service(253),
                ec2(0x253),
                ServiceSet::union([udp(53), tcp(53)].iter()),
            )],
        ),
        SystemRule::new(
            "system-time",
            "The host sets its clock",
            "local",
            "(link)",
            vec![Match::to_instance_service(link_service(123), ec2(0x123), udp(123))],
        ),
    ]
}

fn of_management(management: &ManagementBinding, report: &mut Report) -> Vec<SystemRule> {
    let mut rules = Vec::with_capacity(management.allow.len() + 1);
    for (number, written) in (1..).zip(&management.allow) {
        match parse_allow(written) {
            Ok((services, source)) => rules.push(SystemRule::new(
                &management_rule_id(number),
                &format!("[management] allow: {written}"),
                "(management)",
                "local",
                vec![Match { source, ..Match::new(MANAGEMENT, LOCAL, services) }],
            )),
            Err(AllowError { message, help }) => {
                report
                    .general(
                        Code::ManagementAllow,
                        format!("agent.toml: `[management] allow` has `{written}`: {message}"),
                    )
                    .help(help);
            }
        }
    }
    rules.push(SystemRule::new(
        "system-management-out",
        "The host reaches AWS endpoints, logs and metrics through the management interface",
        "local",
        "(management)",
        vec![Match::new(LOCAL, MANAGEMENT, ServiceSet::everything())],
    ));
    rules
}

/// The id of the rule that keeps an entry of `[management] allow`, counted from 1.
pub(super) fn management_rule_id(number: usize) -> String {
    format!("system-management-{number}")
}

/// Why a text is no entry of `[management] allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowError {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// How an entry is written.
const ALLOW_FORM: &str = "write a service and where it may come from: `tcp/9477 from 10.3.0.0/16`";

/// Reads an entry of `[management] allow` without using it.
///
/// # Errors
/// If it is not `SERVICE from ADDRESS`.
pub fn check_allow(written: &str) -> Result<(), AllowError> {
    parse_allow(written).map(drop)
}

/// Reads `SERVICE from ADDRESS`.
pub(super) fn parse_allow(written: &str) -> Result<(ServiceSet, AddressSet), AllowError> {
    let wrong = |error: TermError| {
        // What is said of terms in policies speaks of sets, which there are none of here; but that a prefix may be another one is right.
        let help = error.help.filter(|_| error.code == Code::HostBits).unwrap_or_else(|| ALLOW_FORM.to_owned());
        AllowError { message: error.message, help }
    };
    let (service, source) = written
        .split_once(" from ")
        .ok_or_else(|| AllowError { message: "there is no ` from `".to_owned(), help: ALLOW_FORM.to_owned() })?;
    let services = service_term::parse_literal(service.trim()).map_err(wrong)?;
    let source = address::parse_literal(source.trim()).map_err(wrong)?;
    Ok((services, source))
}
