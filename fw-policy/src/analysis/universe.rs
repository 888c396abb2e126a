//! Which packets there are: those that can come as far as the rules.
//!
//! What the data plane drops before it asks for a rule is in no packet set, so that no rule is held alive by it and no example is such a
//! packet: sources and destinations outside the networks of their zone, addresses that nobody has (`fw_common::anomaly`), ports of zero,
//! ICMP types that open no flow, extension headers of IPv6. Addresses for documentation are taken for possible although the data plane
//! drops them: policies are explained with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::wire::protocol;

use crate::compile::link;
use crate::policy::Zone;
use crate::set::SetAlgebra;
use crate::set::address::{AddressSet, Network, number};
use crate::set::icmp::{self, Role};
use crate::set::interval::{Family, IntervalSet};
use crate::set::service::{ALL_PORTS, PortRange};

/// The addresses of each zone, in the order of the zones, and then those of the firewall itself.
pub(super) fn addresses(zones: &[Zone]) -> Vec<AddressSet> {
    let networks: Vec<AddressSet> =
        zones.iter().filter_map(|zone| zone.networks.as_ref()).flatten().map(|network| network.set()).collect();
    let link = link::networks().map(Network::set);
    // The rest of an interface has neither what is of the link nor what belongs to a zone with networks.
    let rest = AddressSet::union(assigned().iter()).subtract(&AddressSet::union(networks.iter().chain(&link)));
    let of_zone = |zone: &Zone| match &zone.networks {
        Some(networks) => AddressSet::union(networks.iter().map(|network| network.set()).collect::<Vec<_>>().iter()),
        None => rest.clone(),
    };
    let own = AddressSet::union(assigned().iter());
    zones.iter().map(of_zone).chain([own]).collect()
}

/// Addresses that a host may have: what is left of the special-purpose registries (RFC 6890) and of the IPv6 address space.
fn assigned() -> [AddressSet; 9] {
    let range = |first: IpAddr, last: IpAddr| {
        let (family, first) = number(first);
        AddressSet::range(family, first, number(last).1)
    };
    let v4 = |a, b| range(Ipv4Addr::new(a, 0, 0, 0).into(), Ipv4Addr::new(b, 255, 255, 255).into());
    let v6 = |first: [u16; 3], len: u8| {
        let first = Ipv6Addr::new(first[0], first[1], first[2], 0, 0, 0, 0, 0);
        let last = first.to_bits() | Family::V6.host_mask(len);
        range(first.into(), Ipv6Addr::from_bits(last).into())
    };
    [
        v4(1, 126),
        v4(128, 223),
        v6([0x2000, 0, 0], 3),
        v6([0xfc00, 0, 0], 7),
        v6([0xfe80, 0, 0], 10),
        v6([0x64, 0xff9b, 0], 96),
        v6([0x64, 0xff9b, 1], 48),
        v6([0x100, 0, 0], 64),
        v6([0x5f00, 0, 0], 16),
    ]
}

/// Protocol and destination port, or ICMP type and code, as one number.
pub(super) fn service(protocol: u8, destination: u16) -> u128 {
    u128::from(protocol) << 16 | u128::from(destination)
}

/// The highest number of a service.
pub(super) const LAST_SERVICE: u128 = (1 << 24) - 1;

/// The services that can open a flow, by source ports.
pub(super) fn services(family: Family) -> [(IntervalSet, PortRange); 2] {
    let whole = |number: u8| (service(number, 0), service(number, u16::MAX));
    let zero = |number: u8| (service(number, 0), service(number, 0));
    let all = IntervalSet::from_ranges(vec![(0, LAST_SERVICE)]);
    // Source port zero is possible in UDP alone (RFC 768).
    let without_zero = [protocol::TCP, protocol::SCTP];
    let numbered = IntervalSet::from_ranges(without_zero.map(whole).to_vec());
    let mut others = without_zero.map(whole).to_vec();
    others.push(zero(protocol::UDP));
    // Group membership is the business of the link.
    others.push(whole(protocol::IGMP));
    let icmpv6 = family == Family::V6;
    let number = if icmpv6 { protocol::ICMPV6 } else { protocol::ICMP };
    let opens = |kind: &u8| icmp::role(icmpv6, *kind) == Role::Query && !(icmpv6 && is_of_the_link(*kind));
    others.extend((0..=u8::MAX).filter(|kind| !opens(kind)).map(|kind| {
        let first = u16::from(kind) << 8;
        (service(number, first), service(number, first | 0xff))
    }));
    if icmpv6 {
        others.extend(EXTENSIONS.map(whole));
    }
    let ports = IntervalSet::from_ranges(without_zero.map(zero).to_vec());
    [(numbered.subtract(&ports), (1, u16::MAX)), (all.subtract(&IntervalSet::from_ranges(others)), ALL_PORTS)]
}

/// Multicast listeners and neighbour discovery, which are judged before any rule (RFC 2710, 3810, 4861).
const fn is_of_the_link(kind: u8) -> bool {
    matches!(kind, 130..=137 | 143)
}

/// Next headers of IPv6 that are skipped or dropped, and never the protocol that a rule is asked for.
const EXTENSIONS: [u8; 10] = [
    protocol::HOP_BY_HOP,
    protocol::ROUTING,
    protocol::FRAGMENT,
    protocol::AH,
    protocol::DESTINATION_OPTIONS,
    protocol::MOBILITY,
    protocol::HIP,
    protocol::SHIM6,
    protocol::EXPERIMENT_1,
    protocol::EXPERIMENT_2,
];

#[cfg(test)]
mod tests {
    use super::*;
    use fw_common::anomaly::check_addresses;
    use fw_common::wire::{Address, Packet};

    /// What is not assigned is what the data plane drops, but for documentation and the link.
    #[test]
    fn nobody_has_the_addresses_that_are_left_out() {
        let assigned = AddressSet::union(assigned().iter());
        let documentation = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => addr.is_documentation(),
            IpAddr::V6(addr) => {
                let [first, second, ..] = addr.segments();
                (first, second) == (0x2001, 0xdb8) || (first == 0x3fff && second < 0x1000)
            }
        };
        let first_of_each_block = (0..=u16::MAX).flat_map(|block| {
            let v6 = |third| Ipv6Addr::new(block, 0xff9b, third, 0, 0, 0, 0, 9);
            let [high, low] = block.to_be_bytes();
            [
                v6(0).into(),
                v6(1).into(),
                Ipv6Addr::new(block, 0, 0, 0, 0, 0, 0, 9).into(),
                Ipv4Addr::new(high, low, 0, 1).into(),
            ]
        });
        for addr in first_of_each_block.filter(|addr: &IpAddr| !documentation(*addr)) {
            let peer: IpAddr =
                if addr.is_ipv4() { Ipv4Addr::new(10, 9, 9, 9).into() } else { "fd00::8".parse().unwrap() };
            let packet = Packet { src_addr: Address::from(addr), dst_addr: Address::from(peer), ..Packet::EMPTY };
            assert_eq!(assigned.contains(addr), check_addresses(&packet).is_ok(), "{addr}");
        }
    }

    #[test]
    fn what_opens_no_flow_is_no_service() {
        for (family, protocol, destination, source, possible) in [
            (Family::V4, 6, 80, 1024, true),
            (Family::V4, 6, 80, 0, false),
            (Family::V4, 6, 0, 1024, false),
            (Family::V4, 17, 53, 0, true),
            (Family::V4, 1, 0x0800, 0, true),
            (Family::V4, 1, 0x0000, 0, false),
            (Family::V4, 1, 0x0301, 0, false),
            (Family::V6, 58, 0x8000, 0, true),
            (Family::V6, 58, 0x8700, 0, false),
            (Family::V4, 51, 0, 0, true),
            (Family::V6, 51, 0, 0, false),
            (Family::V6, 47, 0, 0, true),
        ] {
            let holds = |(set, (first, last)): &(IntervalSet, PortRange)| {
                set.contains(service(protocol, destination)) && (*first..=*last).contains(&source)
            };
            assert_eq!(services(family).iter().any(holds), possible, "{family:?} {protocol} {destination} {source}");
        }
    }
}
