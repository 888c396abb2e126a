//! The reference itself: what becomes of each packet, in the order in which the design asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fw_common::DropReason;
use fw_common::abi::policy::Action;

use super::anomalies::check;
use super::datagram::{Body, Datagram};
use super::flow::{Flow, FlowSummary, Flows, Role, Tuple, role};
use super::policy::{Answer, Place, Policy};
use super::sctp::{self, Association};
use super::service::Asked;
use super::tcp::{Connection, ORIGINATOR, Ruling};
use super::topology::{NoWay, Topology, Way};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The host gets it.
    Pass,
    /// It leaves by the interface in this slot.
    Forward(usize),
    /// The kernel resolves its next hop, or fragments it.
    HandOver,
    /// It is dropped.
    Drop(DropReason),
}

/// A firewall.
#[derive(Clone, Debug)]
pub struct Reference {
    topology: Topology,
    policy: Policy,
    /// Counts policies.
    epoch: u64,
    flows: Flows,
    /// Packets and their bytes that rules have observed, by id.
    observed: BTreeMap<String, [u64; 2]>,
}

/// Where a packet of a flow goes on: to the host, if nowhere else.
type Onward = Option<Way>;

impl Reference {
    /// A firewall without flows.
    #[must_use]
    pub fn new(topology: Topology, policy: Policy) -> Self {
        Self { topology, policy, epoch: 0, flows: Flows::default(), observed: BTreeMap::new() }
    }

    /// Replaces the policy under its flows.
    pub fn apply(&mut self, policy: Policy) {
        self.policy = policy;
        self.epoch += 1;
    }

    /// The flows, in order.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowSummary> {
        self.flows.summary()
    }

    /// Packets and their bytes that rules have observed, by the ids of those that have observed some.
    #[must_use]
    pub const fn observed(&self) -> &BTreeMap<String, [u64; 2]> {
        &self.observed
    }

    /// Asks the policy for a packet, and counts it for the rules that observe it.
    fn ask(&mut self, zones: [&Place; 2], addresses: [IpAddr; 2], asked: &Asked, packet: &Datagram) -> Action {
        let ([from, to], [src, dst]) = (zones, addresses);
        let Answer { action, observing } = self.policy.decide(from, to, src, dst, asked);
        for id in observing {
            let [packets, bytes] = self.observed.entry(id).or_default();
            *packets += 1;
            *bytes += u64::from(packet.ip_len());
        }
        action
    }

    /// Judges a packet that comes in by an interface.
    pub fn receive(&mut self, slot: usize, datagram: &Datagram) -> Verdict {
        match self.judge(slot, datagram).and_then(|onward| self.leave(datagram, onward)) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn judge(&mut self, slot: usize, datagram: &Datagram) -> Result<Onward, DropReason> {
        check(datagram)?;
        if role(datagram) == Role::Error {
            return self.related(slot, datagram);
        }
        if let Some((tuple, direction)) = self.flows.find(datagram)
            && let Some(onward) = self.of_flow(slot, datagram, tuple, direction)?
        {
            return Ok(onward);
        }
        self.open(slot, datagram)
    }

    /// The last checks of a packet that goes on.
    fn leave(&self, datagram: &Datagram, onward: Onward) -> Result<Verdict, DropReason> {
        let Some(way) = onward else { return Ok(Verdict::Pass) };
        if datagram.ttl <= 1 {
            return Err(if datagram.ttl == 0 { DropReason::TtlZero } else { DropReason::TtlExpired });
        }
        let fits = datagram.ip_len() <= self.topology.interfaces[way.slot].mtu;
        match (way.resolved, fits) {
            (true, true) => Ok(Verdict::Forward(way.slot)),
            // The kernel, which resolves the next hop, knows its MTU.
            (false, _) => Ok(Verdict::HandOver),
            (true, false) if datagram.src.is_ipv4() && datagram.may_fragment => Ok(Verdict::HandOver),
            (true, false) => Err(DropReason::TooBig),
        }
    }

    fn zone(&self, slot: usize, addr: IpAddr) -> Option<Place> {
        let interface = &self.topology.interfaces[slot];
        if interface.management { Some(Place::Management) } else { self.policy.zone_of(&interface.zones, addr) }
    }

    /// Whether a source can be somebody else's.
    fn is_not_ours(&self, source: IpAddr) -> Result<(), DropReason> {
        if self.topology.is_own(source) {
            return Err(DropReason::SourceOwn);
        }
        if self.topology.is_broadcast(source) { Err(DropReason::SourceDirectedBroadcast) } else { Ok(()) }
    }

    fn way_to(&self, addr: IpAddr) -> Result<Way, DropReason> {
        match self.topology.way_to(addr) {
            Ok(way) if self.topology.interfaces[way.slot].management => Err(DropReason::ManagementTransit),
            Ok(way) => Ok(way),
            Err(NoWay::NoRoute) => Err(DropReason::NoRoute),
            Err(NoWay::Blackhole) => Err(DropReason::UnreachableRoute),
            Err(NoWay::Foreign) => Err(DropReason::EgressNotForwarding),
        }
    }

    /// A packet that belongs to no flow: whether it may open one.
    fn open(&mut self, slot: usize, datagram: &Datagram) -> Result<Onward, DropReason> {
        self.is_not_ours(datagram.src)?;
        let from = self.zone(slot, datagram.src).ok_or(DropReason::Spoofed)?;
        if self.topology.is_broadcast(datagram.dst) {
            return Err(DropReason::Broadcast);
        }
        let (connection, association) = opening(datagram)?;
        let for_host = self.topology.is_own(datagram.dst) || datagram.dst == Ipv4Addr::BROADCAST;
        let (to, onward) = if for_host {
            (Place::Local, None)
        } else {
            let (to, way) = self.egress(slot, datagram.dst)?;
            (to, Some(way))
        };
        let icmp = match datagram.body {
            Body::Icmp { kind, code, .. } => (kind, code),
            Body::Tcp(_) | Body::Udp(..) | Body::Sctp(..) | Body::Other(_) => (0, 0),
        };
        let tuple = super::flow::tuple(datagram);
        match self.ask([&from, &to], [datagram.src, datagram.dst], &asked(&tuple, icmp), datagram) {
            Action::Allow => {}
            Action::Drop => return Err(DropReason::Policy),
            Action::Reject => return Err(DropReason::Rejected),
        }
        let flow = Flow {
            from,
            to,
            opened_by: slot,
            icmp,
            policy: self.epoch,
            checked: [Some(slot), None],
            connection,
            association,
            replied: false,
            packets: [1, 0],
            bytes: [datagram.ip_len().into(), 0],
        };
        self.flows.open(datagram, flow);
        Ok(onward)
    }

    /// Where a packet that opens a flow leaves, and into which zone.
    fn egress(&self, slot: usize, dst: IpAddr) -> Result<(Place, Way), DropReason> {
        if self.topology.interfaces[slot].management {
            return Err(DropReason::ManagementTransit);
        }
        let way = self.way_to(dst)?;
        let to = self.zone(way.slot, dst).ok_or(DropReason::DestinationZone)?;
        if way.slot == slot { Err(DropReason::Hairpin) } else { Ok((to, way)) }
    }

    /// A packet of a flow; nothing if it starts another one in its place.
    fn of_flow(
        &mut self,
        slot: usize,
        datagram: &Datagram,
        tuple: Tuple,
        direction: usize,
    ) -> Result<Option<Onward>, DropReason> {
        if self.flows.get(&tuple).is_some_and(|flow| flow.policy != self.epoch) {
            self.judge_again(&tuple, datagram)?;
        }
        let zone = self.zone(slot, datagram.src);
        let Some(flow) = self.flows.get_mut(&tuple) else { return Ok(None) };
        let (sender, receiver) = if direction == ORIGINATOR { (&flow.from, &flow.to) } else { (&flow.to, &flow.from) };
        let receiver = receiver.clone();
        if flow.checked[direction] != Some(slot) {
            match zone {
                _ if *sender == Place::Local => return Err(DropReason::SourceOwn),
                None => return Err(DropReason::Spoofed),
                Some(zone) if zone != *sender => return Err(DropReason::Asymmetric),
                Some(_) => flow.checked[direction] = Some(slot),
            }
        }
        if let (Some(connection), Body::Tcp(segment)) = (&mut flow.connection, &datagram.body) {
            match connection.judge(direction, segment, datagram.len) {
                Ruling::Pass => {}
                Ruling::Another => return Ok(None),
                Ruling::WrongState => return Err(DropReason::TcpState),
                Ruling::OutOfWindow => return Err(DropReason::TcpWindow),
            }
        }
        if let (Some(association), Body::Sctp(packet)) = (&mut flow.association, &datagram.body) {
            match association.judge(direction, packet) {
                sctp::Ruling::Pass => {}
                sctp::Ruling::Another => return Ok(None),
                sctp::Ruling::WrongState => return Err(DropReason::SctpState),
                sctp::Ruling::WrongTag => return Err(DropReason::SctpTag),
            }
        }
        flow.replied |= direction != ORIGINATOR;
        flow.packets[direction] += 1;
        flow.bytes[direction] += u64::from(datagram.ip_len());
        if receiver == Place::Local {
            return Ok(Some(None));
        }
        let way = self.way_to(datagram.dst)?;
        if way.slot == slot {
            return Err(DropReason::Hairpin);
        }
        match self.zone(way.slot, datagram.dst) {
            None => Err(DropReason::DestinationZone),
            Some(zone) if zone != receiver => Err(DropReason::Asymmetric),
            Some(_) => Ok(Some(Some(way))),
        }
    }

    /// Asks a new policy about a flow that an older one has allowed, as if its first packet came now, when this one comes; ends it if
    /// the answer is no.
    fn judge_again(&mut self, tuple: &Tuple, datagram: &Datagram) -> Result<(), DropReason> {
        let Some(flow) = self.flows.get(tuple) else { return Ok(()) };
        let to = match flow.to {
            Place::Local => Some(Place::Local),
            // Without a way nothing is known of the zone: the packet is lost, the flow is not.
            Place::Zone(_) | Place::Management => {
                self.zone(self.way_to(tuple.destination.0)?.slot, tuple.destination.0)
            }
        };
        let from = self.zone(flow.opened_by, tuple.source.0);
        let ends = [tuple.source.0, tuple.destination.0];
        let asked = asked(tuple, flow.icmp);
        let zones = from.zip(to).filter(|(from, to)| self.ask([from, to], ends, &asked, datagram) == Action::Allow);
        let Some((from, to)) = zones else {
            self.flows.end(tuple);
            return Err(DropReason::PolicyChanged);
        };
        let epoch = self.epoch;
        if let Some(flow) = self.flows.get_mut(tuple) {
            (flow.from, flow.to, flow.policy) = (from, to, epoch);
            flow.checked[1] = None;
        }
        Ok(())
    }

    /// An ICMP error: whether a living flow has sent what it quotes, and whether it comes from where that went and goes to where
    /// that came from.
    fn related(&self, slot: usize, error: &Datagram) -> Result<Onward, DropReason> {
        self.is_not_ours(error.src)?;
        let unrelated = DropReason::IcmpUnrelated;
        let Body::Icmp { kind, quote, .. } = &error.body else { return Err(unrelated) };
        // Redirects and source quench are no reports about a flow.
        if error.src.is_ipv4() && matches!(kind, 4 | 5) {
            return Err(DropReason::IcmpForbidden);
        }
        let quote = quote.as_ref().ok_or(DropReason::IcmpHeader)?;
        if quote.src != error.dst {
            return Err(unrelated);
        }
        let (tuple, direction) = self.flows.find(quote).ok_or(unrelated)?;
        let flow = self.flows.get(&tuple).filter(|flow| flow.policy == self.epoch).ok_or(unrelated)?;
        let (sender, receiver) = if direction == ORIGINATOR { (&flow.from, &flow.to) } else { (&flow.to, &flow.from) };
        if self.zone(slot, quote.dst).as_ref() != Some(receiver) {
            return Err(unrelated);
        }
        if let (Some(connection), Body::Tcp(segment)) = (&flow.connection, &quote.body)
            && !connection.may_be_in_flight(direction, segment.seq)
        {
            return Err(unrelated);
        }
        if let (Some(association), Body::Sctp(packet)) = (&flow.association, &quote.body)
            && !association.may_be_in_flight(direction, packet)
        {
            return Err(unrelated);
        }
        if *sender == Place::Local {
            return Ok(None);
        }
        let way = self.way_to(error.dst)?;
        if self.zone(way.slot, error.dst).as_ref() == Some(sender) {
            Ok(Some(way))
        } else {
            Err(DropReason::Asymmetric)
        }
    }
}

/// Whether a packet may open a flow, and the connection or association that it opens.
fn opening(datagram: &Datagram) -> Result<(Option<Connection>, Option<Association>), DropReason> {
    use crate::packet::tcp_flags::{ACK, SYN};
    match (&datagram.body, role(datagram)) {
        (Body::Tcp(segment), _) if segment.has(SYN) && !segment.has(ACK) => {
            Ok((Some(Connection::open(segment, datagram.len)), None))
        }
        (Body::Tcp(_), _) => Err(DropReason::TcpNotSyn),
        (Body::Sctp(packet), _) => Ok((None, Some(Association::open(packet)?))),
        (_, Role::Reply | Role::Error) => Err(DropReason::IcmpUnrelated),
        (_, Role::Either | Role::Query | Role::Group) => Ok((None, None)),
    }
}

/// What the policy is asked about a flow.
fn asked(tuple: &Tuple, icmp: (u8, u8)) -> Asked {
    Asked {
        ipv4: tuple.source.0.is_ipv4(),
        protocol: tuple.protocol,
        src_port: tuple.source.1,
        dst_port: tuple.destination.1,
        icmp,
    }
}
