//! The data plane as the agent sees it: one trait, implemented over the kernel's maps and programs by [`kernel`] and in
//! memory, for tests of the reconcilers and the API, by [`fake`].

pub mod fake;
pub mod kernel;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use fw_common::abi::capture::{CaptureFilter, CapturedHead};
use fw_common::abi::counters::{Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{Denied, DeniedKey, FirstDenied, FlowEnd};
use fw_common::abi::explained::Explained;
use fw_common::abi::flow::{Flow, FlowKey6};
use fw_common::conntrack::Timeouts;
use fw_policy::Compiled;
use ipnet::IpNet;

use crate::nic::Mode;

/// An interface that carries the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedInterface {
    /// Position in `agent.toml`.
    pub slot: u32,
    /// The kernel's interface index.
    pub ifindex: u32,
    /// The kernel's name of the interface.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u16,
    /// The address from which ICMPv4 errors are sent.
    pub ipv4: Option<Ipv4Addr>,
    /// The address from which ICMPv6 errors are sent.
    pub ipv6: Option<Ipv6Addr>,
    /// Traffic may leave by the interface that it came in by.
    pub hairpin: bool,
    /// The management interface: no transit.
    pub management: bool,
    /// How the program runs there.
    pub mode: Mode,
}

/// What the configuration says of packets and flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Default idle time-outs.
    pub timeouts: Timeouts,
    /// ICMP errors and resets that each CPU may send per second.
    pub answers_per_second: u32,
    /// When TCP segments from the middle of a connection may open a flow.
    pub pick_up: PickUp,
    /// Transport checksums of packets from the wire are verified.
    pub verify_checksums: bool,
    /// At the limit of half-open flows a new one is turned away, instead of the oldest.
    pub refuse_half_open: bool,
    /// The sender of a TCP segment that belongs to no flow is answered with a reset.
    pub reset_unknown_tcp: bool,
}

/// When TCP segments from the middle of a connection may open a flow, if the policy allows the connection from either end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PickUp {
    /// Never: a connection that outlives its flow has to be opened again.
    Never,
    /// For [`PICK_UP_SECONDS`] after the program was put on the interfaces for the first time, so that connections outlive the
    /// replacement of the instance.
    #[default]
    AfterStart,
    /// Always.
    Always,
}

/// See [`PickUp::AfterStart`]. Connections of the host itself are picked up for as long in any case: an operator's session must
/// outlive the moment in which the firewall is first started.
pub const PICK_UP_SECONDS: u32 = 120;

/// An interface that the data plane knows, and what it is to the policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownInterface {
    /// The kernel's interface index.
    pub ifindex: u32,
    /// Its slot, by which zones are told apart.
    pub slot: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// The management interface.
    pub management: bool,
}

/// What a restarted agent found in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Epoch of the policy that judges packets now.
    pub epoch: u32,
    /// Digest of that policy ([`Compiled::digest`]).
    pub digest: [u8; 32],
}

/// How full the flow table of one address family is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Flows in it.
    pub used: u64,
    /// Those of them that are half-open ([`fw_common::half_open`]).
    pub half_open: u64,
    /// Flows that it can hold.
    pub limit: u64,
    /// The most half-open ones.
    pub half_open_limit: u64,
    /// The part of it that only flows from and to the host may take.
    pub reserved: u64,
}

/// One flow of the table.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Its key; IPv4 keys are widened.
    pub key: FlowKey6,
    /// 4 or 6.
    pub family: u8,
    /// Its state and counters.
    pub flow: Flow,
    /// Its idle time-out in seconds, by its state and its rule.
    pub timeout: u32,
}

/// Flows that were ended on purpose.
#[derive(Debug, Default)]
pub struct Ended {
    /// How many were.
    pub flows: u64,
    /// Why the others were not.
    pub problem: Option<DataplaneError>,
}

/// Packets whose redirect failed after the program had asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectErrors {
    /// Slot of the egress interface; [`fw_common::abi::interface::HANDOVER_SLOT`] for the hand-over pair.
    pub slot: u32,
    /// The `errno`; 0 if the device has not said why.
    pub error: u32,
    /// How many.
    pub packets: u64,
}

impl RedirectErrors {
    /// The name of the error.
    #[must_use]
    pub fn error_name(&self) -> Cow<'static, str> {
        // Numbers of include/uapi/asm-generic/errno.h, those that redirects return.
        match self.error {
            0 => "not_taken".into(),
            6 => "enxio".into(),
            12 => "enomem".into(),
            16 => "ebusy".into(),
            22 => "einval".into(),
            28 => "enospc".into(),
            75 => "eoverflow".into(),
            90 => "emsgsize".into(),
            95 => "eopnotsupp".into(),
            100 => "enetdown".into(),
            105 => "enobufs".into(),
            other => format!("errno_{other}").into(),
        }
    }
}

/// What the data plane tells observers.
#[derive(Clone, Copy, Debug)]
pub enum Observed {
    /// A flow has opened or ended.
    Flow(FlowEnd),
    /// A flow was denied that had not been before.
    Denied(FirstDenied),
}

/// What can go wrong between the agent and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The eBPF object could not be loaded.
    #[error(
        "the eBPF program could not be loaded: {0}; is this kernel at least 6.1 with BTF, and is this process root?"
    )]
    Load(String),
    /// A map could not be read or written.
    #[error("eBPF map {map}: {reason}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// A program could not be attached.
    #[error("the program could not be attached to {interface}: {reason}")]
    Attach {
        /// The interface's name.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// The pinned maps or links could not be read, made or removed.
    #[error("{path}: {reason}")]
    Pin {
        /// The path below the pin directory.
        path: String,
        /// What the kernel said.
        reason: String,
    },
    /// There are more rules than the data plane can count.
    #[error("the policy has more rules than there are counters ({limit}); rules of older policies still hold {held}")]
    TooManyRules {
        /// The most handles.
        limit: u32,
        /// Handles of rules that are no longer in the policy but whose flows live.
        held: u32,
    },
}

/// The data plane. All calls are short and do not wait for packets.
pub trait Dataplane: Send + Sync {
    /// The policy that was found running, if any.
    fn adopted(&self) -> Option<Adopted>;
    /// The interfaces that it knows, be it from before the agent's start.
    fn known_interfaces(&self) -> Result<Vec<KnownInterface>, DataplaneError>;
    /// Before a policy is applied to which other slots belong: forgets interfaces that are stored under another slot than
    /// these, given as kernel index and slot. They drop everything until they are attached again.
    fn keep_slots(&self, slots: &[(u32, u32)]) -> Result<(), DataplaneError>;
    /// Puts the program on an interface and lets packets leave by it. Idempotent; an attached program is replaced in
    /// place, without a moment in which the interface has none.
    fn attach(&self, interface: &AttachedInterface) -> Result<(), DataplaneError>;
    /// How the program is on a device, if it is there, be it that an earlier agent has left it.
    fn carried(&self, ifindex: u32) -> Option<Mode>;
    /// Forgets an interface whose device has vanished.
    fn forget(&self, slot: u32) -> Result<(), DataplaneError>;
    /// Forgets an interface whose device is another one's now, be it that it is attached for that already. The program stays on it, and
    /// drops everything there until it is attached.
    fn vacate(&self, slot: u32) -> Result<(), DataplaneError>;
    /// Replaces the set of the host's own addresses and of the directed broadcasts.
    fn set_local_addresses(&self, own: &[IpAddr], broadcasts: &[Ipv4Addr]) -> Result<(), DataplaneError>;
    /// Names the pair of devices through which packets without a resolved next hop go to the kernel.
    fn set_handover(&self, outer_ifindex: u32, inner_mac: [u8; 6]) -> Result<(), DataplaneError>;
    /// Sets what the configuration says of packets and flows.
    fn set_settings(&self, settings: &Settings) -> Result<(), DataplaneError>;
    /// Limits the TCP segment size, in bytes, that may be announced to and from prefixes.
    fn set_segment_limits(&self, limits: &BTreeMap<IpNet, u16>) -> Result<(), DataplaneError>;
    /// Vouches, for so many seconds, that each change of a route or a neighbour will be told by [`Self::invalidate_next_hops`].
    fn follow_routes_for(&self, seconds: u32) -> Result<(), DataplaneError>;
    /// Makes every flow look its next hop up anew: to be called after a route, neighbour or interface changed.
    fn invalidate_next_hops(&self) -> Result<(), DataplaneError>;
    /// Loads the tables into the idle slot and switches to them. Returns the new epoch.
    fn apply_policy(&self, policy: &Compiled) -> Result<u32, DataplaneError>;
    /// Rule ids by handle.
    fn rule_names(&self) -> Result<Vec<(u32, String)>, DataplaneError>;
    /// Dropped packets, indexed by reason.
    fn drops(&self) -> Result<Vec<Counter>, DataplaneError>;
    /// What the rules did, for each handle in use.
    fn rules(&self) -> Result<Vec<(u32, RuleCounter)>, DataplaneError>;
    /// What crossed the interfaces, indexed by slot.
    fn interfaces(&self) -> Result<Vec<InterfaceCounter>, DataplaneError>;
    /// Packets whose redirect failed, by egress interface and error.
    fn redirect_errors(&self) -> Result<Vec<RedirectErrors>, DataplaneError>;
    /// Rare happenings.
    fn happenings(&self) -> Result<Happenings, DataplaneError>;
    /// Calls `visit` with each live flow, until it returns false.
    fn visit_flows(&self, visit: &mut dyn FnMut(FlowRecord) -> bool) -> Result<(), DataplaneError>;
    /// Some of the live flows, so many at most, from a place in the table on, 0 at first; and the place to go on from, if there are
    /// more. For who is slower than the table, which nobody else can look at during a visit.
    fn flows_behind(&self, place: u64, most: usize) -> Result<(Vec<FlowRecord>, Option<u64>), DataplaneError>;
    /// How full the tables are: IPv4, IPv6.
    fn occupancy(&self) -> Result<[Occupancy; 2], DataplaneError>;
    /// Number of flows that each table can hold.
    fn max_flows(&self) -> u32;
    /// Takes the aggregated denied flows out of the table.
    fn take_denied(&self) -> Result<Vec<(DeniedKey, Denied)>, DataplaneError>;
    /// Removes flows that idled past their time-out by more than the grace period; the records come by [`Self::poll_ended`].
    fn sweep(&self) -> Result<u32, DataplaneError>;
    /// Calls `visit` with each flow that has ended since the last call.
    fn poll_ended(&self, visit: &mut dyn FnMut(&FlowEnd)) -> Result<(), DataplaneError>;
    /// Ends the chosen flows as their operator wishes. The records come by [`Self::poll_ended`].
    fn end_flows(&self, choose: &mut dyn FnMut(&FlowRecord) -> bool) -> Ended;
    /// Whether the data plane tells which flows open, end and are denied. What nobody has read is forgotten.
    fn set_observed(&self, observed: bool) -> Result<(), DataplaneError>;
    /// Waits for so long at most until there is something to tell, and calls `visit` with what there is.
    fn wait_observed(&self, patience: Duration, visit: &mut dyn FnMut(Observed)) -> Result<(), DataplaneError>;
    /// Begins to capture the packets that a filter wants, for so many seconds at most; or ends that. What was captured until the end
    /// is still to be had.
    fn set_capture(&self, capture: Option<(CaptureFilter, u32)>) -> Result<(), DataplaneError>;
    /// Waits for so long at most until packets have been captured, and calls `visit` with each; or until `gone` can be read, because
    /// nobody wants them any more.
    fn wait_captured(
        &self,
        patience: Duration,
        gone: Option<BorrowedFd<'_>>,
        visit: &mut dyn FnMut(&CapturedHead, &[u8]),
    ) -> Result<(), DataplaneError>;
    /// What would become of a frame that comes in by an interface: nothing is sent, counted, opened or logged.
    fn explain(&self, frame: &[u8], ifindex: u32) -> Result<Explained, DataplaneError>;
    /// Puts back what of the data plane's pins was removed by others; whether programs must be attached again.
    fn repair(&self) -> Result<bool, DataplaneError>;
    /// Takes programs off all interfaces and removes every pin.
    fn detach(&self) -> Result<(), DataplaneError>;
}
