//! What is answered. The agent writes these, `fwctl` and scripts read them; each names its schema.

use fw_policy::Level;
use serde::{Deserialize, Serialize};

use crate::facts::Check;
use crate::parties::Parties;

/// An answer with the name of its schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// `fwctl.<thing>/1`.
    pub schema: String,
    /// The content.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Answer<T> {
    /// Wraps the content of `fwctl.<thing>/1`.
    pub fn new(thing: &str, body: T) -> Self {
        Self { schema: format!("fwctl.{thing}/1"), body }
    }
}

/// `fwctl.error/1`: the request was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// Why.
    pub error: String,
    /// The request names what there is not: another attempt needs another request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usage: bool,
}

/// `fwctl.status/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The agent's process.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// All of [`Self::checks`] hold.
    pub ready: bool,
    /// The conditions for being ready.
    pub checks: Vec<Check>,
    /// The policy.
    pub policy: PolicyStatus,
    /// The interfaces, management last.
    pub interfaces: Vec<InterfaceStatus>,
    /// The feeds of the policy.
    #[serde(default)]
    pub feeds: Vec<FeedStatus>,
    /// Routes.
    pub routes: RouteStatus,
    /// Flows.
    pub flows: FlowTableStatus,
    /// Ways that are probed.
    #[serde(default)]
    pub probes: Vec<ProbeStatus>,
    /// The flow log.
    pub flow_log: FlowLogStatus,
    /// Why `agent.toml` could not be taken over.
    pub config_problem: Option<String>,
    /// Changed keys that a restart takes over.
    pub waiting_for_restart: Vec<String>,
}

/// The policy that judges packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Counts the applied policies; 0: none.
    pub epoch: u32,
    /// Digest in hexadecimal.
    pub digest: Option<String>,
    /// The revision in force.
    #[serde(default)]
    pub revision: Option<u64>,
    /// Until when it waits for confirmation, RFC 3339.
    #[serde(default)]
    pub confirm_by: Option<String>,
    /// Why the files in the directory, which are valid, are not what runs.
    #[serde(default)]
    pub held: Option<String>,
    /// Number of rules, generated ones included; `None` while the files are not what runs.
    pub rules: Option<usize>,
    /// What the last attempt to apply a policy came to.
    pub last_result: String,
    /// When that was.
    pub last_attempt_at: Option<String>,
    /// When the running policy was applied; `None` if it was found running.
    pub applied_at: Option<String>,
    /// When a rule starts or expires next.
    pub next_change_at: Option<String>,
    /// All diagnostics, if the files are not what runs.
    pub problem: Option<String>,
    /// What its author should look at.
    pub warnings: Vec<String>,
    /// Number of the policy's own tests that passed.
    pub tests_passed: usize,
}

/// A feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Its name.
    pub feed: String,
    /// Where it comes from.
    pub url: String,
    /// Entries of the list that is in force; `None`: there is none, so that the feed matches nothing.
    pub entries: Option<usize>,
    /// When its source has last said that the list is the latest, RFC 3339.
    pub confirmed_at: Option<String>,
    /// That is longer ago than `max_age`.
    pub stale: bool,
    /// Why the last attempt has failed, if it has.
    pub problem: Option<String>,
    /// Why its list is not on disk, if it is not.
    #[serde(default)]
    pub unkept: Option<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its slot; 4294967295 while it waits for a policy that knows it.
    pub slot: u32,
    /// How `agent.toml` names it.
    pub interface: String,
    /// The kernel's name of the device, while there is one.
    pub device: Option<String>,
    /// The kernel's index of the device.
    pub ifindex: Option<u32>,
    /// Hardware address.
    pub mac: Option<String>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Zones behind it.
    pub zones: Vec<String>,
    /// It is the management interface.
    pub management: bool,
    /// The program is on it.
    pub attached: bool,
    /// Why not.
    pub problem: Option<String>,
    /// Packets that the program received.
    pub received: Count,
    /// Packets that it sent on to this interface.
    pub forwarded: Count,
    /// Packets received here that it dropped.
    pub dropped: Count,
    /// Packets received here that it gave to the host.
    pub passed: Count,
    /// Packets that were to leave here, and that the device did not take.
    #[serde(default)]
    pub redirect_errors: u64,
}

/// A way that is probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Its name.
    pub probe: String,
    /// Who is asked.
    pub target: String,
    /// What is asked.
    pub check: String,
    /// "unknown", "alive" or "dead".
    pub life: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// The firewall is ready only while it is alive.
    pub required: bool,
    /// Probes that were made.
    pub sent: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How long the last answer took, in microseconds.
    pub took_us: Option<u64>,
    /// Why the last probe that has failed did; nothing once the way is alive and probes are answered.
    pub failure: Option<String>,
    /// Probes are answered again, and the way is dead until it has been well for long enough.
    #[serde(default)]
    pub held_down: bool,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes, IP headers included.
    pub bytes: u64,
}

impl From<fw_common::abi::counters::Counter> for Count {
    fn from(counter: fw_common::abi::counters::Counter) -> Self {
        Self { packets: counter.packets, bytes: counter.bytes }
    }
}

/// Our routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Number of routes in place.
    pub installed: usize,
    /// Routes that cannot be had.
    pub unresolved: Vec<UnresolvedRoute>,
    /// What the kernel refused.
    pub problems: Vec<String>,
    /// The kernel forwards, in both families.
    pub forwarding: bool,
}

/// A route that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnresolvedRoute {
    /// Where it should lead.
    pub destination: String,
    /// By which interface.
    pub interface: String,
    /// Why not.
    pub reason: String,
}

/// The flow tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTableStatus {
    /// Live IPv4 flows.
    pub ipv4: u64,
    /// Live IPv6 flows.
    pub ipv6: u64,
    /// Flows that each table holds.
    pub limit: u32,
    /// Flows opened since the data plane was loaded.
    pub opened: u64,
    /// Half-open flows of both families.
    #[serde(default)]
    pub half_open: u64,
    /// The most half-open flows of each family.
    #[serde(default)]
    pub half_open_limit: u64,
    /// Half-open flows that gave way to others.
    #[serde(default)]
    pub evicted: u64,
    /// Flows not opened because the table was full.
    pub table_full: u64,
    /// Packets given to the kernel because their next hop was not resolved.
    pub handed_over: u64,
    /// Flow-end events lost.
    pub events_lost: u64,
    /// Denied and observed packets in no record of the flow log, because too many flows were denied or observed at once.
    #[serde(default)]
    pub denied_unrecorded: u64,
}

/// The flow log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLogStatus {
    /// Its file.
    pub file: String,
    /// Records written.
    pub written: u64,
    /// Records given up.
    pub lost: u64,
    /// Failed attempts to write.
    pub failures: u64,
}

/// `fwctl.flows/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Number of flows that match, also those beyond the limit.
    pub matching: u64,
    /// Number of live flows.
    pub total: u64,
    /// The flows, those with the most bytes first.
    pub flows: Vec<FlowRow>,
}

/// A live flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
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
    /// State.
    pub state: String,
    /// The rule that allows it.
    pub rule: Option<String>,
    /// Packets and bytes from the originator.
    pub out: Count,
    /// Packets and bytes from the responder.
    pub back: Count,
    /// Seconds since it was opened.
    pub age_seconds: u64,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
    /// Seconds without a packet after which it ends.
    pub timeout_seconds: u32,
    /// The policy that last judged it.
    pub epoch: u32,
    /// Bytes per second, where flows are ordered by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
}

/// `fwctl.end_flows/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedFlows {
    /// Number of flows that were ended.
    pub ended: u64,
    /// Why the others were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// `fwctl.drops/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Every reason, in the order of its number.
    pub drops: Vec<DropRow>,
    /// Packets that were to be forwarded, and that the egress interface did not take.
    #[serde(default)]
    pub redirect_errors: Vec<RedirectErrorRow>,
}

/// Packets that an egress interface did not take, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectErrorRow {
    /// The interface as `agent.toml` names it, or "handover".
    pub interface: String,
    /// The kernel's error.
    pub error: String,
    /// Packets.
    pub packets: u64,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The reason's name.
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// What the reason means.
    pub explanation: String,
}

/// `fwctl.rules/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Epoch of the policy.
    pub epoch: u32,
    /// The rules in the order in which they are matched, then those of older policies that still have flows.
    pub rules: Vec<RuleRow>,
}

/// A rule and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its id.
    pub id: String,
    /// It is part of the running policy.
    pub current: bool,
    /// It matches now; else it has not started yet or has expired.
    pub active: bool,
    /// Position in the policy, from 0.
    pub ordinal: Option<u32>,
    /// "allow", "drop" or "reject".
    pub action: Option<String>,
    /// "enforce", or "observe": what it would do is only counted and logged.
    #[serde(default)]
    pub mode: Option<String>,
    /// Source zones, as written.
    pub from: Option<String>,
    /// Destination zones, as written.
    pub to: Option<String>,
    /// What its author says of it.
    pub description: Option<String>,
    /// File and line.
    pub place: Option<String>,
    /// What it decides is logged.
    pub log: Option<bool>,
    /// As how severe, if it is.
    #[serde(default)]
    pub level: Option<Level>,
    /// How many flows it may open, if that is limited.
    #[serde(default)]
    pub limits: Option<String>,
    /// Packets that would have opened flows beyond that.
    #[serde(default)]
    pub limited: u64,
    /// Packets that it decided, or observed.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Flows that it allowed.
    pub flows: u64,
    /// When it last decided or observed a packet, RFC 3339.
    pub last_hit_at: Option<String>,
}

/// `fwctl.rule-hits/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHitsAnswer {
    /// When this was asked, RFC 3339.
    pub at: String,
    /// The rules in the order in which they are matched, then those that are gone.
    pub rules: Vec<RuleHitsRow>,
}

/// What a rule has done since it was first counted, over restarts and under earlier ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHitsRow {
    /// Its id.
    pub id: String,
    /// It is part of the running policy.
    pub current: bool,
    /// It is generated, or a default: it is not written as a rule.
    pub generated: bool,
    /// "enforce", or "observe"; none if it is gone.
    #[serde(default)]
    pub mode: Option<String>,
    /// File and line.
    pub place: Option<String>,
    /// Since when it is counted, RFC 3339.
    pub first_counted_at: String,
    /// Packets that it decided, or observed.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Flows that it allowed.
    pub flows: u64,
    /// When it last decided a packet, RFC 3339.
    pub last_hit_at: Option<String>,
}

/// `fwctl.zones/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zones {
    /// The zones by id, those that are not of the policy last.
    pub zones: Vec<ZoneRow>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    /// Its number in the data plane.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Interfaces that it lies behind, as `agent.toml` names them.
    pub interfaces: Vec<String>,
    /// Live flows from it.
    pub flows_from: u64,
    /// Live flows to it.
    pub flows_to: u64,
}

/// `fwctl.reload/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// What it came to: "applied", "unchanged", "refused", "held" or "failed".
    pub result: String,
    /// Epoch of the policy that judges packets now.
    pub epoch: u32,
    /// Why the files are not what runs.
    pub problem: Option<String>,
    /// Changed keys of `agent.toml` that a restart takes over.
    pub waiting_for_restart: Vec<String>,
}
