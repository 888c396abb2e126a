//! What a plan rests on: the policy in force, with the interfaces that it was compiled for, the flows that are open, and those that were
//! denied lately. Told line by line, so that a table of a million flows is in nobody's memory twice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fw_common::abi::event::{Denied, DeniedKey, NO_SLOT};
use fw_common::abi::flow::FROM_HOST;
use fw_common::conntrack::State;
use fw_common::wire::protocol;
use fw_policy::Binding;
use fw_policy::plan::{End, Tuple};
use serde::{Deserialize, Serialize};

use crate::api::change::FileText;
use crate::change::Revision;
use crate::dataplane::FlowRecord;
use crate::facts::Facts;
use crate::names::Names;
use crate::parties::Parties;

/// A line of `fwctl.basis/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    Begin(Begin),
    /// A piece of the list that a feed of it holds. All pieces come before the first flow.
    List(Piece),
    /// A flow that is open.
    Flow(Seen),
    /// Packets that were denied.
    Denied(Seen),
    /// The last one: so many lines of either kind there were.
    End {
        /// Flows that are open.
        flows: u64,
        /// Denied ones.
        denied: u64,
    },
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Its revision.
    pub revision: Revision,
    /// Counts the policies that the data plane was given.
    pub epoch: u32,
    /// The interfaces that it was compiled for.
    pub binding: Binding,
    /// Its files.
    pub texts: Vec<FileText>,
    /// For so many seconds after its last packet a denied flow is remembered.
    pub denied_seconds: u64,
}

/// A piece of the list of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// What its contents are known by ([`fw_policy::FeedKey`]).
    pub feed: String,
    /// Lines of the list as a whole with an address, a prefix or a range.
    pub entries: usize,
    /// Addresses and ranges, one a line; the pieces of a feed make its list. Neighbours are one range.
    pub ranges: String,
}

/// A flow, or packets that were denied, as the originator sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Source address.
    pub src_addr: IpAddr,
    /// Source port; 0 for protocols without ports.
    pub src_port: u16,
    /// Destination address.
    pub dst_addr: IpAddr,
    /// Destination port; for ICMP and ICMPv6 the type, times 256, and the code.
    pub dst_port: u16,
    /// Protocol number.
    pub protocol: u8,
    /// The originator's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_zone: Option<String>,
    /// The responder's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_zone: Option<String>,
    /// The slot of the interface by which the originator's packets come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_slot: Option<u32>,
    /// The slot of the interface by which the responder's packets come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_slot: Option<u32>,
    /// The rule that has allowed or denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Packets, in both directions.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Seen {
    /// A flow of the table; `None` if it has ended and waits for the sweep only.
    #[must_use]
    pub fn flow(record: &FlowRecord, slots: &Slots, names: &Names) -> Option<Self> {
        let flow = &record.flow;
        if flow.state == State::Ended as u8 {
            return None;
        }
        let parties = Parties::of_flow(&record.key, record.family, flow);
        let [out, back] = &flow.directions;
        Some(Self {
            from_zone: names.zone(flow.from_zone).map(Into::into),
            to_zone: names.zone(flow.to_zone).map(Into::into),
            from_slot: slots.of(out.checked),
            to_slot: slots.of(back.checked),
            rule: names.rule(flow.rule).map(Into::into),
            packets: out.packets.saturating_add(back.packets),
            bytes: out.bytes.saturating_add(back.bytes),
            ..Self::between(&parties, record.key.protocol)
        })
    }

    /// Packets that were denied.
    #[must_use]
    pub fn denied(key: &DeniedKey, denied: &Denied, names: &Names) -> Self {
        Self {
            from_zone: names.zone(key.from_zone).map(Into::into),
            to_zone: names.zone(key.to_zone).map(Into::into),
            from_slot: (key.ingress_slot != NO_SLOT).then(|| key.ingress_slot.into()),
            rule: names.rule(key.rule).map(Into::into),
            packets: denied.packets,
            bytes: denied.bytes,
            ..Self::between(&Parties::of_denied(key), key.protocol)
        }
    }

    fn between(parties: &Parties, protocol: u8) -> Self {
        let Parties { src_addr, src_port, dst_addr, dst_port, icmp_type, icmp_code, .. } = *parties;
        let dst_port = match (icmp_type, icmp_code) {
            (Some(kind), Some(code)) => u16::from_be_bytes([kind, code]),
            _ => dst_port.unwrap_or_default(),
        };
        Self {
            src_addr,
            src_port: src_port.unwrap_or_default(),
            dst_addr,
            dst_port,
            protocol,
            from_zone: None,
            to_zone: None,
            from_slot: None,
            to_slot: None,
            rule: None,
            packets: 0,
            bytes: 0,
        }
    }

    /// What a policy is asked about it.
    #[must_use]
    pub fn tuple(&self) -> Tuple<'_> {
        Tuple {
            src_addr: self.src_addr,
            dst_addr: self.dst_addr,
            protocol: self.protocol,
            src_port: self.src_port,
            dst_port: self.dst_port,
            from: end(self.from_zone.as_deref(), self.from_slot),
            to: end(self.to_zone.as_deref(), self.to_slot),
        }
    }

    /// `10.2.1.5:40000 > 10.1.1.50:502, tcp`.
    #[must_use]
    pub fn shown(&self) -> String {
        let Self { src_addr, src_port, dst_addr, dst_port, protocol: number, .. } = *self;
        let name = crate::names::protocol(number);
        let with_port = |addr: IpAddr, port: u16| std::net::SocketAddr::new(addr, port).to_string();
        match number {
            protocol::TCP | protocol::UDP | protocol::SCTP => {
                format!("{} > {}, {name}", with_port(src_addr, src_port), with_port(dst_addr, dst_port))
            }
            protocol::ICMP | protocol::ICMPV6 => format!("{src_addr} > {dst_addr}, {name}/{}", dst_port >> 8),
            _ => format!("{src_addr} > {dst_addr}, {name}"),
        }
    }
}

fn end(zone: Option<&str>, slot: Option<u32>) -> End<'_> {
    match zone {
        Some("local") => End::Local,
        zone => End::Wire { zone: zone.unwrap_or_default(), slot },
    }
}

/// The slots of the interfaces by the kernel's index of their devices.
#[derive(Debug)]
pub struct Slots(BTreeMap<u32, u32>);

impl Slots {
    /// Those of this moment.
    #[must_use]
    pub fn new(facts: &Facts) -> Self {
        let known = facts.interfaces.iter();
        Self(known.filter_map(|interface| Some((interface.device.as_ref()?.ifindex, interface.slot))).collect())
    }

    /// The slot by which a direction of a flow comes in, if a packet has come since the last change; none of what the host sends.
    fn of(&self, checked: u32) -> Option<u32> {
        if checked & FROM_HOST != 0 { None } else { self.0.get(&checked).copied() }
    }
}
