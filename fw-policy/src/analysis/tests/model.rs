//! Small policies, the packets that they can tell apart, and what is done with those: one rule after the other.

use std::fmt::Write as _;
use std::net::IpAddr;

use proptest::prelude::*;

use super::super::space::LOCAL;
use super::super::{ExamplePacket, PacketSet};
use crate::level::Level;
use crate::policy::{Policy, Rule};
use crate::set::address::number;
use crate::source::SourceFile;

/// A policy in which few addresses, ports and types occur.
pub(in crate::analysis) fn policy_text() -> impl Strategy<Value = String> {
    prop::collection::vec(rule(), 1..12).prop_map(|rules| {
        let mut text = "version = 1\n[defaults]\naction = \"drop\"\nlog = true\n\
                        [zones.a]\nnetworks = [\"10.1.0.0/29\", \"fd00:1::/125\"]\n\
                        [zones.b]\nnetworks = [\"10.2.0.0/29\", \"fd00:2::/125\"]\n[zones.c]\n\
                        [[zone_pair]]\nfrom = \"a\"\nto = \"b\"\naction = \"reject\"\nlog = false\n"
            .to_owned();
        for (number, rule) in rules.iter().enumerate() {
            let _ = write!(text, "[[rule]]\nid = \"r-{number}\"\n{rule}");
        }
        text
    })
}

pub(in crate::analysis) fn rule() -> impl Strategy<Value = String> {
    let some = |words: &'static [&'static str], most: usize| {
        prop::sample::subsequence(words, 1..=most).prop_map(|words| format!("{words:?}"))
    };
    // Mostly few values, so that rules hide each other together, and sometimes any.
    let zone = |usual: &'static str| prop_oneof![6 => Just(usual.to_owned()), 1 => Just("[\"any\"]".to_owned()), 2 => some(&["a", "b", "c", "local"], 3)];
    let sources = prop_oneof![
        5 => some(&["10.1.0.0/30", "10.1.0.4/30", "10.1.0.0/29", "fd00:1::/125"], 3),
        1 => some(&["10.1.0.1", "10.2.0.0/30", "fd00:1::1", "fd00:2::/126", "9.9.9.0/24"], 4),
    ];
    let destinations = prop_oneof![
        5 => some(&["10.2.0.0/30", "10.2.0.4/30", "10.2.0.0/29", "fd00:2::/125"], 3),
        1 => some(&["10.2.0.2", "10.1.0.0/30", "fd00:2::1", "9.9.9.0/24"], 4),
    ];
    let services = prop_oneof![
        5 => some(&["tcp", "tcp/1-2", "tcp/3-65535", "udp", "icmp", "icmpv6"], 4),
        1 => some(&["tcp/1", "tcp/2-3", "udp/1-2", "icmp/echo-request", "icmp/8/1", "proto/47"], 4),
    ];
    let with_ports = some(&["1", "2-65535", "1-65535"], 2)
        .prop_map(|ports| format!("[{{ proto = \"tcp\", port = [\"1-3\"], source_port = {ports} }}, \"udp\"]"));
    let services = prop_oneof![5 => services, 1 => with_ports];
    let actions = &[
        "action = \"allow\"",
        "action = \"allow\"",
        "action = \"drop\"",
        "action = \"drop\"",
        "action = \"reject\"\nlog = false",
        "action = \"drop\"\nlog = \"warning\"",
        "action = \"allow\"\nidle_timeout = \"1h\"",
        "action = \"allow\"\nmax_flows = { limit = 9 }",
        "action = \"drop\"\nmode = \"observe\"",
        "action = \"allow\"\nmode = \"observe\"",
    ];
    let optional = |key: &'static str, value: BoxedStrategy<String>| {
        prop::option::weighted(0.5, value)
            .prop_map(move |value| value.map(|value| format!("{key} = {value}\n")).unwrap_or_default())
    };
    let parts = (
        zone("[\"a\"]"),
        zone("[\"b\"]"),
        optional("source", sources.boxed()),
        optional("destination", destinations.boxed()),
        optional("services", services.boxed()),
        prop::sample::select(&actions[..]),
    );
    parts.prop_map(|(from, to, source, destination, services, action)| {
        format!("from = {from}\nto = {to}\n{source}{destination}{services}{action}\n")
    })
}

/// The keys of a schedule.
pub(in crate::analysis) fn schedule() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "starts = 2026-08-01\n",
        "expires = 2026-08-01\n",
        "starts = 2026-09-01\n",
        "expires = 2026-06-01\n",
    ])
}

#[derive(Clone, Copy, Debug)]
pub(in crate::analysis) struct Packet {
    pub(in crate::analysis) from: u8,
    pub(in crate::analysis) to: u8,
    pub(in crate::analysis) src_addr: IpAddr,
    pub(in crate::analysis) dst_addr: IpAddr,
    pub(in crate::analysis) protocol: u8,
    pub(in crate::analysis) src_port: u16,
    pub(in crate::analysis) dst_port: u16,
}

/// A packet of each kind that the policies of these tests can tell apart.
pub(in crate::analysis) fn packets() -> Vec<Packet> {
    let addresses: [(u8, &[&str]); 4] = [
        (0, &["10.1.0.0", "10.1.0.1", "10.1.0.5", "fd00:1::1", "fd00:1::5"]),
        (1, &["10.2.0.0", "10.2.0.2", "10.2.0.5", "fd00:2::1", "fd00:2::2", "fd00:2::5"]),
        (2, &["9.9.9.1", "10.9.0.1", "fd00:9::1"]),
        (
            LOCAL,
            &[
                "10.1.0.0",
                "10.1.0.1",
                "10.1.0.5",
                "10.2.0.0",
                "10.2.0.2",
                "10.2.0.5",
                "9.9.9.1",
                "10.9.0.1",
                "fd00:1::1",
                "fd00:1::5",
                "fd00:2::1",
                "fd00:2::2",
                "fd00:2::5",
                "fd00:9::1",
            ],
        ),
    ];
    let mut services = Vec::new();
    for dst_port in [1, 2, 3, 4] {
        services.extend([1, 2, 9].map(|src_port| (6, src_port, dst_port)));
        services.extend([0, 9].map(|src_port| (17, src_port, dst_port)));
    }
    services.extend([(47, 0, 0), (99, 0, 0)]);
    let mut packets = Vec::new();
    for (from, sources) in addresses {
        for (to, destinations) in addresses {
            let parse = |text: &&str| text.parse::<IpAddr>().unwrap();
            for src_addr in sources.iter().map(parse) {
                for dst_addr in destinations.iter().map(parse).filter(|other| other.is_ipv4() == src_addr.is_ipv4()) {
                    let own: &[_] = if src_addr.is_ipv4() {
                        &[(1, 0, 0x0800), (1, 0, 0x0801), (1, 0, 0x0d00), (58, 0, 0x8000)]
                    } else {
                        &[(58, 0, 0x8000), (1, 0, 0x0800)]
                    };
                    let packet = |(protocol, src_port, dst_port): &(u8, u16, u16)| Packet {
                        from,
                        to,
                        src_addr,
                        dst_addr,
                        protocol: *protocol,
                        src_port: *src_port,
                        dst_port: *dst_port,
                    };
                    packets.extend(services.iter().chain(own).map(packet));
                }
            }
        }
    }
    packets
}

pub(in crate::analysis) fn matches(rule: &Rule, packet: &Packet) -> bool {
    let names = |selector: &crate::policy::ZoneSelector, zone: u8| match zone {
        LOCAL => selector.local,
        zone => selector.any || selector.zones.contains(&usize::from(zone)),
    };
    let (family, _) = number(packet.src_addr);
    names(&rule.scope.from, packet.from)
        && names(&rule.scope.to, packet.to)
        && rule.scope.source.contains(packet.src_addr)
        && rule.scope.destination.contains(packet.dst_addr)
        && rule.scope.services.family(family).contains(packet.protocol, packet.src_port, packet.dst_port)
}

/// What is done with a packet by rules at some positions: action, log, idle time-out and, of a rule with limits, which one.
pub(in crate::analysis) type Done = (&'static str, Option<Level>, u32, Option<usize>);

/// By those of the rules that decide.
pub(in crate::analysis) fn done(
    policy: &Policy,
    rules: impl Iterator<Item = usize>,
    packet: &Packet,
) -> (Option<usize>, Done) {
    done_with(policy, None, rules, packet)
}

/// The same if the rule at one position were enforced in any case.
pub(in crate::analysis) fn done_with(
    policy: &Policy,
    enforced: Option<usize>,
    mut rules: impl Iterator<Item = usize>,
    packet: &Packet,
) -> (Option<usize>, Done) {
    let decides = |rule: usize| enforced == Some(rule) || !policy.rules[rule].observes();
    let found = rules.find(|rule| decides(*rule) && matches(&policy.rules[*rule], packet));
    let done = match found {
        Some(position) => {
            let rule = &policy.rules[position];
            (rule.action.name(), rule.log, rule.idle_timeout, rule.limits.is_some().then_some(position))
        }
        None if (packet.from, packet.to) == (0, 1) => ("reject", None, 0, None),
        None => ("drop", Some(Level::Info), 0, None),
    };
    (found, done)
}

pub(in crate::analysis) fn load(text: &str) -> Policy {
    let files = [SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }];
    crate::load(&files).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// An example as a packet of these tests.
pub(in crate::analysis) fn of_example(example: &ExamplePacket) -> Packet {
    let zone = |name: &str| ["a", "b", "c"].iter().position(|known| *known == name).map_or(LOCAL, |zone| zone as u8);
    let ExamplePacket { from, to, src_addr, dst_addr, protocol, src_port, dst_port } = example;
    Packet {
        from: zone(from),
        to: zone(to),
        src_addr: *src_addr,
        dst_addr: *dst_addr,
        protocol: *protocol,
        src_port: *src_port,
        dst_port: *dst_port,
    }
}

/// Whether a set holds a packet.
pub(in crate::analysis) fn is_in(set: &PacketSet, packet: &Packet) -> bool {
    holders(set, packet) > 0
}

/// How many cubes of a set hold a packet.
pub(in crate::analysis) fn holders(set: &PacketSet, packet: &Packet) -> usize {
    let (pair, point) = set.space.point_of(
        &packet.src_addr,
        &packet.dst_addr,
        (packet.from, packet.to),
        packet.protocol,
        (packet.src_port, packet.dst_port),
    );
    set.cubes.iter().filter(|cube| cube.holds(pair, point)).count()
}

/// Rules that deny and expire, with the key that says that this is meant.
pub(in crate::analysis) fn opened(text: &str) -> String {
    let rules = text.split("[[rule]]").map(|rule| {
        let denies = rule.contains("action = \"drop\"") || rule.contains("action = \"reject\"");
        let expires = rule.contains("expires = ");
        if denies && expires { format!("{rule}expires_opens = true\n") } else { rule.to_owned() }
    });
    rules.collect::<Vec<_>>().join("[[rule]]")
}
