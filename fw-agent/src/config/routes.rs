//! `[[route]]`: where packets go besides the connected subnets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fw_common::abi::interface::MAX_SEGMENT_LIMITS;
use fw_policy::Code;
use ipnet::IpNet;

use super::interfaces::Interfaces;
use super::report::Report;
use super::section::{At, Section};
use crate::netlink::plan::{Via, WantedRoute};
use crate::text::nearest;

/// What the sections say.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) wanted: Vec<WantedRoute>,
    /// By destination: the largest TCP segment, in bytes, that may be announced to and from it.
    pub(super) segment_limits: BTreeMap<IpNet, u16>,
}

pub(super) fn routes(sections: Vec<Section<'_>>, interfaces: &Interfaces, report: &mut Report<'_>) -> Routes {
    let mut routes = BTreeMap::new();
    let mut segment_limits = BTreeMap::new();
    for mut section in sections {
        let destination = section.string("destination", report);
        let interface = section.string("interface", report);
        let via = section.string("via", report);
        if destination.is_none() {
            section.missing("destination", "a prefix, such as \"192.168.0.0/16\"", report);
        }
        if interface.is_none() {
            section.missing("interface", "the name, hardware address or ENI of an `[[interface]]`", report);
        }
        let destination =
            destination.and_then(|text| prefix(&text, report).map(|net| At { value: net, span: text.span }));
        let slot = interface.and_then(|text| slot_of(&text, interfaces, report));
        let via = next_hop(via.as_ref(), destination.as_ref().map(|net| net.value), &section, report);
        // The least is what every host takes without being told (RFC 9293, section 3.7.1), the most what the largest MTU leaves.
        let mss = section.integer("mss", 536..=9176, report);
        section.finish(report);
        if let (Some(destination), Some(mss)) = (&destination, &mss)
            && let Ok(mss) = u16::try_from(mss.value)
        {
            segment_limits.insert(destination.value, mss);
            if segment_limits.len() > MAX_SEGMENT_LIMITS {
                report
                    .add(Code::InvalidValue, destination.span.clone(), "there are too many routes with `mss`")
                    .expected(format!("at most {MAX_SEGMENT_LIMITS}"));
            }
        }
        let (Some(destination), Some(slot), Some(via)) = (destination, slot, via) else { continue };
        let route = WantedRoute { destination: destination.value, slot, via };
        if routes.insert(destination.value, route).is_some() {
            let message = format!("there is another route to {}", destination.value);
            report.add(Code::Duplicate, destination.span, message).expected("listed twice");
        }
    }
    Routes { wanted: routes.into_values().collect(), segment_limits }
}

fn prefix(text: &At<&str>, report: &mut Report<'_>) -> Option<IpNet> {
    let Ok(net) = text.value.parse::<IpNet>() else {
        report
            .add(Code::InvalidAddress, text.span.clone(), "this is not a prefix")
            .expected("expected an address and a length, such as \"192.168.0.0/16\" or \"fd00::/8\"");
        return None;
    };
    if net != net.trunc() {
        report
            .add(Code::HostBits, text.span.clone(), "the prefix has bits set behind its length")
            .expected(format!("did you mean \"{}\"?", net.trunc()));
        return None;
    }
    Some(net)
}

fn slot_of(text: &At<&str>, interfaces: &Interfaces, report: &mut Report<'_>) -> Option<usize> {
    let names: Vec<String> = interfaces.list.iter().map(|interface| interface.key.to_string()).collect();
    let slot = names.iter().position(|name| name.eq_ignore_ascii_case(text.value));
    if slot.is_none() && interfaces.complete {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let finding = report.add(Code::InvalidValue, text.span.clone(), "no `[[interface]]` is called so");
        match nearest(text.value, &known) {
            Some(near) => finding.expected(format!("did you mean \"{near}\"?")),
            None => finding.expected("unknown interface").help(format!("known interfaces: {}", known.join(", "))),
        };
    }
    slot
}

fn next_hop(
    via: Option<&At<&str>>,
    destination: Option<IpNet>,
    section: &Section<'_>,
    report: &mut Report<'_>,
) -> Option<Via> {
    let Some(via) = via else {
        section.missing("via", "\"gateway\" or the address of the next hop", report);
        return None;
    };
    if via.value == "gateway" {
        return Some(Via::Gateway);
    }
    let Ok(addr) = via.value.parse::<IpAddr>() else {
        report
            .add(Code::InvalidAddress, via.span.clone(), "this is not a next hop")
            .expected("expected \"gateway\" or an address");
        return None;
    };
    if destination.is_some_and(|net| net.addr().is_ipv4() != addr.is_ipv4()) {
        report
            .add(
                Code::Contradiction,
                via.span.clone(),
                "the next hop is of another address family than the destination",
            )
            .expected("expected an address of the destination's family");
        return None;
    }
    Some(Via::Address(addr))
}
