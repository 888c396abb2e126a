//! The reference topology as `ip -batch` lines: which links join the nodes, and what each node's interfaces, addresses and
//! routes are. The route tables copy those of AWS. Nothing here touches the kernel.

use super::node::{
    ENI_EXPOSED, ENI_IT, ENI_MANAGEMENT, ENI_OT, EXPOSED, Eni, Host, IT, IT2, MANAGEMENT, METADATA, Node, OT, OT2, PLC,
    WS, link_local_of, mac_of, mac_text,
};

/// One end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) node: Node,
    pub(super) interface: &'static str,
    /// The hardware address; `None`: the kernel picks one.
    pub(super) mac: Option<[u8; 6]>,
}

/// A veth pair.
pub(super) type Link = (End, End);

const fn end(node: Node, interface: &'static str) -> End {
    End { node, interface, mac: None }
}

/// The pair that joins a host to its switch or router.
pub(super) fn host_link(host: Host) -> Link {
    let (router, port) = match host.node {
        Node::Plc => (Node::Switch, "plc"),
        Node::Ws => (Node::Switch, "ws"),
        Node::Exposed => (Node::ExposedRouter, "host"),
        Node::Ot => (Node::OtRouter, "host"),
        Node::Ot2 => (Node::OtRouter, "host2"),
        Node::It => (Node::ItRouter, "host"),
        Node::It2 => (Node::ItRouter, "host2"),
        Node::Management
        | Node::Fw
        | Node::Switch
        | Node::Transit
        | Node::Lgw
        | Node::ExposedRouter
        | Node::OtRouter
        | Node::ItRouter
        | Node::ManagementRouter => (Node::ManagementRouter, "host"),
    };
    (End { mac: Some(mac_of(host.ipv4)), ..end(host.node, "eth0") }, end(router, port))
}

/// The pair that joins an interface of the firewall to its VPC.
pub(super) fn eni_link(eni: Eni) -> Link {
    (End { mac: Some(mac_of(eni.ipv4)), ..end(Node::Fw, eni.name) }, end(eni.router, "fw"))
}

/// All veth pairs.
pub(super) fn links() -> Vec<Link> {
    let mut links = vec![
        (end(Node::Switch, "uplink"), end(Node::Transit, "downlink")),
        (end(Node::Transit, "uplink"), end(Node::Lgw, "downlink")),
        (end(Node::Lgw, "uplink"), end(Node::ExposedRouter, "lgw")),
    ];
    links.extend([PLC, WS, EXPOSED, OT, OT2, IT, IT2, MANAGEMENT].map(host_link));
    links.extend(super::node::ENIS.map(eni_link));
    links
}

/// The line that creates a veth pair in its two name spaces.
pub(super) fn create_link(lab: &str, (a, b): Link, mtu: u32) -> String {
    let describe = |end: End| {
        let mac = end.mac.map(|mac| format!(" address {}", mac_text(mac))).unwrap_or_default();
        format!("name {} mtu {mtu}{mac} netns {lab}-{}", end.interface, end.node)
    };
    format!("link add {} type veth peer {}", describe(a), describe(b))
}

/// The lines that bring a host's interface up.
pub(super) fn host_lines(host: Host) -> Vec<String> {
    let mut lines = vec!["link set eth0 up".to_owned(), format!("address add {}/24 dev eth0", host.ipv4)];
    if !host.ipv6.is_unspecified() {
        lines.push(format!("address add {}/64 dev eth0 nodad", host.ipv6));
    }
    lines.extend(host_routes(host.node).into_iter().map(|route| format!("route add {route} dev eth0")));
    lines
}

/// A host's routes. In OT and IT the default route leads to the firewall's interface in the VPC, and the VPC's other subnet
/// is behind the VPC's router; hosts of a second subnet have only the router.
fn host_routes(node: Node) -> Vec<String> {
    let to_router = |vpc: u8, subnet: u8| {
        let router = router_link_local(vpc, subnet);
        vec![format!("default via 10.{vpc}.{subnet}.1"), format!("default via {router}")]
    };
    let to_firewall = |vpc: u8, eni: Eni| {
        vec![
            format!("default via {}", eni.ipv4),
            format!("default via {}", firewall_address(eni)),
            format!("10.{vpc}.0.0/16 via 10.{vpc}.1.1"),
            format!("fd00:0:0:{vpc}00::/56 via {}", router_link_local(vpc, 1)),
        ]
    };
    match node {
        Node::Plc => vec!["default via 192.168.10.1".to_owned(), "default via fd00:0:0:a10::1".to_owned()],
        Node::Ws => vec!["default via 192.168.20.1".to_owned(), "default via fd00:0:0:a20::1".to_owned()],
        Node::Exposed => to_router(0, 1),
        Node::Ot => to_firewall(1, ENI_OT),
        Node::Ot2 => to_router(1, 2),
        Node::It => to_firewall(2, ENI_IT),
        Node::It2 => to_router(2, 2),
        Node::Management => vec!["default via 10.3.1.1".to_owned()],
        Node::Fw
        | Node::Switch
        | Node::Transit
        | Node::Lgw
        | Node::ExposedRouter
        | Node::OtRouter
        | Node::ItRouter
        | Node::ManagementRouter => Vec::new(),
    }
}

/// The link-local address of a VPC's router in one of its subnets.
pub(super) fn router_link_local(vpc: u8, subnet: u8) -> std::net::Ipv6Addr {
    link_local_of(mac_of([10, vpc, subnet, 1].into()))
}

fn firewall_address(eni: Eni) -> String {
    eni.ipv6.map(|address| address.to_string()).unwrap_or_default()
}

/// The lines that bring an interface of the firewall up, as DHCP would. Routes are the agent's, except that instance
/// metadata is on the link of the primary interface.
pub(super) fn eni_lines(eni: Eni) -> Vec<String> {
    let name = eni.name;
    let mut lines = vec![format!("link set {name} up"), format!("address add {}/24 dev {name}", eni.ipv4)];
    lines.extend(eni.ipv6.map(|address| format!("address add {address}/64 dev {name} nodad")));
    if eni == ENI_MANAGEMENT {
        lines.push(format!("route add {METADATA} dev {name}"));
    }
    lines
}

/// The lines that make one subnet of a VPC in its router: a bridge with the router's address, and the ports on it.
fn subnet_lines(vpc: u8, subnet: u8, ports: &[&str]) -> Vec<String> {
    let bridge = format!("subnet{subnet}");
    let mac = mac_text(mac_of([10, vpc, subnet, 1].into()));
    let mut lines = vec![
        format!("link add {bridge} address {mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
        format!("link set {bridge} up"),
        format!("address add 10.{vpc}.{subnet}.1/24 dev {bridge}"),
    ];
    if vpc != 3 {
        lines.push(format!("address add fd00:0:0:{vpc}0{subnet}::1/64 dev {bridge} nodad"));
    }
    if subnet == 1 {
        lines.push(format!("address add {METADATA}/32 dev {bridge}"));
    }
    for port in ports {
        lines.push(format!("link set {port} master {bridge}"));
        lines.push(format!("link set {port} up"));
    }
    lines
}

/// The lines that bring up a point-to-point interface of a router.
fn router_port_lines(interface: &str, addresses: &[&str]) -> Vec<String> {
    let mut lines = vec![format!("link set {interface} up")];
    lines.extend(addresses.iter().map(|address| format!("address add {address} dev {interface}")));
    lines
}

fn routes(list: &[(&str, &str)]) -> Vec<String> {
    list.iter().map(|(destination, via)| format!("route add {destination} via {via}")).collect()
}

fn firewall_routes(eni: Eni) -> Vec<String> {
    routes(&[("default", &eni.ipv4.to_string()), ("default", &firewall_address(eni))])
}

/// The lines for one node, to be run in its name space after the links exist.
pub(super) fn node_lines(node: Node) -> Vec<String> {
    let own = match node {
        Node::Fw => super::node::ENIS.map(eni_lines).concat(),
        Node::Plc => host_lines(PLC),
        Node::Ws => host_lines(WS),
        Node::Exposed => host_lines(EXPOSED),
        Node::Ot => host_lines(OT),
        Node::Ot2 => host_lines(OT2),
        Node::It => host_lines(IT),
        Node::It2 => host_lines(IT2),
        Node::Management => host_lines(MANAGEMENT),
        Node::Switch => switch_lines(),
        Node::Transit => transit_lines(),
        Node::Lgw => lgw_lines(),
        Node::ExposedRouter => exposed_router_lines(),
        Node::OtRouter => {
            [subnet_lines(1, 1, &["fw", "host"]), subnet_lines(1, 2, &["host2"]), firewall_routes(ENI_OT)].concat()
        }
        Node::ItRouter => {
            [subnet_lines(2, 1, &["fw", "host"]), subnet_lines(2, 2, &["host2"]), firewall_routes(ENI_IT)].concat()
        }
        Node::ManagementRouter => subnet_lines(3, 1, &["fw", "host"]),
    };
    [vec!["link set lo up".to_owned()], own].concat()
}

fn switch_lines() -> Vec<String> {
    [
        router_port_lines("plc", &["192.168.10.1/24", "fd00:0:0:a10::1/64"]),
        router_port_lines("ws", &["192.168.20.1/24", "fd00:0:0:a20::1/64"]),
        router_port_lines("uplink", &["172.31.255.1/30", "fd99::1/64"]),
        routes(&[("default", "172.31.255.2"), ("default", "fd99::2")]),
    ]
    .concat()
}

fn transit_lines() -> Vec<String> {
    [
        router_port_lines("downlink", &["172.31.255.2/30", "fd99::2/64"]),
        router_port_lines("uplink", &["172.31.255.5/30", "fd99:0:0:1::1/64"]),
        routes(&[("192.168.0.0/16", "172.31.255.1"), ("fd00:0:0:a00::/56", "fd99::1")]),
        routes(&[("default", "172.31.255.6"), ("default", "fd99:0:0:1::2")]),
    ]
    .concat()
}

fn lgw_lines() -> Vec<String> {
    let to_vpc =
        |destination: &'static str| (destination, if destination.contains(':') { "fd98::2" } else { "172.31.254.2" });
    [
        router_port_lines("downlink", &["172.31.255.6/30", "fd99:0:0:1::2/64"]),
        router_port_lines("uplink", &["172.31.254.1/30", "fd98::1/64"]),
        routes(&[("192.168.0.0/16", "172.31.255.5"), ("fd00:0:0:a00::/56", "fd99:0:0:1::1")]),
        routes(&["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(to_vpc)),
        routes(&["fd00::/56", "fd00:0:0:100::/56", "fd00:0:0:200::/56"].map(to_vpc)),
    ]
    .concat()
}

fn exposed_router_lines() -> Vec<String> {
    let eni = ENI_EXPOSED.ipv4.to_string();
    let eni6 = firewall_address(ENI_EXPOSED);
    [
        subnet_lines(0, 1, &["fw", "host"]),
        router_port_lines("lgw", &["172.31.254.2/30", "fd98::2/64"]),
        routes(&[("192.168.0.0/16", "172.31.254.1"), ("fd00:0:0:a00::/56", "fd98::1")]),
        routes(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(|destination| (destination, eni.as_str()))),
        routes(&["fd00:0:0:100::/56", "fd00:0:0:200::/56"].map(|destination| (destination, eni6.as_str()))),
    ]
    .concat()
}

/// The lines that let the firewall's own kernel route in place of the agent: only to prove the lab itself.
pub(super) fn kernel_routing_lines() -> Vec<String> {
    let mut lines = vec![
        "route add 192.168.0.0/16 via 10.0.1.1".to_owned(),
        format!("route add fd00:0:0:a00::/56 via {} dev ens6", router_link_local(0, 1)),
    ];
    for (vpc, eni) in [(1, "ens7"), (2, "ens8")] {
        lines.push(format!("route add 10.{vpc}.0.0/16 via 10.{vpc}.1.1"));
        lines.push(format!("route add fd00:0:0:{vpc}00::/56 via {} dev {eni}", router_link_local(vpc, 1)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_interface_name_fits_and_is_unique_in_its_node() {
        let mut seen = BTreeSet::new();
        for (a, b) in links() {
            for end in [a, b] {
                assert!(end.interface.len() < 16, "{}", end.interface);
                assert!(seen.insert((end.node, end.interface)), "{} twice in {}", end.interface, end.node);
            }
        }
    }

    #[test]
    fn every_node_has_a_link() {
        let linked: BTreeSet<Node> = links().into_iter().flat_map(|(a, b)| [a.node, b.node]).collect();
        assert_eq!(linked, Node::ALL.iter().copied().collect());
    }

    #[test]
    fn a_router_s_link_local_address_follows_from_its_hardware_address() {
        assert_eq!(router_link_local(1, 1).to_string(), "fe80::400:aff:fe01:101");
    }
}
