//! The rig's interfaces and routes, as the reference is told about them; and the addresses that the traffic is between.

use std::net::IpAddr;

use fw_testkit::reference::{Interface, Prefix, Route, Target, Topology};

use crate::rig::{EXPOSED, IT, MANAGEMENT, OT};

/// Names of the interfaces by slot.
pub(super) const NAMES: [&str; 4] = ["exposed", "ot", "it", "management"];

/// Hosts, and the interface behind which they are.
pub(super) const HOSTS: &[(usize, &str)] = &[
    (EXPOSED, "192.168.1.1"),
    (EXPOSED, "192.168.2.7"),
    (EXPOSED, "10.0.1.1"),
    (EXPOSED, "10.0.1.50"),
    (OT, "10.1.1.50"),
    (OT, "10.1.1.51"),
    (IT, "10.2.1.20"),
    (IT, "10.2.1.99"),
    (EXPOSED, "fd00:0:0:a00::7"),
    (EXPOSED, "fd00:0:0:1::1"),
    (OT, "fd00:0:0:101::50"),
    (OT, "fd00:0:0:101::51"),
    (IT, "fd00:0:0:201::20"),
];

/// Addresses that nothing good comes from or goes to: without a route, in no zone, foreign, broadcast, of the management, own.
pub(super) const ODD: &[(usize, &str)] = &[
    (OT, "10.1.7.7"),
    (IT, "10.2.99.1"),
    (IT, "10.2.3.1"),
    (IT, "172.21.0.1"),
    (IT, "10.2.1.255"),
    (EXPOSED, "8.8.8.8"),
    (MANAGEMENT, "10.3.1.50"),
    (OT, "224.0.0.9"),
    (OT, "127.0.0.1"),
    (IT, "fd00:0:0:299::1"),
    (OT, "fd00:0:0:109::1"),
    (EXPOSED, "ff02::9"),
    (EXPOSED, "2001:db8::1"),
    (EXPOSED, "2600::9"),
    (EXPOSED, "fec0::1"),
    (EXPOSED, "4000::1"),
    (OT, "::1"),
    (OT, "0.0.0.0"),
    (IT, "255.255.255.255"),
    (IT, "203.0.113.5"),
    (IT, "240.0.0.1"),
];

/// The host's own addresses.
pub(super) const OWN: &[(usize, &str)] = &[
    (EXPOSED, "10.0.1.10"),
    (OT, "10.1.1.10"),
    (IT, "10.2.1.10"),
    (MANAGEMENT, "10.3.1.10"),
    (EXPOSED, "fd00:0:0:1::10"),
    (OT, "fd00:0:0:101::10"),
    (IT, "fd00:0:0:201::10"),
];

/// As `ROUTES` and `ADDRESSES` of the rig.
const ROUTES: &[(&str, Target)] = &[
    ("10.0.1.0/24", Target::Link(EXPOSED)),
    ("10.1.1.0/24", Target::Link(OT)),
    ("10.2.1.0/24", Target::Link(IT)),
    ("10.3.1.0/24", Target::Link(MANAGEMENT)),
    ("172.30.0.0/24", Target::Foreign),
    ("fd00:0:0:1::/64", Target::Link(EXPOSED)),
    ("fd00:0:0:101::/64", Target::Link(OT)),
    ("fd00:0:0:201::/64", Target::Link(IT)),
    ("10.2.99.0/24", Target::Blackhole),
    ("fd00:0:0:299::/64", Target::Blackhole),
    ("10.2.3.0/24", Target::Foreign),
];

/// Prefixes behind a router, its interface and its address.
const BEHIND: &[(&str, usize, &str)] = &[
    ("192.168.0.0/16", EXPOSED, "10.0.1.1"),
    ("fd00:0:0:a00::/56", EXPOSED, "fd00:0:0:1::1"),
    ("172.21.0.0/16", IT, "10.2.1.20"),
];

const NEIGHBOURS: &[&str] =
    &["10.0.1.1", "10.1.1.50", "10.2.1.20", "10.3.1.50", "fd00:0:0:1::1", "fd00:0:0:101::50", "fd00:0:0:201::20"];

pub(super) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn topology() -> Topology {
    let interface = |zones: &[&str], mtu, management| Interface {
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        mtu,
        management,
    };
    let prefix = |text| Prefix::read(text).unwrap();
    let direct = ROUTES.iter().map(|(text, target)| Route { prefix: prefix(text), target: *target });
    let behind = BEHIND
        .iter()
        .map(|(text, slot, router)| Route { prefix: prefix(text), target: Target::Via(*slot, addr(router)) });
    Topology {
        interfaces: vec![
            interface(&["onprem", "exposed"], 1500, false),
            interface(&["ot"], 1500, false),
            interface(&["it"], 1400, false),
            interface(&[], 1500, true),
        ],
        routes: direct.chain(behind).collect(),
        neighbours: NEIGHBOURS.iter().copied().map(addr).collect(),
        own: OWN.iter().map(|(_, text)| addr(text)).collect(),
        broadcasts: vec![[10, 2, 1, 255].into()],
    }
}
