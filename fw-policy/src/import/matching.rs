//! What a rule of another firewall matches, worked out so that it can be cut with what another one matches.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use fw_common::wire::protocol;

use crate::set::SetAlgebra;
use crate::set::address::{AddressSet, number};
use crate::set::icmp::{self, Role};
use crate::set::interval::Family;
use crate::set::service::{ALL_PORTS, PortRange, Ports, ServiceSet};

/// What a rule matches.
#[derive(Clone, Debug)]
pub(super) struct Match {
    /// Names of zones; `None` for any.
    pub(super) from: Option<BTreeSet<String>>,
    pub(super) to: Option<BTreeSet<String>>,
    pub(super) source: AddressSet,
    pub(super) destination: AddressSet,
    pub(super) services: Arc<ServiceSet>,
    /// Which packets of a flow.
    pub(super) packets: Packets,
    /// What cannot be expressed: with it, the rule matches less than the rest says.
    pub(super) unknown: Vec<String>,
}

/// Which packets a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packets {
    /// Those that open flows, and perhaps others.
    Opening,
    /// Those of flows that are open, only.
    OfFlows,
    /// Those that no flow takes, only.
    Invalid,
}

impl Match {
    /// Everything.
    pub(super) fn any() -> Self {
        Self {
            from: None,
            to: None,
            source: AddressSet::everything(),
            destination: AddressSet::everything(),
            services: Arc::clone(&ANY_SERVICE),
            packets: Packets::Opening,
            unknown: Vec::new(),
        }
    }

    /// What both match.
    pub(super) fn and(&self, other: &Self) -> Self {
        let packets = if self.packets == Packets::Opening { other.packets } else { self.packets };
        Self {
            from: common(&self.from, &other.from),
            to: common(&self.to, &other.to),
            source: intersection(&self.source, &other.source),
            destination: intersection(&self.destination, &other.destination),
            services: common_services(&self.services, &other.services),
            packets,
            unknown: [self.unknown.clone(), other.unknown.clone()].concat(),
        }
    }

    /// Whether nothing can match.
    pub(super) fn is_nothing(&self) -> bool {
        let none = |zones: &Option<BTreeSet<String>>| zones.as_ref().is_some_and(BTreeSet::is_empty);
        let possible = |family: Family| {
            let sets = [self.source.family(family), self.destination.family(family)];
            sets.iter().all(|set| !set.is_empty()) && !self.services.family(family).is_empty()
        };
        none(&self.from) || none(&self.to) || !Family::ALL.into_iter().any(possible)
    }

    /// Whether everything matches.
    pub(super) fn is_anything(&self) -> bool {
        let Self { from, to, source, destination, services, packets, unknown } = self;
        from.is_none()
            && to.is_none()
            && *source == AddressSet::everything()
            && *destination == AddressSet::everything()
            && *services == *ANY_SERVICE
            && *packets == Packets::Opening
            && unknown.is_empty()
    }
}

/// Shared, because most matches have it.
static ANY_SERVICE: LazyLock<Arc<ServiceSet>> = LazyLock::new(|| Arc::new(ServiceSet::everything()));

/// What both hold; most often one of them is everything, and its 256 protocols need not be cut one by one.
fn common_services(one: &Arc<ServiceSet>, other: &Arc<ServiceSet>) -> Arc<ServiceSet> {
    if Arc::ptr_eq(other, &ANY_SERVICE) {
        Arc::clone(one)
    } else if Arc::ptr_eq(one, &ANY_SERVICE) {
        Arc::clone(other)
    } else {
        Arc::new(intersection(one.as_ref(), other.as_ref()))
    }
}

fn common(one: &Option<BTreeSet<String>>, other: &Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.intersection(other).cloned().collect()),
        (Some(zones), None) | (None, Some(zones)) => Some(zones.clone()),
        (None, None) => None,
    }
}

pub(super) fn intersection<T: SetAlgebra>(one: &T, other: &T) -> T {
    one.subtract(&one.subtract(other))
}

/// Everything but a set.
pub(super) fn complement<T: SetAlgebra>(set: &T) -> T {
    T::everything().subtract(set)
}

/// All addresses of a family.
pub(super) fn all_of(family: Family) -> AddressSet {
    AddressSet::range(family, 0, family.last())
}

/// Reads an address, a prefix (also with a mask), or a range. Bits behind the prefix are not looked at, as elsewhere.
pub(super) fn addresses(text: &str) -> Option<AddressSet> {
    if let Some((first, last)) = text.split_once('-') {
        let (family, first) = number(first.trim().parse().ok()?);
        let (same, last) = number(last.trim().parse().ok()?);
        return (family == same && first <= last).then(|| AddressSet::range(family, first, last));
    }
    let (addr, len) = match text.split_once('/') {
        Some((addr, len)) => (addr, Some(len)),
        None => (text, None),
    };
    let (family, addr) = number(addr.trim().parse().ok()?);
    let len = match len {
        None => family.bits(),
        Some(len) => prefix_length(len.trim(), family)?,
    };
    let mask = family.host_mask(len);
    Some(AddressSet::range(family, addr & !mask, addr | mask))
}

/// A length, or a mask without gaps.
fn prefix_length(text: &str, family: Family) -> Option<u8> {
    if let Ok(mask) = text.parse() {
        let (same, mask) = number(mask);
        let length = u8::try_from(mask.count_ones()).ok()?;
        return (same == family && mask == family.last() & !family.host_mask(length)).then_some(length);
    }
    text.parse::<u8>().ok().filter(|len| *len <= family.bits())
}

/// Reads a protocol by name or number.
pub(super) fn protocol(text: &str) -> Option<ServiceSet> {
    let number = match text.to_ascii_lowercase().as_str() {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "sctp" => protocol::SCTP,
        "icmp" => protocol::ICMP,
        "icmpv6" | "ipv6-icmp" => protocol::ICMPV6,
        "igmp" => 2,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ospf" => 89,
        "vrrp" => 112,
        "udplite" => 136,
        "dccp" => 33,
        digits => digits.parse().ok()?,
    };
    Some(ServiceSet::of(number, &[Ports::ALL]))
}

/// Services with these ports, of the protocols that have any.
pub(super) fn ports(source: &[PortRange], destination: &[PortRange]) -> ServiceSet {
    let all = [ALL_PORTS];
    let or_all = |ranges: &[PortRange]| if ranges.is_empty() { all.to_vec() } else { ranges.to_vec() };
    let (source, destination) = (or_all(source), or_all(destination));
    let rectangles: Vec<Ports> = source
        .iter()
        .flat_map(|source| destination.iter().map(|destination| Ports { source: *source, destination: *destination }))
        .collect();
    let sets = [protocol::TCP, protocol::UDP, protocol::SCTP].map(|number| ServiceSet::of(number, &rectangles));
    ServiceSet::union(sets.iter())
}

/// Reads `80`, `1000:2000` or `1000-2000`, also with an end left open.
pub(super) fn port_range(text: &str) -> Option<PortRange> {
    let number = |digits: &str, open: u16| if digits.is_empty() { Some(open) } else { digits.parse().ok() };
    let text = text.trim();
    let (first, last) = match text.split_once([':', '-']) {
        Some((first, last)) => (number(first.trim(), 0)?, number(last.trim(), u16::MAX)?),
        None => {
            let port = text.parse().ok()?;
            (port, port)
        }
    };
    (first <= last).then_some((first, last))
}

/// An ICMP type with its code; `None` for every code.
pub(super) fn icmp(is_v6: bool, kind: u8, code: Option<u8>) -> ServiceSet {
    let first = u16::from(kind) << 8;
    let codes = code.map_or((first, first | 0xff), |code| (first | u16::from(code), first | u16::from(code)));
    ServiceSet::of(if is_v6 { protocol::ICMPV6 } else { protocol::ICMP }, &[Ports::to(codes)])
}

/// The services that can open a flow: all but replies and errors of ICMP.
pub(super) fn opening(services: &ServiceSet) -> ServiceSet {
    let never = [false, true].into_iter().flat_map(|is_v6| {
        let follows = move |kind: &u8| icmp::role(is_v6, *kind) != Role::Query;
        (0..=u8::MAX).filter(follows).map(move |kind| icmp(is_v6, kind, None))
    });
    services.subtract(&ServiceSet::union(never.collect::<Vec<_>>().iter()))
}

/// Which packets some states of connection tracking are.
pub(super) fn packets(states: &[&str]) -> Packets {
    let has = |wanted: &[&str]| states.iter().any(|state| wanted.iter().any(|known| known.eq_ignore_ascii_case(state)));
    if has(&["NEW"]) {
        Packets::Opening
    } else if has(&["ESTABLISHED", "RELATED"]) {
        Packets::OfFlows
    } else {
        Packets::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_other_firewalls_write_them() {
        let terms = |text: &str| addresses(text).map(|set| set.terms().join(" "));
        assert_eq!(terms("10.1.2.3/255.255.0.0").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(terms("10.1.2.3/16").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(terms("fd00::1").as_deref(), Some("fd00::1"));
        assert_eq!(terms("10.0.0.5-10.0.0.9").as_deref(), Some("10.0.0.5-10.0.0.9"));
        for wrong in
            ["", "x", "10.0.0.0/255.0.255.0", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "::/255.0.0.0"]
        {
            assert_eq!(terms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_both_match_is_cut_out() {
        let one = Match {
            source: addresses("10.0.0.0/8").unwrap(),
            services: Arc::new(ports(&[], &[(1, 100)])),
            ..Match::any()
        };
        let services = Arc::new(intersection(&protocol("tcp").unwrap(), &ports(&[], &[(80, 200)])));
        let both = one.and(&Match { source: addresses("10.1.0.0/16").unwrap(), services, ..Match::any() });
        assert_eq!(
            (both.source.terms(), both.services.terms()),
            (vec!["10.1.0.0/16".to_owned()], vec!["tcp/80-100".to_owned()])
        );
        assert!(!both.is_nothing() && !both.is_anything() && Match::any().is_anything());
        assert!(both.and(&Match { source: addresses("11.0.0.0/8").unwrap(), ..Match::any() }).is_nothing());
    }

    #[test]
    fn replies_and_errors_open_nothing() {
        assert!(opening(&icmp(false, 3, None)).is_empty() && opening(&icmp(true, 129, None)).is_empty());
        assert_eq!(opening(&icmp(false, 8, None)), icmp(false, 8, None));
    }
}
