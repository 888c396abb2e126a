//! What can be asked.

use serde::{Deserialize, Serialize};

use super::change::{ApplyWish, ConfirmWish, RollbackWish};
use crate::address_range::AddressRange;
use crate::change::Revision;
use crate::conditions::{self, ProtocolName, StateName};
use crate::explain::live::LiveQuestion;
use crate::live::capture::CaptureRequest;
use crate::live::filter::ObserveFilter;
use crate::names::Names;

/// A request: one JSON object on one line.
///
/// The variants without content have braces, because serde takes unknown keys from a unit variant without a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the firewall is.
    Status {},
    /// Live flows.
    Flows(FlowFilter),
    /// Dropped packets by reason.
    Drops {},
    /// The rules and what they did.
    Rules {},
    /// What the rules have done since they were first counted.
    RuleHits {},
    /// The zones and the interfaces that they lie behind.
    Zones {},
    /// What would become of a packet.
    Explain(LiveQuestion),
    /// What a plan for another policy rests on, line by line.
    Basis {
        /// Also the flows that are open, and those that were denied lately.
        #[serde(default)]
        flows: bool,
    },
    /// Take over changed files.
    Reload {},
    /// Take over the files of the policy directory as a change.
    Apply(ApplyWish),
    /// What waits for confirmation stays.
    Confirm(ConfirmWish),
    /// Go back to another revision.
    Rollback(RollbackWish),
    /// The revisions that were applied.
    History {},
    /// The files of a revision.
    Show {
        /// Which one; what judges packets without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
    },
    /// End flows.
    EndFlows(EndFlows),
    /// Events as they happen, until the client closes.
    Observe(ObserveFilter),
    /// Packets as they pass: a line that says that it begins, and a pcapng file.
    Capture(CaptureRequest),
}

/// Which flows are to end. Without any condition all of them have to be meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndFlows {
    /// The conditions; `limit` and `by` have no meaning here.
    pub flows: FlowFilter,
    /// All flows are meant.
    pub all: bool,
}

/// By what flows are ordered: the largest come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FlowOrder {
    /// Bytes, both directions together.
    #[default]
    Bytes,
    /// Packets, both directions together.
    Packets,
    /// Bytes per second, measured over a second.
    Rate,
}

/// Which flows are asked for; all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowFilter {
    /// The most flows to return, the largest first; 100 without, 10,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// By what they are ordered; bytes without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<FlowOrder>,
    /// A zone at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An address or prefix at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<AddressRange>,
    /// A port at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A protocol's name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// The id of the rule that allows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A state's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
}

impl FlowFilter {
    /// There is no condition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { limit: self.limit, by: self.by, ..Self::default() }
    }

    /// Refuses a zone or rule that there is not.
    pub(super) fn check(&self, names: &Names) -> Result<(), String> {
        conditions::check(self.zone.as_deref(), self.rule.as_deref(), names)
    }

    /// The most flows to return.
    #[must_use]
    pub fn effective_limit(&self) -> usize {
        self.limit.unwrap_or(100).min(10_000) as usize
    }
}

/// Reads a request; the error is for the one who asked.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| format!("this is not a request: {error}"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let filter = FlowFilter { limit: Some(5), addr: Some("10.1.1.20".parse().unwrap()), ..FlowFilter::default() };
        for request in [
            Request::Status {},
            Request::Flows(filter.clone()),
            Request::Flows(FlowFilter::default()),
            Request::Basis { flows: true },
            Request::Reload {},
            Request::Apply(ApplyWish {
                confirm_seconds: NonZeroU32::new(600),
                again: true,
                told: Some("anna".to_owned()),
            }),
            Request::Rollback(RollbackWish { revision: Some(7), told: None }),
            Request::Show { revision: None },
            Request::EndFlows(EndFlows { flows: filter, all: false }),
            Request::Observe(ObserveFilter::default()),
            Request::Capture(CaptureRequest { count: Some(3), ..CaptureRequest::default() }),
        ] {
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(parse(&line), Ok(request));
        }
        assert_eq!(parse(br#"{"command":"drops"}"#), Ok(Request::Drops {}));
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        for wrong in [
            "",
            "{}",
            "null",
            "\u{0}",
            r#"{"command":"explode"}"#,
            r#"{"command":"flows","limt":3}"#,
            r#"{"command":"apply","confirm":600}"#,
            r#"{"command":"apply","confirm_seconds":0}"#,
            r#"{"command":"show","rev":1}"#,
            r#"{"command":"flows","port":70000}"#,
            r#"{"command":"flows","addr":"10.1"}"#,
            r#"{"command":"flows","protocol":"256"}"#,
            r#"{"command":"flows","state":"open"}"#,
            r#"{"command":"observe","reason":"bad_luck"}"#,
            r#"{"command":"end_flows","flows":{"prot":"tcp"}}"#,
        ] {
            let reason = parse(wrong.as_bytes()).unwrap_err();
            assert!(reason.starts_with("this is not a request: "), "{wrong}: {reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
