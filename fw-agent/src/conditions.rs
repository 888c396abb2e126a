//! Names in conditions, as an operator writes them: a name that there is not is a mistake, and not a condition that nothing meets.
//!
//! Protocols, states and reasons are the same everywhere, so that `fwctl` refuses them by itself; zones and rules are those of
//! the running agent, which refuses them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::conntrack::State;
use serde::{Deserialize, Serialize};

use crate::names::{Names, protocol};
use crate::text::nearest;

/// The most names that a message lists.
const MOST_LISTED: usize = 64;

/// What is told of a name that is not there: `there is no state "establish"; did you mean "established"? Known: …`.
#[must_use]
pub fn unknown(what: &str, written: &str, known: &[&str]) -> String {
    let meant = nearest(written, known).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    let listed = known.iter().take(MOST_LISTED).copied().collect::<Vec<_>>().join(", ");
    let more = known.len().saturating_sub(MOST_LISTED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let stop = if meant.is_empty() { "." } else { "" };
    format!("there is no {what} {written:?}{meant}{stop} Known: {listed}{more}")
}

/// A protocol, by its name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProtocolName(pub u8);

impl FromStr for ProtocolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let by_name = || (0..=u8::MAX).find(|number| protocol(*number).eq_ignore_ascii_case(text));
        text.parse().ok().or_else(by_name).map(Self).ok_or_else(|| {
            let names: Vec<_> = (0..=u8::MAX).map(protocol).filter(|name| name.parse::<u8>().is_err()).collect();
            let mut known: Vec<&str> = names.iter().map(Cow::as_ref).collect();
            known.push("the numbers 0 to 255");
            unknown("protocol", text, &known)
        })
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&protocol(self.0))
    }
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StateName(pub State);

impl FromStr for StateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let state = State::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(text));
        state.map(Self).ok_or_else(|| unknown("state", text, &State::ALL.map(State::name)))
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Why packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DropName(pub DropReason);

impl FromStr for DropName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let reason = DropReason::ALL.iter().find(|reason| reason.name() == text);
        reason.map(|reason| Self(*reason)).ok_or_else(|| unknown("drop reason", text, &drop_reasons()))
    }
}

impl fmt::Display for DropName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Why a flow ended, or packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReasonName {
    /// A flow ended.
    Ended(EndReason),
    /// Packets are dropped.
    Dropped(DropReason),
}

impl ReasonName {
    /// The name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended(reason) => reason.name(),
            Self::Dropped(reason) => reason.name(),
        }
    }
}

impl FromStr for ReasonName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ended = EndReason::ALL.into_iter().map(Self::Ended);
        let mut reasons = ended.chain(DropReason::ALL.iter().copied().map(Self::Dropped));
        reasons.find(|reason| reason.name() == text).ok_or_else(|| {
            let known: Vec<_> = EndReason::ALL.map(EndReason::name).into_iter().chain(drop_reasons()).collect();
            unknown("reason", text, &known)
        })
    }
}

impl fmt::Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn drop_reasons() -> Vec<&'static str> {
    DropReason::ALL.iter().map(|reason| reason.name()).collect()
}

/// They are written as their names.
macro_rules! as_text {
    ($($name:ident)+) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )+};
}

as_text!(ProtocolName StateName DropName ReasonName);

/// Refuses a zone or a rule that is neither of the running policy nor of one whose flows still live. What has no name is written as
/// its number is shown, `#7`.
///
/// # Errors
/// What is not there, and what is.
pub fn check(zone: Option<&str>, rule: Option<&str>, names: &Names) -> Result<(), String> {
    let is_known = |written: &str, known: &[&str]| known.contains(&written) || written.starts_with('#');
    let zones: Vec<&str> = names.zone_names().collect();
    if let Some(zone) = zone.filter(|zone| !is_known(zone, &zones)) {
        return Err(unknown("zone", zone, &zones));
    }
    let Some(rule) = rule else { return Ok(()) };
    let rules = once_each(names.rule_ids());
    if is_known(rule, &rules) { Ok(()) } else { Err(unknown("rule", rule, &rules)) }
}

/// Names in their order, each once: several handles have the id of a rule that was changed while its flows live.
fn once_each<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

#[cfg(test)]
mod tests {
    use fw_policy::{Binding, SourceFile};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let protocol = |text: &str| text.parse::<ProtocolName>().unwrap();
        assert_eq!(
            (protocol("TCP"), protocol("6"), protocol("6").to_string()),
            (ProtocolName(6), ProtocolName(6), "tcp".to_owned())
        );
        assert_eq!(protocol("47"), protocol("gre"));
        assert_eq!("Established".parse(), Ok(StateName(State::Established)));
        assert_eq!("policy".parse(), Ok(DropName(DropReason::Policy)));
        assert_eq!(
            ("idle".parse(), "policy".parse()),
            (Ok(ReasonName::Ended(EndReason::Idle)), Ok(ReasonName::Dropped(DropReason::Policy)))
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_refused_with_those_that_are() {
        let refusal = "256".parse::<ProtocolName>().unwrap_err();
        assert_eq!(
            refusal,
            "there is no protocol \"256\". Known: icmp, tcp, udp, gre, esp, icmpv6, sctp, the numbers 0 to 255"
        );
        let refusal = "establish".parse::<StateName>().unwrap_err();
        assert!(
            refusal.starts_with("there is no state \"establish\"; did you mean \"established\"? Known: syn-sent, "),
            "{refusal}"
        );
        assert!("polic".parse::<ReasonName>().unwrap_err().contains("did you mean \"policy\"?"));
        assert!("idle".parse::<DropName>().unwrap_err().starts_with("there is no drop reason \"idle\""));
    }

    #[test]
    fn zones_and_rules_are_those_of_the_agent() {
        let names = Names::new(vec![(3, "ot-001".to_owned()), (4, "default".to_owned())], None);
        assert_eq!(check(Some("local"), Some("ot-001"), &names), Ok(()));
        assert_eq!(check(Some("#5"), Some("#9"), &names), Ok(()));
        assert_eq!(
            check(None, Some("ot-01"), &names),
            Err("there is no rule \"ot-01\"; did you mean \"ot-001\"? Known: ot-001, default".to_owned())
        );
        assert_eq!(
            check(Some("dmz"), None, &names),
            Err("there is no zone \"dmz\". Known: link, management, local".to_owned())
        );
    }

    #[test]
    fn each_name_is_listed_once() {
        let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.ot]\n";
        let policy = fw_policy::load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]).unwrap();
        let compiled = policy.compile(&Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH).unwrap();
        let names = Names::new(vec![(3, "ot-001".to_owned()), (9, "ot-001".to_owned())], Some(&compiled));
        let refusal = check(Some("dmz"), None, &names).unwrap_err();
        assert_eq!(refusal, "there is no zone \"dmz\". Known: link, management, local, ot");
        let refusal = check(None, Some("x"), &names).unwrap_err();
        assert_eq!(refusal, "there is no rule \"x\". Known: ot-001");
    }

    #[test]
    fn of_many_names_not_all_are_listed() {
        let known: Vec<String> = (0..100).map(|number| format!("rule-{number}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        assert!(unknown("rule", "x", &known).ends_with("rule-63 and 36 more"));
    }
}
