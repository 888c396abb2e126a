//! Sets as the language would write them: what is left when names, unions and exclusions are worked out.

use fw_common::wire::protocol;

use super::SetAlgebra;
use super::address::{AddressSet, Network, address};
use super::interval::{Cidr, Family};
use super::service::{ALL_PORTS, FamilyServices, PortRange, Ports, ServiceSet};

impl AddressSet {
    /// Prefixes and ranges, IPv4 first; `any` for everything.
    pub(crate) fn terms(&self) -> Vec<String> {
        if *self == Self::everything() {
            return vec!["any".to_owned()];
        }
        Family::ALL.iter().flat_map(|family| interval_terms(self, *family)).collect()
    }

    /// How many prefixes hold exactly this set.
    pub(crate) fn prefix_count(&self) -> usize {
        Family::ALL.iter().map(|family| self.family(*family).cover(*family).len()).sum()
    }
}

fn interval_terms(set: &AddressSet, family: Family) -> impl Iterator<Item = String> {
    set.family(family).ranges().iter().map(move |&(first, last)| {
        let len = (0..=family.bits()).find(|len| {
            let cidr = Cidr { first, len: *len };
            first & family.host_mask(*len) == 0 && cidr.last(family) == last
        });
        match len {
            Some(len) if len == family.bits() => address(family, first).to_string(),
            Some(len) => Network { family, cidr: Cidr { first, len } }.to_string(),
            None => format!("{}-{}", address(family, first), address(family, last)),
        }
    })
}

impl ServiceSet {
    /// Services by protocol; `any` for everything. Of a set that is more than half of everything, what it excepts.
    pub(crate) fn terms(&self) -> Vec<String> {
        let everything = Self::everything();
        if *self == everything {
            return vec!["any".to_owned()];
        }
        if self.family(Family::V4).protocols().count() > 128 {
            let excepted = everything.subtract(self).listed();
            return std::iter::once("any".to_owned())
                .chain(excepted.into_iter().map(|term| format!("!{term}")))
                .collect();
        }
        self.listed()
    }

    fn listed(&self) -> Vec<String> {
        let (v4, v6) = (self.family(Family::V4), self.family(Family::V6));
        let only_in_v6 = |(number, _): &(u8, &[Ports])| !v4.protocols().any(|(known, _)| known == *number);
        let protocols = v4.protocols().chain(v6.protocols().filter(only_in_v6));
        let mut protocols: Vec<(u8, &[Ports])> = protocols.collect();
        protocols.sort_by_key(|(number, _)| *number);
        protocols.into_iter().flat_map(|(number, ports)| ports.iter().map(move |ports| term(number, *ports))).collect()
    }
}

/// `tcp/80`, with the source ports behind it if they matter: `tcp/80 from 1024-65535`.
fn term(number: u8, ports: Ports) -> String {
    let name = match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::SCTP => "sctp",
        protocol::ICMP => return icmp_term("icmp", ports.destination),
        protocol::ICMPV6 => return icmp_term("icmpv6", ports.destination),
        other => return format!("proto/{other}"),
    };
    // Port 0 cannot be written, and no packet that is judged has it.
    let range = |(first, last): PortRange| match (first.max(1), last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    let mut text = name.to_owned();
    if ports.destination != ALL_PORTS {
        text += &format!("/{}", range(ports.destination));
    }
    if ports.source != ALL_PORTS {
        text += &format!(" from {}", range(ports.source));
    }
    text
}

/// A type, a type and a code, or a range of these.
fn icmp_term(name: &str, (first, last): PortRange) -> String {
    let parts = |port: u16| (port >> 8, port & 0xff);
    match (parts(first), parts(last)) {
        _ if (first, last) == ALL_PORTS => name.to_owned(),
        ((kind, 0), (same, 0xff)) if kind == same => format!("{name}/{kind}"),
        ((kind, code), _) if first == last => format!("{name}/{kind}/{code}"),
        ((kind, code), (last_kind, last_code)) => format!("{name}/{kind}/{code}-{last_kind}/{last_code}"),
    }
}

impl FamilyServices {
    /// How many rectangles of ports the set is.
    pub(crate) fn range_count(&self) -> usize {
        self.ranges().len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::address;
    use super::super::service_term;
    use super::*;
    use proptest::prelude::*;

    fn services(terms: &[&str]) -> ServiceSet {
        let sets: Vec<ServiceSet> = terms.iter().map(|term| service_term::parse_literal(term).unwrap()).collect();
        ServiceSet::union(sets.iter())
    }

    #[test]
    fn services_are_written_as_they_may_be_read() {
        for terms in [
            &["any"][..],
            &["icmp/8", "tcp/80-90", "udp", "proto/47", "icmpv6/128/0"],
            &["tcp/1-65535"],
            &["icmp", "sctp/7"],
        ] {
            let set = if terms == ["any"] { ServiceSet::everything() } else { services(terms) };
            assert_eq!(set.terms(), terms);
        }
        assert_eq!(ServiceSet::everything().subtract(&services(&["tcp/23"])).terms(), ["any", "!tcp/23"]);
        let ports = Ports { source: (1024, u16::MAX), destination: (135, 135) };
        assert_eq!(ServiceSet::of(6, &[ports]).terms(), ["tcp/135 from 1024-65535"]);
    }

    proptest! {
        #[test]
        fn addresses_are_read_back(ranges in prop::collection::vec((any::<u32>(), 0u32..70_000), 0..5), v6 in any::<u64>()) {
            let ranges = ranges.into_iter().map(|(first, length)| (first.into(), first.saturating_add(length).into()));
            let v4 = ranges.map(|(first, last)| AddressSet::range(Family::V4, first, last));
            let sets: Vec<AddressSet> = v4.chain([AddressSet::range(Family::V6, v6.into(), u128::MAX)]).collect();
            let set = AddressSet::union(sets.iter());
            let read: Vec<AddressSet> = set.terms().iter().map(|term| address::parse_literal(term).unwrap()).collect();
            prop_assert_eq!(AddressSet::union(read.iter()), set);
        }
    }
}
