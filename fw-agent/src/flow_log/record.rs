//! From what the data plane reports to a line of the flow log. Pure: names and clocks come in.

use fw_common::DropReason;
use fw_common::abi::event::{Denied, DeniedKey, EndReason, FlowEnd};
use fw_common::abi::flow::flow_flags;
use fw_common::abi::policy::Action;
use fw_common::conntrack::State;
use fw_policy::Level;
use serde::Serialize;

use crate::clock::{Clock, rfc3339};
use crate::names::{Names, protocol};
use crate::parties::Parties;

/// The verdict of what tells only what a rule would have done.
pub const OBSERVE: &str = "observe";

/// A line of the flow log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record<'n> {
    /// When the flow was opened, or the first packet denied or observed: RFC 3339 in UTC.
    pub start: String,
    /// When the flow ended, or the last packet was denied or observed.
    pub end: String,
    /// "ipv4" or "ipv6".
    pub family: &'static str,
    /// Name of the IP protocol, or its number.
    pub protocol: std::borrow::Cow<'static, str>,
    /// Addresses and ports as the originator sent.
    #[serde(flatten)]
    pub parties: Parties,
    /// The originator's zone.
    pub from_zone: Option<std::borrow::Cow<'n, str>>,
    /// The responder's zone.
    pub to_zone: Option<std::borrow::Cow<'n, str>>,
    /// Packets from the originator.
    pub packets_out: u64,
    /// Bytes from the originator: whole IP packets.
    pub bytes_out: u64,
    /// Packets from the responder.
    pub packets_in: u64,
    /// Bytes from the responder.
    pub bytes_in: u64,
    /// "allow", "drop" or "reject"; "observe" if this tells only what a rule that observes would have done.
    pub verdict: &'static str,
    /// What that would have been: "allow", "drop" or "reject".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<&'static str>,
    /// As how severe its rule has it logged.
    pub level: Level,
    /// The rule that decided, or that observes.
    pub rule: Option<std::borrow::Cow<'n, str>>,
    /// Why the flow ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<&'static str>,
    /// Why the packets were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<&'static str>,
    /// The state in which the flow ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// All TCP flags that were seen, in either direction, as in the TCP header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<u8>,
}

/// The record of an ended flow; `None` if its rule does not log.
#[must_use]
pub fn ended<'n>(event: &FlowEnd, names: &'n Names, clock: &Clock) -> Option<Record<'n>> {
    let flow = &event.flow;
    if flow.flags & flow_flags::LOG == 0 {
        return None;
    }
    let [out, back] = &flow.directions;
    let is_tcp = event.key.protocol == 6;
    Some(Record {
        start: rfc3339(clock.wall(flow.opened_at())),
        end: rfc3339(clock.wall(event.ended_at)),
        family: family(event.family),
        protocol: protocol(event.key.protocol),
        parties: Parties::of_flow(&event.key, event.family, flow),
        from_zone: names.zone(flow.from_zone),
        to_zone: names.zone(flow.to_zone),
        packets_out: out.packets,
        bytes_out: out.bytes,
        packets_in: back.packets,
        bytes_in: back.bytes,
        verdict: "allow",
        would: None,
        level: names.level(flow.rule),
        rule: names.rule(flow.rule),
        end_reason: Some(EndReason::from_number(event.reason).map_or("unknown", EndReason::name)),
        drop_reason: None,
        state: Some(State::from_number(flow.state).name()),
        tcp_flags: is_tcp.then_some(flow.tcp_flags[0] | flow.tcp_flags[1]),
    })
}

/// The record of a flow that was denied, or observed by a rule; `None` if its rule does not log, or if the packet was not parsed as far as
/// its addresses.
#[must_use]
pub fn denied<'n>(key: &DeniedKey, denied: &Denied, names: &'n Names, clock: &Clock) -> Option<Record<'n>> {
    if !matches!(key.family, 4 | 6) || !names.logs(key.rule) {
        return None;
    }
    let would = key.would();
    let reason = DropReason::from_number(key.reason);
    Some(Record {
        start: rfc3339(clock.wall(denied.first_at)),
        end: rfc3339(clock.wall(denied.last_at)),
        family: family(key.family),
        protocol: protocol(key.protocol),
        parties: Parties::of_denied(key),
        from_zone: names.zone(key.from_zone),
        to_zone: names.zone(key.to_zone),
        packets_out: denied.packets,
        bytes_out: denied.bytes,
        packets_in: 0,
        bytes_in: 0,
        verdict: match (would, reason) {
            (Some(_), _) => OBSERVE,
            (None, Some(DropReason::Rejected)) => "reject",
            (None, _) => "drop",
        },
        would: would.map(Action::name),
        level: names.level(key.rule),
        rule: names.rule(key.rule),
        end_reason: None,
        drop_reason: would.is_none().then(|| reason.map_or("unknown", DropReason::name)),
        state: None,
        tcp_flags: None,
    })
}

impl Record<'_> {
    /// The record as a line, with its end.
    #[must_use]
    pub fn to_line(&self) -> Option<Vec<u8>> {
        let mut line = serde_json::to_vec(self).ok()?;
        line.push(b'\n');
        Some(line)
    }
}

const fn family(number: u8) -> &'static str {
    if number == 6 { "ipv6" } else { "ipv4" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fw_common::abi::flow::{Direction, Flow, FlowKey6, OPENED_SHIFT};
    use fw_common::abi::policy::zone;
    use time::Duration;
    use time::macros::datetime;

    fn clock() -> Clock {
        Clock::at(datetime!(2026-12-01 12:00:00 UTC), Duration::seconds(1_000))
    }

    fn names() -> Names {
        Names::new(vec![(7, "ot-001".to_owned())], None)
    }

    fn flow_end() -> FlowEnd {
        let mut key = FlowKey6 {
            protocol: 6,
            low_port: 40_000u16.to_be_bytes(),
            high_port: 502u16.to_be_bytes(),
            ..FlowKey6::default()
        };
        key.low_addr[..4].copy_from_slice(&[10, 1, 1, 20]);
        key.high_addr[..4].copy_from_slice(&[192, 168, 10, 4]);
        let direction = |packets| Direction { packets, bytes: packets * 60, ..Direction::default() };
        let flow = Flow {
            rule: 7,
            state: State::TimeWait as u8,
            flags: flow_flags::LOG,
            from_zone: 1,
            to_zone: zone::LOCAL,
            opened: (900_000_000_000u64 >> OPENED_SHIFT) as u32,
            tcp_flags: [0x1b, 0x13],
            directions: [direction(5), direction(4)],
            ..Flow::default()
        };
        FlowEnd {
            flow,
            key,
            family: 4,
            reason: EndReason::Closed as u8,
            ended_at: 999_500_000_000,
            ..FlowEnd::default()
        }
    }

    #[test]
    fn an_ended_flow_is_told_as_its_originator_saw_it() {
        let (names, event) = (names(), flow_end());
        let line = ended(&event, &names, &clock()).unwrap().to_line().unwrap();
        insta::assert_snapshot!(String::from_utf8(line).unwrap());
    }

    #[test]
    fn a_flow_whose_rule_does_not_log_leaves_no_record() {
        let mut event = flow_end();
        event.flow.flags = 0;
        assert_eq!(ended(&event, &names(), &clock()), None);
    }

    #[test]
    fn a_denied_flow_says_why_and_by_which_rule() {
        let mut key = DeniedKey {
            family: 6,
            protocol: 58,
            reason: DropReason::Rejected as u8,
            rule: 7,
            from_zone: 2,
            ..DeniedKey::default()
        };
        key.src_addr = "fd00:0:0:201::20".parse::<std::net::Ipv6Addr>().unwrap().octets();
        key.dst_port = [128, 0];
        let value = Denied { packets: 3, bytes: 312, first_at: 998_000_000_000, last_at: 999_000_000_000 };
        let names = names();
        let line = denied(&key, &value, &names, &clock()).unwrap().to_line().unwrap();
        insta::assert_snapshot!(String::from_utf8(line).unwrap());
    }

    #[test]
    fn what_a_rule_observes_says_what_it_would_have_done() {
        let key =
            DeniedKey { family: 4, protocol: 6, would: Action::Reject as u8 + 1, rule: 7, ..DeniedKey::default() };
        let value = Denied { packets: 1, bytes: 60, first_at: 998_000_000_000, last_at: 998_000_000_000 };
        let names = names();
        let record = denied(&key, &value, &names, &clock()).unwrap();
        assert_eq!((record.verdict, record.would, record.drop_reason), ("observe", Some("reject"), None));
        assert_eq!(record.rule.as_deref(), Some("ot-001"));
    }

    #[test]
    fn what_was_not_parsed_as_far_as_its_addresses_is_only_counted() {
        let key = DeniedKey { family: 0, reason: DropReason::Ethertype as u8, ..DeniedKey::default() };
        assert_eq!(denied(&key, &Denied::default(), &names(), &clock()), None);
    }
}
