//! Sets of services: which protocols and ports, for each address family.

use std::collections::BTreeMap;

use fw_common::wire::protocol;

use super::SetAlgebra;
use super::interval::Family;

/// The lowest and the highest port, both included.
pub(crate) type PortRange = (u16, u16);

/// Every port.
pub(crate) const ALL_PORTS: PortRange = (0, u16::MAX);

/// A source port range and a destination port range. For ICMP and ICMPv6 the destination is `type << 8 | code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub(crate) source: PortRange,
    pub(crate) destination: PortRange,
}

impl Ports {
    pub(crate) const ALL: Self = Self { source: ALL_PORTS, destination: ALL_PORTS };

    pub(crate) const fn to(destination: PortRange) -> Self {
        Self { source: ALL_PORTS, destination }
    }

    fn contains(&self, source: u16, destination: u16) -> bool {
        let within = |(first, last): PortRange, port| first <= port && port <= last;
        within(self.source, source) && within(self.destination, destination)
    }

    /// Adds to `rest` what of `self` is not in `cut`: at most four rectangles.
    fn subtract_into(self, cut: Self, rest: &mut Vec<Self>) {
        let overlap = |a: PortRange, b: PortRange| (a.0.max(b.0), a.1.min(b.1));
        let source = overlap(self.source, cut.source);
        let destination = overlap(self.destination, cut.destination);
        if source.0 > source.1 || destination.0 > destination.1 {
            rest.push(self);
            return;
        }
        if self.source.0 < source.0 {
            rest.push(Self { source: (self.source.0, source.0 - 1), ..self });
        }
        if self.source.1 > source.1 {
            rest.push(Self { source: (source.1 + 1, self.source.1), ..self });
        }
        if self.destination.0 < destination.0 {
            rest.push(Self { source, destination: (self.destination.0, destination.0 - 1) });
        }
        if self.destination.1 > destination.1 {
            rest.push(Self { source, destination: (destination.1 + 1, self.destination.1) });
        }
    }
}

/// Removes `cuts` from `ports`.
fn subtract_ports(mut ports: Vec<Ports>, cuts: &[Ports]) -> Vec<Ports> {
    for cut in cuts {
        let mut rest = Vec::with_capacity(ports.len());
        for rectangle in ports {
            rectangle.subtract_into(*cut, &mut rest);
        }
        ports = rest;
    }
    ports
}

/// Joins disjoint rectangles that share a side, so that `tcp/80` and `tcp/81` become one range.
fn join_ports(mut ports: Vec<Ports>) -> Vec<Ports> {
    let adjacent = |a: PortRange, b: PortRange| a.1.checked_add(1) == Some(b.0);
    ports.sort_unstable_by_key(|ports| (ports.source, ports.destination));
    ports.dedup_by(|next, previous| {
        let join = previous.source == next.source && adjacent(previous.destination, next.destination);
        if join {
            previous.destination.1 = next.destination.1;
        }
        join
    });
    ports.sort_unstable_by_key(|ports| (ports.destination, ports.source));
    ports.dedup_by(|next, previous| {
        let join = previous.destination == next.destination && adjacent(previous.source, next.source);
        if join {
            previous.source.1 = next.source.1;
        }
        join
    });
    ports
}

/// A set of services of one family: disjoint rectangles by protocol number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FamilyServices {
    protocols: BTreeMap<u8, Vec<Ports>>,
}

/// A run of services as the data plane compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServiceRange {
    /// `None`: every protocol.
    pub(crate) protocol: Option<u8>,
    /// `None`: every port, and protocols without ports.
    pub(crate) ports: Option<Ports>,
}

impl FamilyServices {
    fn everything() -> Self {
        Self { protocols: (0..=u8::MAX).map(|number| (number, vec![Ports::ALL])).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.protocols.is_empty()
    }

    pub(crate) fn contains(&self, protocol: u8, source: u16, destination: u16) -> bool {
        let ports = self.protocols.get(&protocol);
        ports.is_some_and(|ports| ports.iter().any(|ports| ports.contains(source, destination)))
    }

    fn add(&mut self, protocol: u8, ports: &[Ports]) {
        if ports.is_empty() {
            return;
        }
        let present = self.protocols.entry(protocol).or_default();
        for added in ports {
            let new = subtract_ports(vec![*added], present);
            present.extend(new);
        }
        *present = join_ports(std::mem::take(present));
    }

    /// The protocols, ascending, each with its rectangles, which ascend by destination.
    pub(crate) fn protocols(&self) -> impl Iterator<Item = (u8, &[Ports])> {
        self.protocols.iter().map(|(number, ports)| (*number, ports.as_slice()))
    }

    fn subtract(&self, other: &Self) -> Self {
        let mut protocols = BTreeMap::new();
        for (number, ports) in &self.protocols {
            let cuts = other.protocols.get(number).map_or(&[][..], Vec::as_slice);
            let rest = join_ports(subtract_ports(ports.clone(), cuts));
            if !rest.is_empty() {
                protocols.insert(*number, rest);
            }
        }
        Self { protocols }
    }

    /// The set as the fewest ranges that this form allows; all protocols with all ports are one.
    pub(crate) fn ranges(&self) -> Vec<ServiceRange> {
        let whole = |ports: &Vec<Ports>| ports.as_slice() == [Ports::ALL];
        if self.protocols.len() == 256 && self.protocols.values().all(whole) {
            return vec![ServiceRange { protocol: None, ports: None }];
        }
        let ranges = self.protocols.iter().flat_map(|(number, ports)| {
            ports
                .iter()
                .map(|ports| ServiceRange { protocol: Some(*number), ports: (*ports != Ports::ALL).then_some(*ports) })
        });
        ranges.collect()
    }
}

/// A set of services. ICMP exists in IPv4 only and ICMPv6 in IPv6 only; any other protocol in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceSet {
    v4: FamilyServices,
    v6: FamilyServices,
}

impl ServiceSet {
    pub(crate) const fn family(&self, family: Family) -> &FamilyServices {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The services of one protocol.
    pub(crate) fn of(number: u8, ports: &[Ports]) -> Self {
        let mut set = Self::default();
        if number != protocol::ICMPV6 {
            set.v4.add(number, ports);
        }
        if number != protocol::ICMP {
            set.v6.add(number, ports);
        }
        set
    }
}

impl SetAlgebra for ServiceSet {
    const KIND: &'static str = "service set";

    fn everything() -> Self {
        Self { v4: FamilyServices::everything(), v6: FamilyServices::everything() }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn union<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut union = Self::default();
        for part in parts {
            for (into, from) in [(&mut union.v4, &part.v4), (&mut union.v6, &part.v6)] {
                for (number, ports) in &from.protocols {
                    into.add(*number, ports);
                }
            }
        }
        union
    }

    fn subtract(&self, other: &Self) -> Self {
        Self { v4: self.v4.subtract(&other.v4), v6: self.v6.subtract(&other.v6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small_ports() -> impl Strategy<Value = Vec<Ports>> {
        let range = || (0u16..10, 0u16..5).prop_map(|(first, size)| (first, first + size));
        prop::collection::vec((range(), range()).prop_map(|(source, destination)| Ports { source, destination }), 0..5)
    }

    proptest! {
        #[test]
        fn rectangles_agree_with_enumeration(a in small_ports(), b in small_ports()) {
            let (set_a, set_b) = (ServiceSet::of(6, &a), ServiceSet::of(6, &b));
            let union = ServiceSet::union([&set_a, &set_b].into_iter());
            let difference = set_a.subtract(&set_b);
            let holds = |ports: &[Ports], source, destination| ports.iter().any(|p| p.contains(source, destination));
            for source in 0..16 {
                for destination in 0..16 {
                    let (in_a, in_b) = (holds(&a, source, destination), holds(&b, source, destination));
                    prop_assert_eq!(union.v4.contains(6, source, destination), in_a || in_b);
                    prop_assert_eq!(difference.v6.contains(6, source, destination), in_a && !in_b);
                }
            }
            let ranges = union.v4.ranges();
            for (position, one) in ranges.iter().enumerate() {
                for other in &ranges[position + 1..] {
                    let (one, other) = (one.ports.unwrap(), other.ports.unwrap());
                    let mut rest = Vec::new();
                    one.subtract_into(other, &mut rest);
                    prop_assert_eq!(rest, vec![one], "ranges are disjoint");
                }
            }
        }
    }

    #[test]
    fn everything_is_one_range_and_a_protocol_without_ports_needs_none() {
        let everything = ServiceSet::everything();
        assert_eq!(everything.v4.ranges(), [ServiceRange { protocol: None, ports: None }]);
        let gre = ServiceSet::of(47, &[Ports::ALL]);
        assert_eq!(gre.v6.ranges(), [ServiceRange { protocol: Some(47), ports: None }]);
        assert_eq!(everything.subtract(&gre).v4.ranges().len(), 255);
    }

    #[test]
    fn icmp_is_in_one_family_only() {
        let icmp = ServiceSet::of(protocol::ICMP, &[Ports::ALL]);
        assert!(icmp.v4.contains(1, 0, 0x0800) && icmp.v6.is_empty());
        let icmpv6 = ServiceSet::of(protocol::ICMPV6, &[Ports::ALL]);
        assert!(icmpv6.v6.contains(58, 0, 0x8000) && icmpv6.v4.is_empty());
    }

    #[test]
    fn adjacent_ports_are_joined() {
        let web = ServiceSet::of(6, &[Ports::to((81, 90)), Ports::to((80, 80)), Ports::to((85, 99))]);
        assert_eq!(web.v4.ranges(), [ServiceRange { protocol: Some(6), ports: Some(Ports::to((80, 99))) }]);
    }
}
