//! Services as policies name them: `tcp/80`, `icmp/echo-request`, `proto/47`, or a table of ports.

use std::ops::RangeInclusive;

use toml::Value;

/// What of a packet a service is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Whether the packet is IPv4: ICMP exists there only, and ICMPv6 elsewhere only.
    pub(super) ipv4: bool,
    pub(super) protocol: u8,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    /// Type and code of an ICMP message.
    pub(super) icmp: (u8, u8),
}

/// One literal element of a service set.
#[derive(Clone, Debug)]
pub(super) enum ServiceTerm {
    Ports { protocol: u8, source: Vec<RangeInclusive<u16>>, destination: Vec<RangeInclusive<u16>> },
    Icmp { ipv4: bool, kind: Option<u8>, code: Option<u8> },
    Protocol(u8),
}

const ALL_PORTS: RangeInclusive<u16> = 0..=u16::MAX;

impl ServiceTerm {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let name = parts.next()?;
        let (first, second) = (parts.next(), parts.next());
        match name {
            "icmp" | "icmpv6" => {
                let kind = match first {
                    Some("echo-request") => Some(if name == "icmp" { 8 } else { 128 }),
                    Some("timestamp-request") => Some(13),
                    Some(number) => Some(number.parse().ok()?),
                    None => None,
                };
                let code = second.map(str::parse).transpose().ok()?;
                Some(Self::Icmp { ipv4: name == "icmp", kind, code })
            }
            "proto" => Some(Self::Protocol(first?.parse().ok()?)),
            _ => {
                let destination = first.map_or(Some(ALL_PORTS), range)?;
                Some(Self::Ports {
                    protocol: with_ports(name)?,
                    source: vec![ALL_PORTS],
                    destination: vec![destination],
                })
            }
        }
    }

    pub(super) fn read_table(table: &toml::Table) -> Option<Self> {
        let ports = |key: &str| match table.get(key) {
            None => Some(vec![ALL_PORTS]),
            Some(value) => value.as_array()?.iter().map(|element| range(element.as_str()?)).collect(),
        };
        let protocol = with_ports(table.get("proto").and_then(Value::as_str)?)?;
        Some(Self::Ports { protocol, source: ports("source_port")?, destination: ports("port")? })
    }

    pub(super) fn holds(&self, asked: &Asked) -> bool {
        match self {
            Self::Ports { protocol, source, destination } => {
                let within = |ranges: &[RangeInclusive<u16>], port| ranges.iter().any(|range| range.contains(&port));
                *protocol == asked.protocol && within(source, asked.src_port) && within(destination, asked.dst_port)
            }
            Self::Icmp { ipv4, kind, code } => {
                asked.ipv4 == *ipv4
                    && asked.protocol == if *ipv4 { 1 } else { 58 }
                    && kind.is_none_or(|kind| kind == asked.icmp.0)
                    && code.is_none_or(|code| code == asked.icmp.1)
            }
            Self::Protocol(number) => {
                let other_family = if asked.ipv4 { 58 } else { 1 };
                *number == asked.protocol && *number != other_family
            }
        }
    }
}

fn with_ports(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_holds_what_it_says() {
        let tcp = |dst_port| Asked { ipv4: true, protocol: 6, src_port: 9, dst_port, icmp: (0, 0) };
        let holds = |term: &str, asked: &Asked| ServiceTerm::read(term).unwrap().holds(asked);
        assert!(holds("tcp/80", &tcp(80)) && !holds("tcp/80", &tcp(81)) && !holds("udp/80", &tcp(80)));
        assert!(holds("tcp", &tcp(1)) && holds("tcp/1-99", &tcp(99)) && !holds("tcp/1-99", &tcp(100)));
        let echo = Asked { protocol: 1, icmp: (8, 3), ..tcp(0) };
        assert!(holds("icmp", &echo) && holds("icmp/8", &echo) && holds("icmp/8/3", &echo));
        assert!(!holds("icmp/8/0", &echo) && !holds("icmpv6", &echo));
        assert!(holds("proto/47", &Asked { protocol: 47, ..tcp(0) }));
    }

    #[test]
    fn a_table_is_the_product_of_its_ports() {
        let table: toml::Table =
            "proto = \"udp\"\nport = [\"53\", \"80-90\"]\nsource_port = [\"1024-65535\"]".parse().unwrap();
        let term = ServiceTerm::read_table(&table).unwrap();
        let udp = |src_port, dst_port| Asked { ipv4: false, protocol: 17, src_port, dst_port, icmp: (0, 0) };
        assert!(term.holds(&udp(1024, 85)) && !term.holds(&udp(1023, 85)) && !term.holds(&udp(1024, 91)));
    }
}
