//! The names of ICMP and ICMPv6 types, and which of them can open a flow.

/// What a message type is to a stateful firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Can open a flow.
    Query,
    /// Follows the flow that its query has opened, and opens none.
    Reply,
    /// Reports on another flow, and opens none.
    Error,
}

/// A type by name: RFC 792, 950, 1256 and 1122 section 3.2.2.
const ICMP: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// A type by name: RFC 4443, 2710, 3810 and 4861.
const ICMPV6: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("multicast-listener-query", 130),
    ("multicast-listener-report", 131),
    ("multicast-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
    ("multicast-listener-report-v2", 143),
];

/// The names of a version, with their numbers.
pub(crate) const fn names(icmpv6: bool) -> &'static [(&'static str, u8)] {
    if icmpv6 { ICMPV6 } else { ICMP }
}

/// The number of a type by its name.
pub(crate) fn number(icmpv6: bool, name: &str) -> Option<u8> {
    names(icmpv6).iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The role of a type. ICMPv6 errors are the types below 128 (RFC 4443, section 2.1).
pub(crate) const fn role(icmpv6: bool, number: u8) -> Role {
    match (icmpv6, number) {
        (true, 0..=127) | (false, 3 | 4 | 5 | 11 | 12) => Role::Error,
        (true, 129) | (false, 0 | 14 | 16 | 18) => Role::Reply,
        (true | false, _) => Role::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_the_types_that_firewalls_meet() {
        for (icmpv6, name, expected) in [
            (false, "echo-request", Role::Query),
            (false, "echo-reply", Role::Reply),
            (false, "time-exceeded", Role::Error),
            (true, "packet-too-big", Role::Error),
            (true, "echo-request", Role::Query),
            (true, "echo-reply", Role::Reply),
        ] {
            assert_eq!(role(icmpv6, number(icmpv6, name).unwrap()), expected, "{name}");
        }
        assert_eq!(number(false, "packet-too-big"), None);
    }
}
