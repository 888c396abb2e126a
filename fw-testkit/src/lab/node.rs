//! The machines of the lab and their addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Defines the nodes, their names and the list of all of them in one place.
macro_rules! nodes {
    ($($(#[doc = $doc:literal])+ $node:ident = $name:literal;)+) => {
        /// A machine of the lab: one network name space.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Node { $($(#[doc = $doc])+ $node,)+ }

        impl Node {
            /// Every node.
            pub const ALL: &'static [Self] = &[$(Self::$node,)+];

            /// The part of the name space's name that follows the lab's.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$node => $name,)+ }
            }
        }
    };
}

nodes! {
    /// The firewall.
    Fw = "fw";
    /// On-premises: a programmable logic controller.
    Plc = "plc";
    /// On-premises: a workstation.
    Ws = "ws";
    /// On-premises: the layer-3 switch in front of both.
    Switch = "switch";
    /// On-premises: a router whose addresses lie in no zone.
    Transit = "transit";
    /// The local gateway of the rack.
    Lgw = "lgw";
    /// The router of the Exposed VPC.
    ExposedRouter = "exposed-router";
    /// A host in the Exposed VPC.
    Exposed = "exposed";
    /// The router of the OT VPC.
    OtRouter = "ot-router";
    /// The host in the OT VPC's first subnet, where the firewall has its interface.
    Ot = "ot";
    /// The host in the OT VPC's second subnet.
    Ot2 = "ot2";
    /// The router of the IT VPC.
    ItRouter = "it-router";
    /// The host in the IT VPC's first subnet, where the firewall has its interface.
    It = "it";
    /// The host in the IT VPC's second subnet.
    It2 = "it2";
    /// The router of the Firewall VPC.
    ManagementRouter = "management-router";
    /// The management station in the Firewall VPC.
    Management = "management";
}

impl Node {
    /// The node of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|node| node.name() == name)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A host with one interface, `eth0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name space.
    pub node: Node,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address; the management station has none of its own and shows the unspecified address.
    pub ipv6: Ipv6Addr,
}

const fn host(node: Node, ipv4: [u8; 4], subnet: u16, last: u16) -> Host {
    let [a, b, c, d] = ipv4;
    Host { node, ipv4: Ipv4Addr::new(a, b, c, d), ipv6: Ipv6Addr::new(0xfd00, 0, 0, subnet, 0, 0, 0, last) }
}

/// The controller, on-premises.
pub const PLC: Host = host(Node::Plc, [192, 168, 10, 10], 0xa10, 0x10);
/// The workstation, on-premises.
pub const WS: Host = host(Node::Ws, [192, 168, 20, 20], 0xa20, 0x20);
/// The host in the Exposed VPC.
pub const EXPOSED: Host = host(Node::Exposed, [10, 0, 1, 50], 0x001, 0x50);
/// The host in the OT VPC.
pub const OT: Host = host(Node::Ot, [10, 1, 1, 50], 0x101, 0x50);
/// The host in the OT VPC's second subnet.
pub const OT2: Host = host(Node::Ot2, [10, 1, 2, 50], 0x102, 0x50);
/// The host in the IT VPC.
pub const IT: Host = host(Node::It, [10, 2, 1, 20], 0x201, 0x20);
/// The host in the IT VPC's second subnet.
pub const IT2: Host = host(Node::It2, [10, 2, 2, 20], 0x202, 0x20);
/// The management station.
pub const MANAGEMENT: Host =
    Host { node: Node::Management, ipv4: Ipv4Addr::new(10, 3, 1, 50), ipv6: Ipv6Addr::UNSPECIFIED };

impl Eni {
    /// The third bytes of the VPC's subnets: OT and IT have two.
    #[must_use]
    pub const fn subnets(self) -> &'static [u8] {
        match self.vpc {
            1 | 2 => &[1, 2],
            _ => &[1],
        }
    }
}

/// A network interface of the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eni {
    /// The name in the firewall's name space.
    pub name: &'static str,
    /// The number of the VPC: the second byte of its IPv4 addresses.
    pub vpc: u8,
    /// The VPC's router, in whose name space the other end is.
    pub router: Node,
    /// The firewall's IPv4 address on it, in a /24.
    pub ipv4: Ipv4Addr,
    /// The firewall's IPv6 address on it, in a /64.
    pub ipv6: Option<Ipv6Addr>,
}

const fn eni(name: &'static str, router: Node, vpc: u8) -> Eni {
    Eni {
        name,
        vpc,
        router,
        ipv4: Ipv4Addr::new(10, vpc, 1, 10),
        ipv6: Some(Ipv6Addr::new(0xfd00, 0, 0, ((vpc as u16) << 8) | 1, 0, 0, 0, 0x10)),
    }
}

/// The interface in the Exposed VPC: zones `onprem` and `exposed`.
pub const ENI_EXPOSED: Eni = eni("ens6", Node::ExposedRouter, 0);
/// The interface in the OT VPC: zone `ot`.
pub const ENI_OT: Eni = eni("ens7", Node::OtRouter, 1);
/// The interface in the IT VPC: zone `it`.
pub const ENI_IT: Eni = eni("ens8", Node::ItRouter, 2);
/// The primary interface: management, no transit.
pub const ENI_MANAGEMENT: Eni =
    Eni { name: "ens5", vpc: 3, router: Node::ManagementRouter, ipv4: Ipv4Addr::new(10, 3, 1, 10), ipv6: None };
/// All interfaces of the firewall.
pub const ENIS: [Eni; 4] = [ENI_EXPOSED, ENI_OT, ENI_IT, ENI_MANAGEMENT];

/// The address of the instance metadata service (EC2 user guide, "Instance metadata and user data").
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The hardware address that the lab gives to the owner of an IPv4 address.
#[must_use]
pub const fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x06, 0x00, a, b, c, d]
}

/// Writes a hardware address as `ip` reads it.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The link-local address that a hardware address leads to (RFC 4291, appendix A).
#[must_use]
pub fn link_local_of(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
