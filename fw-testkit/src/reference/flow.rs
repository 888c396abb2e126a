//! The flows that the reference knows: one map, searched for both directions.

use std::collections::HashMap;
use std::net::IpAddr;

use fw_common::conntrack::State;

use super::datagram::{Body, Datagram};
use super::policy::Place;
use super::sctp::{self, Association};
use super::tcp::{Connection, Phase};

/// The packets of one direction of a flow. ICMP queries have their identifier as source port and their type as destination
/// port; ICMP messages that ask nothing and answer nothing have their type as both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Protocol number.
    pub protocol: u8,
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
}

impl Tuple {
    fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// What a packet is to the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It belongs to the flow in either direction, and may open one.
    Either,
    /// It asks: only its own direction is its flow's.
    Query,
    /// It answers: only the other direction is its flow's.
    Reply,
    /// An ICMP error.
    Error,
    /// Group management, which routers do not forward.
    Group,
}

/// RFC 792, 950, 4443, and 4861 for what is never forwarded.
pub(super) fn role(datagram: &Datagram) -> Role {
    match (&datagram.body, datagram.src.is_ipv4()) {
        (Body::Icmp { kind: 8 | 13 | 15 | 17, .. }, true) | (Body::Icmp { kind: 128, .. }, false) => Role::Query,
        (Body::Icmp { kind: 0 | 14 | 16 | 18, .. }, true) | (Body::Icmp { kind: 129, .. }, false) => Role::Reply,
        (Body::Icmp { kind: 3 | 4 | 5 | 11 | 12, .. }, true) | (Body::Icmp { kind: 1..=127, .. }, false) => Role::Error,
        (Body::Icmp { kind: 130..=132 | 143, .. }, false) | (Body::Other(2), _) => Role::Group,
        _ => Role::Either,
    }
}

/// The tuple of a packet in its own direction.
pub(super) fn tuple(datagram: &Datagram) -> Tuple {
    let ports = match datagram.body {
        Body::Tcp(segment) => (segment.src_port, segment.dst_port),
        Body::Udp(src_port, dst_port) => (src_port, dst_port),
        Body::Sctp(ref packet) => (packet.src_port, packet.dst_port),
        Body::Icmp { kind, id, .. } => match role(datagram) {
            Role::Query => (id, kind.into()),
            Role::Reply => (request_of(kind).into(), id),
            Role::Either | Role::Error | Role::Group => (kind.into(), kind.into()),
        },
        Body::Other(_) => (0, 0),
    };
    Tuple { protocol: datagram.protocol(), source: (datagram.src, ports.0), destination: (datagram.dst, ports.1) }
}

/// The type of the request that a reply answers: for echo it stands eight behind it in IPv4, for all others one before.
const fn request_of(reply: u8) -> u8 {
    if reply == 0 { 8 } else { reply - 1 }
}

/// A flow.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) from: Place,
    pub(super) to: Place,
    /// The interface by which it was opened.
    pub(super) opened_by: usize,
    /// Type and code of the ICMP message that opened it.
    pub(super) icmp: (u8, u8),
    /// The policy that last allowed it.
    pub(super) policy: u64,
    /// By direction: the interface whose zone was found right.
    pub(super) checked: [Option<usize>; 2],
    /// TCP alone.
    pub(super) connection: Option<Connection>,
    /// SCTP alone.
    pub(super) association: Option<Association>,
    pub(super) replied: bool,
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
}

/// What can be compared of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowSummary {
    /// As the originator sends.
    pub tuple: Tuple,
    /// Its state.
    pub state: State,
    /// Packets by direction.
    pub packets: [u64; 2],
    /// Bytes by direction.
    pub bytes: [u64; 2],
}

/// All flows, by the tuple of their originator's packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<Tuple, Flow>,
}

impl Flows {
    /// The flow of a packet: its key, and the direction of the packet.
    pub(super) fn find(&self, datagram: &Datagram) -> Option<(Tuple, usize)> {
        let own = tuple(datagram);
        let role = role(datagram);
        let forth = (own, 0);
        let back = (own.reversed(), 1);
        let candidates = match role {
            Role::Query => vec![forth],
            Role::Reply => vec![back],
            Role::Either | Role::Error | Role::Group => vec![forth, back],
        };
        candidates.into_iter().find(|(tuple, _)| self.flows.contains_key(tuple))
    }

    pub(super) fn get(&self, tuple: &Tuple) -> Option<&Flow> {
        self.flows.get(tuple)
    }

    pub(super) fn get_mut(&mut self, tuple: &Tuple) -> Option<&mut Flow> {
        self.flows.get_mut(tuple)
    }

    pub(super) fn end(&mut self, tuple: &Tuple) {
        self.flows.remove(tuple);
    }

    /// Opens the flow of a packet; an old one of the same two ends is forgotten.
    pub(super) fn open(&mut self, datagram: &Datagram, flow: Flow) {
        let tuple = tuple(datagram);
        if role(datagram) != Role::Query {
            self.flows.remove(&tuple.reversed());
        }
        self.flows.insert(tuple, flow);
    }

    /// What can be compared, in order.
    pub(super) fn summary(&self) -> Vec<FlowSummary> {
        let mut all: Vec<_> = self.flows.iter().map(|(tuple, flow)| flow.summary(*tuple)).collect();
        all.sort_unstable();
        all
    }
}

impl Flow {
    fn summary(&self, tuple: Tuple) -> FlowSummary {
        let icmp = tuple.protocol == if tuple.source.0.is_ipv4() { 1 } else { 58 };
        let state = match (&self.connection, tuple.protocol) {
            (Some(connection), _) => match connection.phase {
                Phase::SynSent => State::SynSent,
                Phase::SynReceived => State::SynReceived,
                Phase::Established => State::Established,
                Phase::FinWait => State::FinWait,
                Phase::TimeWait => State::TimeWait,
                Phase::Closed => State::Closed,
            },
            (None, 132) => self.association.map_or(State::Other, |association| match association.phase {
                sctp::Phase::CookieWait => State::SctpCookieWait,
                sctp::Phase::CookieEchoed => State::SctpCookieEchoed,
                sctp::Phase::Established => State::SctpEstablished,
                sctp::Phase::ShutdownSent => State::SctpShutdownSent,
                sctp::Phase::ShutdownReceived => State::SctpShutdownReceived,
                sctp::Phase::ShutdownAckSent => State::SctpShutdownAckSent,
                sctp::Phase::Closed => State::SctpClosed,
                sctp::Phase::Aborted => State::Closed,
                sctp::Phase::HeartbeatSent => State::SctpHeartbeatSent,
            }),
            (None, 17) if self.replied => State::UdpReplied,
            (None, 17) => State::UdpNew,
            // A query has an identifier, which is not its type, in front of its type.
            (None, _) if icmp && tuple.source.1 != tuple.destination.1 => State::Icmp,
            (None, _) => State::Other,
        };
        FlowSummary { tuple, state, packets: self.packets, bytes: self.bytes }
    }
}
