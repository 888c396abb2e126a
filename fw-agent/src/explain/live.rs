//! What the running firewall would do with a packet that somebody describes: its program says, on its loaded tables.

use std::borrow::Cow;

use fw_common::DropReason;
use fw_common::abi::explained::{Explained, explained_flags, outcome};
use fw_common::conntrack::State;
use serde::{Deserialize, Serialize};

use super::frame::{Description, FrameError};
use crate::dataplane::DataplaneError;
use crate::facts::{Facts, Shared};

/// Which packet, and where it comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveQuestion {
    /// The packet.
    pub packet: Description,
    /// It comes in by the first interface of this zone; `management` is the management interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Or by this one, named as in `agent.toml` or as the kernel does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// `fwctl.explain/1`: what would become of the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// The interface that it came in by.
    pub interface: String,
    /// `forward`, `hand_over` (to the kernel, which resolves the next hop or fragments), `host` or `drop`.
    pub outcome: String,
    /// Why it is dropped.
    pub reason: Option<String>,
    /// The same in a sentence.
    pub explanation: Option<String>,
    /// The zone of its source; none if it was not found, or there is none.
    pub from_zone: Option<String>,
    /// The zone of its destination, likewise.
    pub to_zone: Option<String>,
    /// The rule that decides, or that has allowed its flow.
    pub rule: Option<String>,
    /// Where that stands.
    pub place: Option<String>,
    /// The policy was asked, in this epoch.
    pub asked: bool,
    /// The epoch of the policy; 0 if the packet did not get that far.
    pub epoch: u32,
    /// The rules that observe it, as far as they are named.
    #[serde(default)]
    pub observing: Vec<Observing>,
    /// Rules that observe it besides.
    #[serde(default)]
    pub observing_more: u32,
    /// The state of the flow that it belongs to.
    pub flow: Option<String>,
    /// It was taken for a packet of the flow's responder.
    pub reply: bool,
    /// It opens a flow, in this state.
    pub opens: Option<String>,
    /// The rule has limits, which were asked.
    pub limited: bool,
    /// The flow table is full: the flow opens if one gives way that is over, or half-open.
    pub table_full: bool,
    /// The interface that it leaves by.
    pub egress: Option<String>,
    /// Hardware address of the next hop.
    pub next_hop_mac: Option<String>,
    /// The longest IP packet that leaves there, in bytes.
    pub mtu: Option<u32>,
}

/// A rule that observes the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observing {
    /// Its id.
    pub rule: String,
    /// What it would do: `allow`, `drop` or `reject`; none if it is of another policy than the agent has compiled.
    pub would: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// What is described is no packet.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It comes in nowhere.
    #[error("{0}")]
    Ingress(String),
    /// The data plane could not be asked.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
}

impl LiveError {
    /// Whether another question is needed, rather than another attempt.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Ingress(_))
    }
}

/// Asks the running firewall.
///
/// # Errors
/// What is no packet, or comes in by no interface that carries the program.
pub fn ask(question: &LiveQuestion, shared: &Shared) -> Result<LiveAnswer, LiveError> {
    let facts = shared.facts.load();
    let (interface, ifindex) = ingress(question, &facts).map_err(LiveError::Ingress)?;
    let known = shared.dataplane.known_interfaces()?.into_iter().find(|known| known.ifindex == ifindex);
    let known = known.ok_or_else(|| LiveError::Ingress(format!("the program is not on {interface}")))?;
    let frame = question.packet.frame(known.mac)?;
    let explained = shared.dataplane.explain(&frame, ifindex)?;
    Ok(LiveAnswer { interface, ..answer(&explained, &facts) })
}

/// The interface that a packet comes in by, and the kernel's index of its device.
fn ingress(question: &LiveQuestion, facts: &Facts) -> Result<(String, u32), String> {
    let LiveQuestion { zone, interface, .. } = question;
    let is_it = |candidate: &&crate::facts::InterfaceFacts| match (interface, zone) {
        (Some(name), _) => {
            candidate.key == *name || candidate.device.as_ref().is_some_and(|device| device.name == *name)
        }
        (None, Some(zone)) if zone == "management" => candidate.management,
        (None, Some(zone)) => candidate.zones.contains(zone),
        (None, None) => false,
    };
    if interface.is_none() && zone.as_deref() == Some("local") {
        return Err(
            "the running firewall is asked about packets from the wire; what it sends itself is explained from \
                    the policy's files"
                .to_owned(),
        );
    }
    let Some(found) = facts.interfaces.iter().find(is_it) else {
        let names: Vec<&str> = facts.interfaces.iter().map(|interface| interface.key.as_str()).collect();
        let wanted = match (interface, zone) {
            (Some(name), _) => format!("there is no interface `{name}`"),
            (None, Some(zone)) => format!("no interface is in zone `{zone}`"),
            (None, None) => "neither `zone` nor `interface` is given".to_owned(),
        };
        return Err(format!("{wanted}; the interfaces are {}", names.join(", ")));
    };
    match &found.device {
        Some(device) => Ok((found.key.clone(), device.ifindex)),
        None => Err(format!("{} has no device", found.key)),
    }
}

/// The data plane's answer in names.
fn answer(explained: &Explained, facts: &Facts) -> LiveAnswer {
    let has = |flag: u8| explained.flags & flag != 0;
    let reason = u8::try_from(explained.reason).ok().and_then(DropReason::from_number);
    let reason = reason.filter(|_| explained.outcome == outcome::DROP);
    let rule = facts.names.rule(explained.rule).map(Cow::into_owned);
    let info =
        |id: &str| facts.policy.compiled.iter().flat_map(|compiled| compiled.rules.iter()).find(|info| info.id == id);
    let place = rule.as_deref().and_then(info);
    let named = explained.observed_by.iter().take(explained.observing as usize);
    let mut observing: Vec<&u32> = named.collect();
    observing.sort_by_key(|handle| facts.names.rule(**handle).and_then(|id| info(&id)).map(|info| info.ordinal));
    let observing = observing
        .into_iter()
        .filter_map(|handle| facts.names.rule(*handle))
        .map(|id| Observing { would: info(&id).map(|info| info.action.name().to_owned()), rule: id.into_owned() });
    let observing: Vec<Observing> = observing.collect();
    let leaves = matches!(explained.outcome, outcome::FORWARD | outcome::HAND_OVER);
    let state = || State::from_number(explained.state).name().to_owned();
    let opens = has(explained_flags::OPENS);
    LiveAnswer {
        interface: String::new(),
        outcome: outcome_name(explained.outcome).to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        explanation: reason.map(|reason| reason.explanation().to_owned()),
        from_zone: facts.names.zone(explained.from_zone).map(Cow::into_owned),
        to_zone: facts.names.zone(explained.to_zone).map(Cow::into_owned),
        place: place.map(|info| fw_policy::explain::place(info).to_string()),
        rule,
        asked: has(explained_flags::ASKED),
        epoch: explained.epoch,
        observing_more: explained.observing.saturating_sub(u32::try_from(observing.len()).unwrap_or(u32::MAX)),
        observing,
        flow: (has(explained_flags::OF_FLOW) && !opens).then(state),
        reply: has(explained_flags::REPLY),
        opens: opens.then(state),
        limited: has(explained_flags::LIMITED),
        table_full: has(explained_flags::TABLE_FULL),
        egress: leaves.then(|| facts.interface_name(explained.egress_slot).into_owned()),
        next_hop_mac: (explained.outcome == outcome::FORWARD).then(|| mac(explained.next_hop_mac)),
        mtu: leaves.then_some(explained.mtu),
    }
}

const fn outcome_name(number: u32) -> &'static str {
    match number {
        outcome::HOST => "host",
        outcome::FORWARD => "forward",
        outcome::HAND_OVER => "hand_over",
        outcome::DROP => "drop",
        _ => "unknown",
    }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
