//! Which events an observer wants.

use fw_policy::Level;
use serde::{Deserialize, Serialize};

use super::event::{Event, Happening};
use crate::address_range::AddressRange;
use crate::conditions::{self, ProtocolName, ReasonName};
use crate::names::{Names, protocol};

/// Conditions, all of which must hold; those that are not given hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObserveFilter {
    /// "allow", "drop", "reject"; "deny" for both of the latter; or "observe".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// What happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Happening>,
    /// Why a flow ended or was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonName>,
    /// The rule that decided, or that observes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// This severe, or worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
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
}

/// What `verdict` may be.
pub const VERDICTS: [&str; 5] = ["allow", "drop", "reject", "deny", "observe"];

impl ObserveFilter {
    /// Refuses what there is not.
    ///
    /// # Errors
    /// What is not there, and what is.
    pub fn check(&self, names: &Names) -> Result<(), String> {
        if let Some(verdict) = self.verdict.as_deref().filter(|verdict| !VERDICTS.contains(verdict)) {
            return Err(conditions::unknown("verdict", verdict, &VERDICTS));
        }
        conditions::check(self.zone.as_deref(), self.rule.as_deref(), names)
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let of_verdict = |wanted: &String| match wanted.as_str() {
            "deny" => matches!(event.verdict.as_str(), "drop" | "reject"),
            wanted => event.verdict == wanted,
        };
        let in_zone = |zone: &String| event.from_zone.as_ref() == Some(zone) || event.to_zone.as_ref() == Some(zone);
        self.verdict.as_ref().is_none_or(of_verdict)
            && self.event.is_none_or(|wanted| event.event == wanted)
            && self.reason.is_none_or(|reason| event.reason.as_deref() == Some(reason.name()))
            && self.rule.as_ref().is_none_or(|rule| event.rule.as_ref() == Some(rule))
            && self.level.is_none_or(|least| event.level.is_at_least(least))
            && self.zone.as_ref().is_none_or(in_zone)
            && self
                .addr
                .is_none_or(|range| range.contains(event.parties.src_addr) || range.contains(event.parties.dst_addr))
            && self.port.is_none_or(|port| event.parties.involves_port(port))
            && self.protocol.is_none_or(|wanted| protocol(wanted.0) == event.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use fw_common::DropReason;
    use fw_common::abi::event::{DeniedKey, FirstDenied};
    use fw_common::abi::policy::Action;
    use time::Duration;
    use time::macros::datetime;

    fn names() -> Names {
        Names::new(vec![(7, "ot-001".to_owned())], None)
    }

    fn clock() -> Clock {
        Clock::at(datetime!(2026-12-01 12:00:00 UTC), Duration::seconds(1_000))
    }

    fn denied() -> Event {
        let mut key = DeniedKey {
            family: 4,
            protocol: 6,
            reason: DropReason::Rejected as u8,
            rule: 7,
            dst_port: 502u16.to_be_bytes(),
            to_zone: fw_common::abi::policy::zone::LOCAL,
            ..DeniedKey::default()
        };
        key.src_addr[..4].copy_from_slice(&[10, 1, 1, 20]);
        Event::of_denied(&FirstDenied { key, bytes: 60, at: 1_000_000_000_000 }, &names(), &clock())
    }

    #[test]
    fn what_a_rule_observes_is_not_denied() {
        let key = DeniedKey { family: 4, protocol: 6, would: Action::Drop as u8 + 1, rule: 7, ..DeniedKey::default() };
        let event = Event::of_denied(&FirstDenied { key, bytes: 60, at: 1 }, &names(), &clock());
        assert_eq!((event.event, event.would.as_deref(), &event.reason), (Happening::Observed, Some("drop"), &None));
        let of_verdict =
            |verdict: &str| ObserveFilter { verdict: Some(verdict.to_owned()), ..ObserveFilter::default() };
        let wanted: Vec<&str> = VERDICTS.into_iter().filter(|verdict| of_verdict(verdict).wants(&event)).collect();
        assert_eq!(wanted, ["observe"]);
    }

    #[test]
    fn each_condition_can_hold_and_fail() {
        let filter = |change: fn(&mut ObserveFilter)| {
            let mut filter = ObserveFilter::default();
            change(&mut filter);
            filter.wants(&denied())
        };
        assert!(filter(|_| {}));
        assert!(filter(|filter| filter.verdict = Some("deny".to_owned())));
        assert!(filter(|filter| filter.verdict = Some("reject".to_owned())));
        assert!(!filter(|filter| filter.verdict = Some("allow".to_owned())));
        assert!(filter(|filter| filter.event = Some(Happening::Denied)));
        assert!(!filter(|filter| filter.event = Some(Happening::Opened)));
        assert!(filter(|filter| filter.reason = "rejected".parse().ok()));
        assert!(!filter(|filter| filter.reason = "policy".parse().ok()));
        assert!(filter(|filter| filter.rule = Some("ot-001".to_owned())));
        assert!(!filter(|filter| filter.rule = Some("ot-002".to_owned())));
        assert!(filter(|filter| filter.level = Some(Level::Info)));
        assert!(!filter(|filter| filter.level = Some(Level::Warning)));
        assert!(filter(|filter| filter.zone = Some("local".to_owned())));
        assert!(!filter(|filter| filter.zone = Some("ot".to_owned())));
        assert!(filter(|filter| filter.addr = "10.1.0.0/16".parse().ok()));
        assert!(!filter(|filter| filter.addr = "10.2.0.0/16".parse().ok()));
        assert!(filter(|filter| filter.port = Some(502)));
        assert!(!filter(|filter| filter.port = Some(503)));
        assert!(filter(|filter| filter.protocol = "TCP".parse().ok()));
        assert!(filter(|filter| filter.protocol = "6".parse().ok()));
        assert!(!filter(|filter| filter.protocol = "udp".parse().ok()));
    }
}
