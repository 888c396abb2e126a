//! Maps `EVENTS`, `DENIED` and `OBSERVED`: what the program tells the agent; and the order by which the agent ends a flow.

use super::flow::{Flow, FlowKey6};
use super::policy::Action;
use super::{assert_size, plain_bytes};

/// A record of the `EVENTS` ring buffer: a flow has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEnd {
    /// The flow as it was when it ended.
    pub flow: Flow,
    /// Its key; an IPv4 key is widened by [`FlowKey6::from`].
    pub key: FlowKey6,
    /// 4 or 6.
    pub family: u8,
    /// One of [`EndReason`].
    pub reason: u8,
    /// Explicit padding.
    pub _pad: [u8; 6],
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub ended_at: u64,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// No packet within the idle time-out.
    Idle = 1,
    /// TCP closed by FIN on both sides, and its wait is over.
    Closed = 2,
    /// TCP reset.
    Reset = 3,
    /// A new policy forbids it, or its source has become an address of the firewall.
    PolicyChange = 4,
    /// An operator has ended it.
    Killed = 5,
    /// Half-open, and it gave way to another.
    Evicted = 6,
}

impl EndReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 6] = [Self::Idle, Self::Closed, Self::Reset, Self::PolicyChange, Self::Killed, Self::Evicted];

    /// The name in flow logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::PolicyChange => "policy-change",
            Self::Killed => "killed",
            Self::Evicted => "evicted",
        }
    }

    /// Reads [`FlowEnd::reason`].
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

/// One flow that was denied and why, or that a rule observed: what the packets that are counted together in a [`DeniedSlot`] have in
/// common.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeniedKey {
    /// Source address; IPv4 in the first four bytes, the rest zero.
    pub src_addr: [u8; 16],
    /// Destination address, likewise.
    pub dst_addr: [u8; 16],
    /// Source port, or zero.
    pub src_port: [u8; 2],
    /// Destination port; for ICMP type and code.
    pub dst_port: [u8; 2],
    /// Slot of the ingress interface; [`NO_SLOT`] for traffic of the host itself.
    pub ingress_slot: u16,
    /// 4, 6, or 0 when the packet was not parsed that far.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`crate::DropReason`]; of what a rule observed 0.
    pub reason: u8,
    /// Source zone, or 0.
    pub from_zone: u8,
    /// Destination zone, or 0.
    pub to_zone: u8,
    /// [`NOT_OBSERVED`] if the packets were denied. Else a rule observed them, and would have done this to them, had it been
    /// enforced: an [`Action`], plus one.
    pub would: u8,
    /// Handle of the rule that decided or observed, or 0.
    pub rule: u32,
}

/// [`DeniedKey::would`] of packets that were denied.
pub const NOT_OBSERVED: u8 = 0;

impl DeniedKey {
    /// What the rule that observed the packets would have done; `None` if they were denied.
    #[must_use]
    pub const fn would(&self) -> Option<Action> {
        match self.would.checked_sub(1) {
            Some(number) => Some(Action::from_number(number)),
            None => None,
        }
    }
}

/// [`DeniedKey::ingress_slot`] of traffic that the host itself sends.
pub const NO_SLOT: u16 = u16::MAX;

/// What came of a flow that was denied or observed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Packets dropped, or observed.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` of the first packet.
    pub first_at: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` of the last packet.
    pub last_at: u64,
}

/// Value of `DENIED`: a slot, found by [`crate::denied::place`]. What a packet needs to know of it is in its first cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeniedSlot {
    /// [`DENIED_FREE`], [`DENIED_FILLING`], or the mark of the flow that is counted here, which is written after the rest.
    pub mark: u64,
    /// Packets dropped.
    pub packets: u64,
    /// The flow.
    pub key: DeniedKey,
    /// Bytes of the packets.
    pub bytes: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` of the first packet.
    pub first_at: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` of the last packet.
    pub last_at: u64,
    /// Explicit padding: two whole cache lines.
    pub _pad: [u64; 5],
}

/// Entries of `DENIED`: the most denied and observed flows that one look of the agent finds, and so the most lines of the flow log.
pub const DENIED_SLOTS: u32 = 16_384;

/// [`DeniedSlot::mark`] of a slot that is free.
pub const DENIED_FREE: u64 = 0;

/// [`DeniedSlot::mark`] of a slot that a processor is filling.
pub const DENIED_FILLING: u64 = 1;

/// A record of `OBSERVED`: the first packet of a flow was denied, or observed by a rule, since the agent has last looked at `DENIED`. A record of the
/// same map that is as long as a [`FlowEnd`] is one: of a flow that has opened if its reason is [`OPENED`], else of one that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstDenied {
    /// The flow.
    pub key: DeniedKey,
    /// Bytes of the packet.
    pub bytes: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
}

/// In place of a [`FlowEnd::reason`]: the flow has opened.
pub const OPENED: u8 = 0;

/// The most records of `OBSERVED` that each processor makes in a second.
pub const OBSERVED_PER_SECOND: u32 = 10_000;

/// What the agent gives `fw_end_flow` as a packet: which flow to end, and where it was seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOrder {
    /// Its key; an IPv4 key is widened by [`FlowKey6::from`].
    pub key: FlowKey6,
    /// Its slot.
    pub slot: u32,
    /// [`Flow::opened`], which tells it from a later flow of the same key.
    pub opened: u32,
    /// 4 or 6.
    pub family: u32,
    /// Explicit padding.
    pub _pad: u32,
}

assert_size!(
    FlowEnd = 112 + 40 + 8 + 8,
    DeniedKey = 48,
    Denied = 32,
    DeniedSlot = 128,
    FirstDenied = 64,
    EndOrder = 56
);
plain_bytes!(FlowEnd, DeniedKey, Denied, DeniedSlot, FirstDenied, EndOrder);
