//! Packets of established flows, by what they are: IPv6, TCP, longer frames.

use anyhow::Result;

use super::case::{self, Case};
use super::chain::traffic::Traffic;
use super::forwarder::conntrack::Room;
use super::outcome::Outcome;
use super::session::Session;

const MANY: u32 = 100_000;

/// Those with few flows first: tables that are filled stay so.
pub(super) const CASES: [Case; 7] = [
    Case { beside: Some(("ipv6_vs_ipv4", Traffic::UDP)), ..Case::new("ipv6_established_1", Traffic::UDP_IPV6) },
    Case { beside: Some(("tcp_vs_udp", Traffic::UDP)), ..Case::new("tcp_established_1", Traffic::TCP) },
    Case::new("size_64", Traffic::UDP),
    Case::new("size_512", Traffic { frame_len: 512, ..Traffic::UDP }),
    // The longest that an MTU of 1,500 allows: Ethernet's header is not part of it.
    Case::new("size_1500", Traffic { frame_len: 1514, ..Traffic::UDP }),
    Case {
        beside: Some(("ipv6_vs_ipv4_100k", Traffic { flows: MANY, ..Traffic::UDP })),
        ..Case::new("ipv6_established_100k", Traffic { flows: MANY, ..Traffic::UDP_IPV6 })
    },
    Case {
        beside: Some(("tcp_vs_udp_100k", Traffic { flows: MANY, ..Traffic::UDP })),
        ..Case::new("tcp_established_100k", Traffic { flows: MANY, ..Traffic::TCP })
    },
];

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let _room = Room::for_connections(case::CONNECTIONS)?;
    case::measure_all(session, &CASES, selected)
}
