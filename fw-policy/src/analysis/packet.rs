//! One packet of a set, for people.

use std::fmt;
use std::net::IpAddr;

use fw_common::wire::protocol;

use crate::set::icmp;

/// A packet that opens a flow, as an example of many.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ExamplePacket {
    /// Zone of the source.
    pub from: String,
    /// Zone of the destination.
    pub to: String,
    /// Source address.
    pub src_addr: IpAddr,
    /// Destination address, of the same family.
    pub dst_addr: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port; without meaning for protocols without ports.
    pub src_port: u16,
    /// Destination port; of ICMP and ICMPv6 the type, times 256, and the code; without meaning for protocols without either.
    pub dst_port: u16,
}

impl fmt::Display for ExamplePacket {
    /// `onprem 192.168.10.9 > it 10.2.1.20, tcp/502 from port 49152`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, src_addr, dst_addr, protocol, src_port, dst_port } = self;
        write!(formatter, "{from} {src_addr} > {to} {dst_addr}, ")?;
        let icmpv6 = *protocol == protocol::ICMPV6;
        match (*protocol, src_addr.is_ipv4()) {
            (protocol::TCP, _) => write!(formatter, "tcp/{dst_port} from port {src_port}"),
            (protocol::UDP, _) => write!(formatter, "udp/{dst_port} from port {src_port}"),
            (protocol::SCTP, _) => write!(formatter, "sctp/{dst_port} from port {src_port}"),
            (protocol::ICMP, true) | (protocol::ICMPV6, false) => {
                let [kind, code] = dst_port.to_be_bytes();
                let version = if icmpv6 { "icmpv6" } else { "icmp" };
                let name = icmp::names(icmpv6).iter().find(|(_, number)| *number == kind);
                match name {
                    Some((name, _)) => write!(formatter, "{version}/{name}")?,
                    None => write!(formatter, "{version}/{kind}")?,
                }
                if code == 0 { Ok(()) } else { write!(formatter, "/{code}") }
            }
            (number, _) => write!(formatter, "proto/{number}"),
        }
    }
}
