//! `fwctl.observe/1`: what happens to flows, as observers see it.

use std::borrow::Cow;

use fw_common::DropReason;
use fw_common::abi::event::{DeniedKey, EndReason, FirstDenied, FlowEnd, OPENED};
use fw_policy::Level;
use serde::{Deserialize, Serialize};

use crate::api::answers::Count;
use crate::clock::{Clock, rfc3339};
use crate::flow_log::record::OBSERVE;
use crate::names::{Names, protocol};
use crate::parties::Parties;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// A rule allowed a flow, and it opened.
    Opened,
    /// A flow ended; it is told with its counters.
    Ended,
    /// A packet was denied: the first one of its tuple and reason in some seconds.
    Denied,
    /// A rule observed a packet that opens a flow, or is judged anew: the first one of its tuple in some seconds.
    Observed,
}

impl Happening {
    /// The name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Ended => "ended",
            Self::Denied => "denied",
            Self::Observed => "observed",
        }
    }
}

/// An event about a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub event: Happening,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// "ipv4" or "ipv6".
    pub family: String,
    /// Name of the protocol, or its number.
    pub protocol: String,
    /// Addresses and ports as the originator sent.
    #[serde(flatten)]
    pub parties: Parties,
    /// The originator's zone.
    pub from_zone: Option<String>,
    /// The responder's zone.
    pub to_zone: Option<String>,
    /// "allow", "drop" or "reject"; "observe" if this tells only what a rule that observes would have done.
    pub verdict: String,
    /// What that would have been: "allow", "drop" or "reject".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<String>,
    /// As how severe its rule has it logged.
    #[serde(default)]
    pub level: Level,
    /// The rule that decided, or that observes.
    pub rule: Option<String>,
    /// Why the flow ended, or why the packet was dropped.
    pub reason: Option<String>,
    /// Packets and bytes from the originator so far.
    pub out: Count,
    /// Packets and bytes from the responder so far.
    pub back: Count,
}

impl Event {
    /// The event of a flow that has opened or ended.
    #[must_use]
    pub fn of_flow(record: &FlowEnd, names: &Names, clock: &Clock) -> Self {
        let flow = &record.flow;
        let count = |direction: usize| Count {
            packets: flow.directions[direction].packets,
            bytes: flow.directions[direction].bytes,
        };
        let (event, reason) = match record.reason {
            OPENED => (Happening::Opened, None),
            number => (Happening::Ended, Some(EndReason::from_number(number).map_or("unknown", EndReason::name))),
        };
        Self {
            event,
            at: rfc3339(clock.wall(record.ended_at)),
            family: family(record.family),
            protocol: protocol(record.key.protocol).into_owned(),
            parties: Parties::of_flow(&record.key, record.family, flow),
            from_zone: names.zone(flow.from_zone).map(Cow::into_owned),
            to_zone: names.zone(flow.to_zone).map(Cow::into_owned),
            verdict: "allow".to_owned(),
            would: None,
            level: names.level(flow.rule),
            rule: names.rule(flow.rule).map(Cow::into_owned),
            reason: reason.map(str::to_owned),
            out: count(0),
            back: count(1),
        }
    }

    /// The event of a packet that was denied, or observed by a rule.
    #[must_use]
    pub fn of_denied(record: &FirstDenied, names: &Names, clock: &Clock) -> Self {
        let key: &DeniedKey = &record.key;
        let reason = DropReason::from_number(key.reason);
        let (event, verdict) = match (key.would(), reason) {
            (Some(_), _) => (Happening::Observed, OBSERVE),
            (None, Some(DropReason::Rejected)) => (Happening::Denied, "reject"),
            (None, _) => (Happening::Denied, "drop"),
        };
        let reason = key.would().is_none().then(|| reason.map_or("unknown", DropReason::name).to_owned());
        Self {
            event,
            at: rfc3339(clock.wall(record.at)),
            family: family(key.family),
            protocol: protocol(key.protocol).into_owned(),
            parties: Parties::of_denied(key),
            from_zone: names.zone(key.from_zone).map(Cow::into_owned),
            to_zone: names.zone(key.to_zone).map(Cow::into_owned),
            verdict: verdict.to_owned(),
            would: key.would().map(|action| action.name().to_owned()),
            level: names.level(key.rule),
            rule: names.rule(key.rule).map(Cow::into_owned),
            reason,
            out: Count { packets: 1, bytes: record.bytes },
            back: Count::default(),
        }
    }
}

fn family(number: u8) -> String {
    if number == 6 { "ipv6" } else { "ipv4" }.to_owned()
}
