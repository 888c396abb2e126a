//! `[[test]]`.

use std::net::IpAddr;

use fw_common::wire::protocol;
use toml::de::{DeTable, DeValue};

use super::definitions::{Decision, FlowState, Packet, TestDefinition};
use super::document::subtable;
use super::rule::{ACTION_WORDS, ACTIONS};
use super::schema::{Schema, Takes, key, words};
use super::table::TableReader;
use super::terms::reported;
use crate::Code;
use crate::diagnostic::Report;
use crate::set::interval::Family;
use crate::set::service::{ServiceRange, ServiceSet};
use crate::set::service_term;
use crate::source::{Location, Spanned};

/// `[[test]]`.
pub(super) const TEST: Schema = Schema {
    what: "a test",
    keys: &[
        key("name", Takes::Text, "What must hold, in a sentence; unique.").required("\"what must hold\""),
        key("packet", Takes::Table(&PACKET), "The packet that would open a flow.")
            .required("{ from = …, to = …, src = …, dst = …, service = … }"),
        key("expect", Takes::Words(&ACTION_WORDS), "What must become of it.").required("\"drop\""),
        key("rule", Takes::RuleId, "The id of the rule or default that must decide."),
        key("at", Takes::Moment, "When it is judged; now if left out."),
        key("source_port", Takes::Number { lowest: 1, highest: 65_535 }, "Its source port; 49152 if left out."),
        key("state", Takes::Words(&STATE_WORDS), "Whether it would open its flow; `new` if left out."),
    ],
    later: &[],
};
const PACKET: Schema = Schema {
    what: "a packet",
    keys: &[
        key("from", Takes::Zone, "The zone that it comes from.").required("\"ZONE\""),
        key("to", Takes::Zone, "The zone that it goes to.").required("\"ZONE\""),
        key("src", Takes::Address, "Its source address.").required("\"10.2.1.5\""),
        key("dst", Takes::Address, "Its destination address.").required("\"192.168.10.4\""),
        key("service", Takes::Service, "Its protocol with one port or ICMP type.").required("\"tcp/502\""),
    ],
    later: &[],
};

/// The source port of packets whose test does not name one: the first of the dynamic ports (RFC 6335, section 6).
const DYNAMIC_PORT: u16 = 49_152;

const STATES: [(&str, FlowState); 2] = [("new", FlowState::New), ("established", FlowState::Established)];
const STATE_WORDS: [&str; 2] = words(&STATES);

/// Reads a test; one that is not complete is reported and left out.
pub(super) fn read(table: &DeTable<'_>, at: Location, report: &mut Report) -> Option<TestDefinition> {
    let mut reader = TableReader::new(&TEST, table, at, report);
    let name = reader.string("name");
    let action = reader.choice("expect", &ACTIONS);
    let rule = reader.string("rule");
    let moment = reader.moment("at");
    let state = reader.choice("state", &STATES).map(|state| state.value).unwrap_or_default();
    let src_port = source_port(&mut reader);
    let (packet, packet_at) = subtable(&mut reader, "packet")?;
    let mut reader = TableReader::new(&PACKET, packet, packet_at, report);
    let (from, to) = (reader.string("from"), reader.string("to"));
    let (src_addr, dst_addr) = (address(&mut reader, "src"), address(&mut reader, "dst"));
    let service = service(&mut reader, src_port);
    Some(TestDefinition {
        name: name?,
        from: from?,
        to: to?,
        src_addr: src_addr?,
        dst_addr: dst_addr?,
        service: service?,
        state,
        expect: Decision { action: action?.value, rule },
        moment: moment.map(|moment| moment.value),
        at,
    })
}

/// The source port, if it is written and one.
fn source_port(reader: &mut TableReader<'_, '_, '_>) -> Option<u16> {
    let value = reader.value("source_port")?;
    let DeValue::Integer(number) = value.value else {
        reader.wrong_type("source_port", "an integer", &value);
        return None;
    };
    let port = number.to_string().parse::<u16>().ok().filter(|port| *port != 0);
    if port.is_none() {
        let message = format!("`{number}` is not a port");
        reader.report.at(Code::InvalidValue, value.at, message).help("a port is a number from 1 to 65535");
    }
    port
}

fn address(reader: &mut TableReader<'_, '_, '_>, key: &str) -> Option<Spanned<IpAddr>> {
    let written = reader.string(key)?;
    let address = written.value.parse();
    if address.is_err() {
        reader
            .report
            .at(Code::InvalidAddress, written.at, format!("`{}` is not an address", written.value))
            .help("a packet has one address: `10.2.1.5`");
    }
    address.ok().map(|address| Spanned::new(address, written.at))
}

/// A service with one port, or one ICMP type, or none of either.
fn service(reader: &mut TableReader<'_, '_, '_>, src_port: Option<u16>) -> Option<Spanned<Packet>> {
    let written = reader.string("service")?;
    let set = reported(service_term::parse_literal(&written.value), written.at, reader.report)?;
    let packet = one_packet(&set, src_port);
    if packet.is_none() {
        reader
            .report
            .at(Code::TestPacket, written.at, format!("`{}` is more than one packet", written.value))
            .help("name one port or ICMP type: `tcp/502`, `icmp/echo-request`");
    }
    packet.map(|packet| Spanned::new(packet, written.at))
}

/// The packet that a service is, if it is one: with one port, or one ICMP type, or none of either.
pub(crate) fn one_packet(set: &ServiceSet, src_port: Option<u16>) -> Option<Packet> {
    let ranges = Family::ALL.map(|family| set.family(family).ranges());
    let ranges = if ranges[0].is_empty() { &ranges[1] } else { &ranges[0] };
    match ranges.as_slice() {
        [ServiceRange { protocol: Some(number), ports: Some(ports) }] => {
            let (first, last) = ports.destination;
            let icmp = matches!(*number, protocol::ICMP | protocol::ICMPV6);
            // Of an ICMP type without a code, the packet has code 0.
            (first == last || icmp).then_some(Packet {
                protocol: *number,
                src_port: if icmp { 0 } else { src_port.unwrap_or(DYNAMIC_PORT) },
                dst_port: first,
            })
        }
        [ServiceRange { protocol: Some(number), ports: None }] => {
            (!has_ports(*number)).then_some(Packet { protocol: *number, src_port: 0, dst_port: 0 })
        }
        _ => None,
    }
}

const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP | protocol::ICMPV6)
}
