//! The smallest lab: a client, the firewall and a server in a row, for measuring what the middle costs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use super::agent::{Agent, Programs};
use super::node::{mac_of, mac_text};
use super::{network, owner, removal, remove, unavailable};
use crate::LabError;
use crate::netns::NetNs;

/// The client's address.
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 2);
/// The server's address.
pub const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 2);
/// The client's IPv6 address.
pub const CLIENT_ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x201, 0, 0, 0, 0, 0, 2);
/// The server's IPv6 address.
pub const SERVER_ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x202, 0, 0, 0, 0, 0, 2);
/// The networks behind the client, for generated traffic: IPv4 and IPv6.
pub const CLIENT_NETWORKS: [&str; 2] = ["10.64.0.0/12", "fd00:64::/64"];
/// The networks behind the server.
pub const SERVER_NETWORKS: [&str; 2] = ["10.128.0.0/12", "fd00:128::/64"];
/// The interface in the middle that faces the client.
pub const LEFT: &str = "left";
/// The interface in the middle that faces the server.
pub const RIGHT: &str = "right";

/// A node of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairNode {
    /// The client.
    Client,
    /// What is measured.
    Middle,
    /// The server.
    Server,
}

/// A client, the middle and a server. Dropping it removes everything.
#[derive(Debug)]
pub struct PairLab {
    name: String,
    namespaces: Option<[NetNs; 3]>,
}

impl PairLab {
    /// Raises the row. Nobody forwards in the middle yet; both hosts know the middle's hardware addresses, so that a
    /// forwarder need not answer ARP.
    pub fn up() -> Result<Self, LabError> {
        if let Some(reason) = unavailable() {
            return Err(LabError::Unavailable(reason));
        }
        removal::remove_abandoned();
        let mut lab = Self { name: owner::claim(None)?, namespaces: None };
        let name = lab.name.clone();
        let names = ["client", "middle", "server"].map(|node| format!("{name}-{node}"));
        network::ip_batch(None, &names.clone().map(|name| format!("netns add {name}")))?;
        let [client, middle, server] = names.map(|name| NetNs::open(&name));
        let namespaces = [client?, middle?, server?];
        for namespace in &namespaces {
            network::set_sysctls(namespace, &[])?;
        }
        connect(&namespaces[0], &namespaces[1], LEFT, CLIENT_ADDRESS, CLIENT_ADDRESS6)?;
        connect(&namespaces[2], &namespaces[1], RIGHT, SERVER_ADDRESS, SERVER_ADDRESS6)?;
        lab.namespaces = Some(namespaces);
        Ok(lab)
    }

    /// The name of the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A node's name space.
    pub fn ns(&self, node: PairNode) -> Result<&NetNs, LabError> {
        let namespaces = self.namespaces.as_ref();
        namespaces
            .map(|namespaces| &namespaces[node as usize])
            .ok_or_else(|| LabError::Unavailable("the lab is not complete".to_owned()))
    }

    /// An agent in the middle, to be configured and started.
    pub fn prepare_agent(&self, programs: Programs) -> Result<Agent, LabError> {
        Agent::prepare(&self.name, self.ns(PairNode::Middle)?.name(), programs)
    }

    /// Lets the middle's own kernel forward, also to the networks behind client and server.
    pub fn forward_by_kernel(&self) -> Result<(), LabError> {
        let middle = self.ns(PairNode::Middle)?;
        let mut lines = Vec::new();
        for (networks, gateway, gateway6) in
            [(CLIENT_NETWORKS, CLIENT_ADDRESS, CLIENT_ADDRESS6), (SERVER_NETWORKS, SERVER_ADDRESS, SERVER_ADDRESS6)]
        {
            lines.push(format!("route add {} via {gateway}", networks[0]));
            lines.push(format!("route add {} via {gateway6}", networks[1]));
        }
        network::ip_batch(Some(middle), &lines)?;
        network::set_sysctls(middle, network::KERNEL_FORWARDING)
    }

    /// The lab's directory.
    #[must_use]
    pub fn directory(&self) -> std::path::PathBuf {
        owner::directory(&self.name)
    }

    /// A command in a node's name space.
    pub fn command(&self, node: PairNode, line: &[&str]) -> Result<Command, LabError> {
        let (program, arguments) = line.split_first().unwrap_or((&"true", &[]));
        let mut command = self.ns(node)?.command(program)?;
        command.args(arguments);
        Ok(command)
    }
}

impl Drop for PairLab {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// The middle's address on the link of a host.
#[must_use]
pub const fn middle_address(host: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = host.octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// The middle's IPv6 address on the link of a host.
const fn middle_address6(host: Ipv6Addr) -> Ipv6Addr {
    let [a, b, ..] = host.segments();
    Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 1)
}

fn connect(
    host: &NetNs,
    middle: &NetNs,
    interface: &str,
    address: Ipv4Addr,
    address6: Ipv6Addr,
) -> Result<(), LabError> {
    let (gateway, gateway6) = (middle_address(address), middle_address6(address6));
    let (host_mac, middle_mac) = (mac_text(mac_of(address)), mac_text(mac_of(gateway)));
    let host_end = format!("name eth0 address {host_mac} netns {}", host.name());
    let middle_end = format!("name {interface} address {middle_mac} netns {}", middle.name());
    network::ip_batch(None, &[format!("link add {host_end} type veth peer {middle_end}")])?;
    let up = |interface: &str, own: (Ipv4Addr, Ipv6Addr), other: (Ipv4Addr, Ipv6Addr), other_mac: &str| {
        vec![
            "link set lo up".to_owned(),
            format!("link set {interface} up"),
            format!("address add {}/24 dev {interface}", own.0),
            format!("address add {}/64 dev {interface} nodad", own.1),
            format!("neighbour add {} lladdr {other_mac} dev {interface} nud permanent", other.0),
            format!("neighbour add {} lladdr {other_mac} dev {interface} nud permanent", other.1),
        ]
    };
    let mut host_lines = up("eth0", (address, address6), (gateway, gateway6), &middle_mac);
    host_lines.push(format!("route add default via {gateway} dev eth0"));
    host_lines.push(format!("route add default via {gateway6} dev eth0"));
    network::ip_batch(Some(host), &host_lines)?;
    network::ip_batch(Some(middle), &up(interface, (gateway, gateway6), (address, address6), &host_mac))?;
    network::set_offloads(host, "eth0")?;
    network::set_offloads(middle, interface)
}
