//! Who opened a flow to whom: from the flow table's canonical key back to the originator's view.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::abi::event::DeniedKey;
use fw_common::abi::flow::{Flow, FlowKey6, flow_flags};
use serde::{Deserialize, Serialize};

/// IP protocol numbers of the queries that have a type and an identifier in place of ports.
const ICMP: [u8; 2] = [1, 58];
/// IP protocol numbers that have ports.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// The two ends of a flow, as its originator sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    /// The originator.
    pub src_addr: IpAddr,
    /// The originator's port, for protocols that have ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// The responder.
    pub dst_addr: IpAddr,
    /// The responder's port, for protocols that have ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// Type of the opening ICMP message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Code of the opening ICMP message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Identifier of an ICMP query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
}

impl Parties {
    /// The ends of a flow of the table; `family` is 4 or 6.
    #[must_use]
    pub fn of_flow(key: &FlowKey6, family: u8, flow: &Flow) -> Self {
        let low = (address(key.low_addr, family), u16::from_be_bytes(key.low_port));
        let high = (address(key.high_addr, family), u16::from_be_bytes(key.high_port));
        let (source, destination) =
            if flow.flags & flow_flags::ORIGIN_IS_HIGH == 0 { (low, high) } else { (high, low) };
        let with_ports = WITH_PORTS.contains(&key.protocol);
        let icmp = ICMP.contains(&key.protocol);
        Self {
            src_addr: source.0,
            src_port: with_ports.then_some(source.1),
            dst_addr: destination.0,
            dst_port: with_ports.then_some(destination.1),
            icmp_type: icmp.then_some(flow.icmp()[0]),
            icmp_code: icmp.then_some(flow.icmp()[1]),
            icmp_id: icmp.then_some(source.1),
        }
    }

    /// The ends of a denied packet, as far as it was parsed.
    #[must_use]
    pub fn of_denied(key: &DeniedKey) -> Self {
        let with_ports = WITH_PORTS.contains(&key.protocol);
        let icmp = ICMP.contains(&key.protocol);
        Self {
            src_addr: address(key.src_addr, key.family),
            src_port: with_ports.then_some(u16::from_be_bytes(key.src_port)),
            dst_addr: address(key.dst_addr, key.family),
            dst_port: with_ports.then_some(u16::from_be_bytes(key.dst_port)),
            icmp_type: icmp.then_some(key.dst_port[0]),
            icmp_code: icmp.then_some(key.dst_port[1]),
            icmp_id: None,
        }
    }

    /// One of the ends has this address.
    #[must_use]
    pub fn involves_address(&self, addr: IpAddr) -> bool {
        self.src_addr == addr || self.dst_addr == addr
    }

    /// One of the ends has this port.
    #[must_use]
    pub fn involves_port(&self, port: u16) -> bool {
        self.src_port == Some(port) || self.dst_port == Some(port)
    }
}

/// IPv4 addresses are kept in the first four bytes.
fn address(bytes: [u8; 16], family: u8) -> IpAddr {
    if family == 6 {
        return IpAddr::V6(Ipv6Addr::from(bytes));
    }
    let [a, b, c, d, ..] = bytes;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: u8) -> FlowKey6 {
        let mut key = FlowKey6 {
            protocol,
            low_port: 40_000u16.to_be_bytes(),
            high_port: 502u16.to_be_bytes(),
            ..FlowKey6::default()
        };
        key.low_addr[..4].copy_from_slice(&[10, 1, 1, 20]);
        key.high_addr[..4].copy_from_slice(&[192, 168, 10, 4]);
        key
    }

    #[test]
    fn the_originator_is_the_source_whichever_end_of_the_key_it_is() {
        let low = Parties::of_flow(&key(6), 4, &Flow::default());
        assert_eq!((low.src_addr.to_string().as_str(), low.src_port), ("10.1.1.20", Some(40_000)));
        let flow = Flow { flags: flow_flags::ORIGIN_IS_HIGH, ..Flow::default() };
        let high = Parties::of_flow(&key(6), 4, &flow);
        assert_eq!((high.src_addr.to_string().as_str(), high.src_port), ("192.168.10.4", Some(502)));
        assert_eq!((high.dst_addr, high.dst_port), (low.src_addr, low.src_port));
    }

    #[test]
    fn icmp_has_a_type_and_an_identifier_but_no_ports() {
        let mut opened_by_echo_request = Flow::default();
        opened_by_echo_request.directions[0].memory[0] = u32::from(u16::from_be_bytes([8, 0]));
        let parties = Parties::of_flow(&key(1), 4, &opened_by_echo_request);
        assert_eq!((parties.icmp_type, parties.icmp_id, parties.src_port), (Some(8), Some(40_000), None));
    }
}
