//! The packet that an operator describes, as a frame: the one that opens a flow.

use std::net::IpAddr;

use etherparse::{IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep};
use fw_common::wire::parse::{self, Extent};
use fw_common::wire::{Packet, protocol};
use fw_common::{DropReason, sctp};
use fw_policy::explain::{QuestionError, service};
use serde::{Deserialize, Serialize};

/// The hardware address of the sender: locally administered, and nobody's.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// TTL and hop limit: what hosts begin with.
const TTL: u8 = 64;
/// The window of a SYN.
const WINDOW: u16 = 64_240;
/// Bytes behind an ICMP header, as many as the longest query needs (RFC 792), and behind an IP header of which no more is known.
const PAYLOAD: [u8; 12] = [0; 12];

/// A packet as it is described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The source address.
    #[arg(long, value_name = "ADDRESS")]
    pub src: IpAddr,
    /// The destination address.
    #[arg(long, value_name = "ADDRESS")]
    pub dst: IpAddr,
    /// What it asks for, as in a rule: `tcp/502`, `icmp/echo-request`, `proto/47`.
    #[arg(long)]
    pub service: String,
    /// The source port; 49152 unless given.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
}

/// Why there is no such packet.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The service is none, or more than one packet.
    #[error(transparent)]
    Service(#[from] QuestionError),
    /// The addresses are of two families.
    #[error("source and destination are of different address families")]
    Families,
    /// An ICMP message of the other family.
    #[error("`{0}` and these addresses do not go together: `icmp` goes with IPv4, `icmpv6` with IPv6")]
    Icmp(String),
    /// It is longer than packets are.
    #[error("the packet cannot be made: {0}")]
    Build(String),
    /// The parser refuses it.
    #[error("the packet would be dropped as `{}`: {}", .0.name(), .0.explanation())]
    Parse(DropReason),
}

impl Description {
    /// The frame, addressed to the interface with a hardware address.
    ///
    /// # Errors
    /// What is no packet.
    pub fn frame(&self, dst_mac: [u8; 6]) -> Result<Vec<u8>, FrameError> {
        let (number, src_port, dst_port) = service(&self.service, self.src_port)?;
        let ethernet = PacketBuilder::ethernet2(SENDER, dst_mac);
        let ip = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ethernet.ipv4(src.octets(), dst.octets(), TTL),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ethernet.ipv6(src.octets(), dst.octets(), TTL),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Err(FrameError::Families),
        };
        if number == if self.src.is_ipv4() { protocol::ICMPV6 } else { protocol::ICMP } {
            return Err(FrameError::Icmp(self.service.clone()));
        }
        build(ip, number, src_port, dst_port).map_err(FrameError::Build)
    }

    /// The packet, as the data plane parses it.
    ///
    /// # Errors
    /// What is no packet, or one that the parser drops.
    pub fn packet(&self) -> Result<Packet, FrameError> {
        let frame = self.frame(SENDER)?;
        let mut packet = parse::frame(&frame.as_slice()).map_err(FrameError::Parse)?;
        if packet.protocol == protocol::SCTP {
            sctp::read_chunks(&frame.as_slice(), &mut packet, Extent::Whole).map_err(FrameError::Parse)?;
        }
        Ok(packet)
    }
}

fn build(ip: PacketBuilderStep<IpHeaders>, number: u8, src_port: u16, dst_port: u16) -> Result<Vec<u8>, String> {
    let mut frame = Vec::new();
    let [icmp_type, code] = dst_port.to_be_bytes();
    let built = match number {
        protocol::TCP => ip.tcp(src_port, dst_port, 0, WINDOW).syn().write(&mut frame, &[]),
        protocol::UDP => ip.udp(src_port, dst_port).write(&mut frame, &[]),
        protocol::ICMP => ip.icmpv4_raw(icmp_type, code, [0; 4]).write(&mut frame, &PAYLOAD),
        protocol::ICMPV6 => ip.icmpv6_raw(icmp_type, code, [0; 4]).write(&mut frame, &PAYLOAD),
        protocol::SCTP => ip.write(&mut frame, IpNumber(number), &sctp_init(src_port, dst_port)),
        other => ip.write(&mut frame, IpNumber(other), &PAYLOAD),
    };
    built.map_err(|error| error.to_string())?;
    Ok(frame)
}

/// An SCTP packet with an INIT (RFC 9260, sections 3.1 and 3.3.2): a window of 64 KiB and a stream each way.
fn sctp_init(src_port: u16, dst_port: u16) -> Vec<u8> {
    let mut bytes = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
    bytes.extend([0; 8]);
    bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let checksum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// CRC32c (RFC 9260, appendix A), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use fw_common::conntrack::{self, Opening};
    use fw_common::wire::parse::Kind;

    fn described(src: &str, dst: &str, service: &str) -> Description {
        let addr = |text: &str| text.parse().unwrap();
        Description { src: addr(src), dst: addr(dst), service: service.to_owned(), src_port: None }
    }

    #[test]
    fn each_is_parsed_as_what_was_described_and_opens_a_flow() {
        let v4 = |service| described("10.1.0.1", "10.2.0.1", service);
        let v6 = |service| described("fd00::1", "fd00::2", service);
        for (description, kind, ports) in [
            (v4("tcp/502"), Kind::Tcp, (49_152, 502)),
            (v6("tcp/502"), Kind::Tcp, (49_152, 502)),
            (Description { src_port: Some(7), ..v4("udp/53") }, Kind::Udp, (7, 53)),
            (v4("icmp/echo-request"), Kind::IcmpQuery, (0, 8 << 8)),
            (v4("icmp/13"), Kind::IcmpQuery, (0, 13 << 8)),
            (v6("icmpv6/echo-request"), Kind::IcmpQuery, (0, 128 << 8)),
            (v6("sctp/2905"), Kind::Sctp, (49_152, 2905)),
            (v4("proto/47"), Kind::Other, (0, 0)),
        ] {
            let packet = description.packet().unwrap();
            assert_eq!((packet.kind, packet.policy_ports()), (kind, ports), "{description:?}");
            assert_eq!((packet.src_addr.into(), packet.dst_addr.into()), (description.src, description.dst));
            assert!(matches!(conntrack::opening(&packet, false), Opening::Flow(_)), "{description:?}");
        }
    }

    #[test]
    fn what_is_no_packet_says_why() {
        let why = |src, dst, service| described(src, dst, service).packet().unwrap_err().to_string();
        assert!(why("10.1.0.1", "fd00::1", "tcp/1").contains("different address families"));
        assert!(why("10.1.0.1", "10.2.0.1", "icmpv6/echo-request").contains("`icmpv6` with IPv6"));
        assert!(why("10.1.0.1", "10.2.0.1", "tcp").contains("more than one packet"));
        assert!(why("10.1.0.1", "10.2.0.1", "tcp/0").contains("port"));
    }

    #[test]
    fn the_checksum_is_that_of_the_test_vectors() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
