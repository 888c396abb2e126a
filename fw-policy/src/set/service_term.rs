//! How one element of a service set is written: `tcp/80`, `icmp/echo-request`, `proto/47`.

use fw_common::wire::protocol;

use super::TermError;
use super::icmp::{self, Role};
use super::service::{PortRange, Ports, ServiceSet};
use crate::Code;

/// The protocols that have ports.
const WITH_PORTS: &[(&str, u8)] = &[("tcp", protocol::TCP), ("udp", protocol::UDP), ("sctp", protocol::SCTP)];

/// Protocols that people name and that are written by number.
const BY_NUMBER: &[(&str, u8)] =
    &[("igmp", 2), ("gre", 47), ("esp", 50), ("ah", 51), ("ospf", 89), ("vrrp", 112), ("dccp", 33), ("udplite", 136)];

const EXPECTED: &str = "write `tcp/80`, `udp/5000-5010`, `sctp`, `icmp/echo-request`, `icmpv6/128`, `proto/47` or a set \
                        (`@name`), each with `!` in front to except it";

fn invalid(message: impl Into<String>) -> TermError {
    TermError::new(Code::InvalidService, message)
}

/// The number of a protocol that has ports.
pub(crate) fn protocol_with_ports(name: &str) -> Result<u8, TermError> {
    let found = WITH_PORTS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, number)| *number)
        .ok_or_else(|| invalid(format!("`{name}` is not a protocol with ports")).help("write `tcp`, `udp` or `sctp`"))
}

/// Reads one element, without `!` and `@`.
pub(crate) fn parse_literal(text: &str) -> Result<ServiceSet, TermError> {
    let (name, rest) = match text.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text, None),
    };
    match (name, rest) {
        ("icmp", rest) => parse_icmp(false, rest),
        ("icmpv6", rest) => parse_icmp(true, rest),
        ("proto", Some(digits)) => {
            let number = parse_number(digits, "protocol number", u8::MAX.into())?;
            Ok(ServiceSet::of(u8::try_from(number).unwrap_or(u8::MAX), &[Ports::ALL]))
        }
        ("any", None) => {
            Err(invalid("`any` is not a service").help("leave the key `services` out to match every service"))
        }
        (name, rest) => {
            let number = protocol_with_ports(name).map_err(|_| unknown_protocol(text, name))?;
            let ports = rest.map_or(Ok(Ports::ALL), |rest| parse_ports(rest).map(Ports::to))?;
            Ok(ServiceSet::of(number, &[ports]))
        }
    }
}

fn unknown_protocol(text: &str, name: &str) -> TermError {
    let by_number = BY_NUMBER.iter().find(|(known, _)| *known == name);
    let error = invalid(format!("`{text}` is not a service"));
    match by_number {
        Some((_, number)) => error.write(text, format!("proto/{number}")),
        None => error.help(EXPECTED),
    }
}

/// Reads `80` or `1000-2000`.
pub(crate) fn parse_ports(text: &str) -> Result<PortRange, TermError> {
    let port = |digits: &str| match parse_number(digits, "port", u16::MAX.into())? {
        0 => Err(invalid("port 0 is reserved").help("a port is a number from 1 to 65535")),
        port => Ok(u16::try_from(port).unwrap_or(u16::MAX)),
    };
    let Some((first, last)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok((port, port));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(invalid("the port range ends before it starts").write(text, format!("{last}-{first}")));
    }
    Ok((first, last))
}

/// Reads what follows `icmp/`: nothing, a name, a type, or either with `/code`.
fn parse_icmp(icmpv6: bool, rest: Option<&str>) -> Result<ServiceSet, TermError> {
    let number = if icmpv6 { protocol::ICMPV6 } else { protocol::ICMP };
    let Some(rest) = rest else {
        return Ok(ServiceSet::of(number, &[Ports::ALL]));
    };
    let (kind, code) = match rest.split_once('/') {
        Some((kind, code)) => (kind, Some(parse_number(code, "ICMP code", u8::MAX.into())?)),
        None => (rest, None),
    };
    let kind = match icmp::number(icmpv6, kind) {
        Some(number) => number,
        None if kind.starts_with(|first: char| first.is_ascii_digit()) => {
            u8::try_from(parse_number(kind, "ICMP type", u8::MAX.into())?).unwrap_or(u8::MAX)
        }
        None => return Err(unknown_icmp_type(icmpv6, kind)),
    };
    refuse_types_that_open_no_flow(icmpv6, kind)?;
    let first = u16::from(kind) << 8;
    let codes = code.map_or((first, first | 0xff), |code| {
        let code = first | u16::try_from(code).unwrap_or(0xff);
        (code, code)
    });
    Ok(ServiceSet::of(number, &[Ports::to(codes)]))
}

fn unknown_icmp_type(icmpv6: bool, kind: &str) -> TermError {
    let queries = icmp::names(icmpv6).iter().filter(|(_, number)| icmp::role(icmpv6, *number) == Role::Query);
    let names = queries.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    invalid(format!("`{kind}` is not an ICMP type")).help(format!("write a number or one of {names}"))
}

fn refuse_types_that_open_no_flow(icmpv6: bool, kind: u8) -> Result<(), TermError> {
    let refuse = |what: &str, help: &str| {
        Err(TermError::new(Code::IcmpWithoutFlow, format!("ICMP {what} never open a flow, so no rule can match them"))
            .help(help))
    };
    match icmp::role(icmpv6, kind) {
        Role::Query => Ok(()),
        Role::Error => refuse("errors", "remove it: errors pass with the flow that they report on"),
        Role::Reply => refuse("replies", "name the request: its reply passes with it"),
    }
}

fn parse_number(digits: &str, what: &str, highest: u32) -> Result<u32, TermError> {
    let number = digits.parse::<u32>().ok().filter(|number| *number <= highest && !digits.starts_with('+'));
    number.ok_or_else(|| {
        invalid(format!("`{digits}` is not a {what}")).help(format!("a {what} is a number of at most {highest}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::interval::Family;
    use super::*;

    fn holds(text: &str, family: Family, protocol: u8, destination: u16) -> bool {
        parse_literal(text).unwrap().family(family).contains(protocol, 40_000, destination)
    }

    #[test]
    fn every_way_to_write_a_service() {
        for family in Family::ALL {
            assert!(holds("tcp", family, 6, 1) && !holds("tcp", family, 17, 1));
            assert!(holds("tcp/80", family, 6, 80) && !holds("tcp/80", family, 6, 81));
            assert!(holds("udp/1-99", family, 17, 99) && !holds("udp/1-99", family, 17, 100));
            assert!(holds("proto/47", family, 47, 0));
        }
        assert!(holds("icmp/echo-request", Family::V4, 1, 8 << 8) && !holds("icmp/8", Family::V4, 1, 9 << 8));
        assert!(holds("icmp/8/0", Family::V4, 1, 8 << 8) && !holds("icmp/8/0", Family::V4, 1, 8 << 8 | 1));
        assert!(holds("icmpv6/echo-request", Family::V6, 58, 128 << 8));
        assert!(holds("icmp", Family::V4, 1, 13 << 8) && !holds("icmp", Family::V6, 1, 13 << 8));
    }

    #[test]
    fn what_is_no_service() {
        for text in
            ["", "tcp/", "tcp/0", "tcp/65536", "tcp/9-1", "tcp/+80", "icmp/no-such", "icmp/256", "proto/256", "gre"]
        {
            assert_eq!(parse_literal(text).unwrap_err().code, Code::InvalidService, "{text}");
        }
        assert_eq!(parse_literal("gre").unwrap_err().help.unwrap(), "write `proto/47`");
        for text in ["icmp/3/4", "icmp/time-exceeded", "icmpv6/2", "icmp/echo-reply"] {
            assert_eq!(parse_literal(text).unwrap_err().code, Code::IcmpWithoutFlow, "{text}");
        }
    }
}
