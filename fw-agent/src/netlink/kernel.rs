//! Reads the kernel's tables and changes our part of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{Stream, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, LinkUnspec, RouteMessageBuilder, new_connection};

use super::neighbours::{Neighbour, Reachability};
use super::state::{Address, Family, Link, Mac, Observed, Route, Router};
use super::{NetlinkError, PROTOCOL, RULE_PRIORITY, TABLE};

/// A socket to the kernel of this network name space.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(super) handle: Handle,
}

impl Kernel {
    /// Opens the socket; a task of the current runtime serves it.
    pub fn connect() -> Result<Self, NetlinkError> {
        let (connection, handle, _messages) = new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Reads everything but the neighbours.
    pub async fn observe(&self) -> Result<Observed, NetlinkError> {
        let links = self.links().await?;
        let addresses = collect("list addresses", self.handle.address().get().execute()).await?;
        let mut observed = Observed {
            links: links.into_iter().map(|link| (link.index, link)).collect::<BTreeMap<_, _>>(),
            addresses: addresses.iter().filter_map(address_from).collect(),
            ..Observed::default()
        };
        for (family, version) in [(Family::V4, IpVersion::V4), (Family::V6, IpVersion::V6)] {
            let request = self.handle.route().get(route_query(family));
            for message in collect("list routes", request.execute()).await? {
                observed.routes.extend(our_route_from(&message));
                observed.routers.extend(router_from(&message));
            }
            let rules = collect("list rules", self.handle.rule().get(version).execute()).await?;
            if rules.iter().any(is_our_rule) {
                observed.rules.insert(family);
            }
        }
        observed.routes.sort();
        observed.routers.sort();
        Ok(observed)
    }

    /// Reads the devices.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let messages = collect("list devices", self.handle.link().get().execute()).await?;
        Ok(messages.iter().filter_map(link_from).collect())
    }

    /// Reads the neighbour tables of both families.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, NetlinkError> {
        let messages = collect("list neighbours", self.handle.neighbours().get().execute()).await?;
        Ok(messages.iter().filter_map(neighbour_from).collect())
    }

    /// Adds a route, or puts it in the place of ours to the same destination.
    pub async fn set_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(route_message(route)).replace();
        request.execute().await.map_err(|error| NetlinkError::refused(format!("route {route}"), &error))
    }

    /// Removes a route of ours.
    pub async fn remove_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let request = self.handle.route().del(route_message(route));
        match request.execute().await {
            Err(error) if !is_absent(&error) => Err(NetlinkError::refused(format!("remove route {route}"), &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Adds the rule that leads to our table.
    pub async fn add_rule(&self, family: Family) -> Result<(), NetlinkError> {
        let mut request = self.handle.rule().add().table_id(TABLE).priority(RULE_PRIORITY).action(RuleAction::ToTable);
        let message = request.message_mut();
        message.header.family = address_family(family);
        message.header.table = RouteHeader::RT_TABLE_UNSPEC;
        message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
        request.execute().await.map_err(|error| NetlinkError::refused(format!("{family} rule"), &error))
    }

    /// Asks the kernel to keep a neighbour fresh, from now on; a stale one is probed at once.
    ///
    /// The kernel creates a missing entry, and keeps the state of one that it has.
    pub async fn manage_neighbour(&self, ifindex: u32, addr: IpAddr) -> Result<(), NetlinkError> {
        let mut request = self.handle.neighbours().add(ifindex, addr).state(NeighbourState::None).replace();
        let attributes = &mut request.message_mut().attributes;
        attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
        request.execute().await.map_err(|error| NetlinkError::refused(format!("neighbour {addr}"), &error))
    }

    /// Removes a neighbour that no longer answers; the kernel resolves it anew when a packet needs it.
    pub async fn release_neighbour(&self, ifindex: u32, addr: IpAddr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = address_family(Family::of(addr));
        message.header.ifindex = ifindex;
        message.attributes.push(NeighbourAttribute::Destination(neighbour_address(addr)));
        match self.handle.neighbours().del(message).execute().await {
            Err(error) if !is_absent(&error) => Err(NetlinkError::refused(format!("release neighbour {addr}"), &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes a device.
    pub async fn add_link(&self, message: LinkMessage, name: &str) -> Result<(), NetlinkError> {
        let request = self.handle.link().add(message);
        request.execute().await.map_err(|error| NetlinkError::refused(format!("make {name}"), &error))
    }

    /// Sets a device's MTU in bytes.
    pub async fn set_mtu(&self, link: &Link, mtu: u32) -> Result<(), NetlinkError> {
        self.change_link(LinkUnspec::new_with_index(link.index).mtu(mtu).build(), link).await
    }

    /// Brings a device up.
    pub async fn set_up(&self, link: &Link) -> Result<(), NetlinkError> {
        self.change_link(LinkUnspec::new_with_index(link.index).up().build(), link).await
    }

    async fn change_link(&self, message: LinkMessage, link: &Link) -> Result<(), NetlinkError> {
        let request = self.handle.link().change(message);
        request.execute().await.map_err(|error| NetlinkError::refused(format!("change {}", link.name), &error))
    }
}

/// Reads a whole dump.
async fn collect<T>(
    what: &str,
    stream: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetlinkError> {
    stream.try_collect().await.map_err(|error| NetlinkError::refused(what, &error))
}

/// What was to be removed is gone already, with its device or by somebody else's hand.
fn is_absent(error: &rtnetlink::Error) -> bool {
    const ABSENT: [i32; 3] = [-libc::ESRCH, -libc::ENODEV, -libc::ENOENT];
    matches!(error, rtnetlink::Error::NetlinkError(message) if ABSENT.contains(&message.raw_code()))
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn link_from(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Mac::default(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            link.mac = Mac(bytes.as_slice().try_into().unwrap_or_default());
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// Addresses that duplicate address detection is still checking are left out: they are not ours yet.
fn address_from(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        if let AddressAttribute::Local(addr) = attribute {
            local = Some(*addr);
        } else if let AddressAttribute::Address(addr) = attribute {
            peer = Some(*addr);
        } else if let AddressAttribute::Flags(all) = attribute {
            flags = *all;
        }
    }
    let unusable = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    let addr = local.or(peer).filter(|_| !unusable)?;
    let avoid = flags.intersects(AddressFlags::Deprecated | AddressFlags::Dadfailed);
    Some(Address { ifindex: message.header.index, addr, prefix_len: message.header.prefix_len, avoid })
}

fn route_query(family: Family) -> RouteMessage {
    match family {
        Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    }
}

fn route_message(route: &Route) -> RouteMessage {
    let mut message = match route.destination {
        IpNet::V4(net) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(net.network(), net.prefix_len()).build()
        }
        IpNet::V6(net) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(net.network(), net.prefix_len()).build()
        }
    };
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.attributes.push(RouteAttribute::Table(TABLE));
    message.attributes.push(RouteAttribute::Oif(route.ifindex));
    match route.via {
        Some(IpAddr::V4(via)) => message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(via))),
        Some(IpAddr::V6(via)) => message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet6(via))),
        None => message.header.scope = RouteScope::Link,
    }
    message
}

/// The attributes of a route that the agent reads.
struct RouteFacts {
    table: u32,
    destination: IpNet,
    ifindex: Option<u32>,
    via: Option<IpAddr>,
    metric: u32,
}

fn route_facts(message: &RouteMessage) -> Option<RouteFacts> {
    let is_ipv4 = message.header.address_family == AddressFamily::Inet;
    let unspecified: IpAddr = if is_ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (mut table, mut addr, mut ifindex, mut via, mut metric) =
        (u32::from(message.header.table), unspecified, None, None, 0);
    for attribute in &message.attributes {
        if let RouteAttribute::Table(id) = attribute {
            table = *id;
        } else if let RouteAttribute::Destination(destination) = attribute {
            addr = route_address(destination)?;
        } else if let RouteAttribute::Oif(index) = attribute {
            ifindex = Some(*index);
        } else if let RouteAttribute::Gateway(gateway) = attribute {
            via = route_address(gateway);
        } else if let RouteAttribute::Priority(priority) = attribute {
            metric = *priority;
        }
    }
    let destination = IpNet::new(addr, message.header.destination_prefix_length).ok()?;
    Some(RouteFacts { table, destination, ifindex, via, metric })
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(addr) = address {
        return Some(IpAddr::V4(*addr));
    }
    if let RouteAddress::Inet6(addr) = address { Some(IpAddr::V6(*addr)) } else { None }
}

fn our_route_from(message: &RouteMessage) -> Option<Route> {
    if message.header.protocol != RouteProtocol::Other(PROTOCOL) {
        return None;
    }
    let facts = route_facts(message).filter(|facts| facts.table == TABLE)?;
    Some(Route { destination: facts.destination, ifindex: facts.ifindex?, via: facts.via })
}

fn router_from(message: &RouteMessage) -> Option<Router> {
    if message.header.protocol != RouteProtocol::Ra || message.header.destination_prefix_length != 0 {
        return None;
    }
    let facts = route_facts(message).filter(|facts| facts.table != TABLE)?;
    let Some(IpAddr::V6(addr)) = facts.via else { return None };
    Some(Router { ifindex: facts.ifindex?, metric: facts.metric, addr })
}

fn is_our_rule(message: &RuleMessage) -> bool {
    let has = |wanted: &RuleAttribute| message.attributes.contains(wanted);
    has(&RuleAttribute::Table(TABLE))
        && has(&RuleAttribute::Priority(RULE_PRIORITY))
        && has(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)))
}

fn neighbour_address(addr: IpAddr) -> NeighbourAddress {
    match addr {
        IpAddr::V4(addr) => NeighbourAddress::Inet(addr),
        IpAddr::V6(addr) => NeighbourAddress::Inet6(addr),
    }
}

/// Reads an entry of the IPv4 or IPv6 neighbour table.
pub(super) fn neighbour_from(message: &NeighbourMessage) -> Option<Neighbour> {
    let state = reachability(message.header.state);
    let (mut addr, mut mac, mut ext_flags, mut ours) = (None, None, NeighbourExtFlags::empty(), false);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(destination) = attribute {
            addr = if let NeighbourAddress::Inet(addr) = destination {
                Some(IpAddr::V4(*addr))
            } else if let NeighbourAddress::Inet6(addr) = destination {
                Some(IpAddr::V6(*addr))
            } else {
                None
            };
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = bytes.as_slice().try_into().ok().map(Mac);
        } else if let NeighbourAttribute::ExtFlags(flags) = attribute {
            ext_flags = *flags;
        } else if let NeighbourAttribute::Protocol(protocol) = attribute {
            ours = *protocol == RouteProtocol::Other(PROTOCOL);
        }
    }
    let addr = addr.filter(|addr| !addr.is_multicast() && !addr.is_loopback())?;
    let sends = !matches!(state, Reachability::Failed | Reachability::Incomplete);
    let managed = ext_flags.contains(NeighbourExtFlags::Managed);
    Some(Neighbour { ifindex: message.header.ifindex, addr, mac: mac.filter(|_| sends), state, managed, ours })
}

fn reachability(state: NeighbourState) -> Reachability {
    match state {
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => Reachability::Usable,
        NeighbourState::Stale => Reachability::Stale,
        NeighbourState::Failed => Reachability::Failed,
        NeighbourState::Noarp | NeighbourState::Permanent => Reachability::Fixed,
        NeighbourState::Incomplete | NeighbourState::None | NeighbourState::Other(_) | _ => Reachability::Incomplete,
    }
}
