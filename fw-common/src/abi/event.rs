//! Maps `EVENTS` and `DENIED`: what the program tells the agent.

use super::flow::{Flow, FlowKey6};
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
    /// A new policy forbids it.
    PolicyChange = 4,
    /// Half-open, and it gave way to another.
    Evicted = 5,
}

impl EndReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Closed, Self::Reset, Self::PolicyChange, Self::Evicted];

    /// The name in flow logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::PolicyChange => "policy-change",
            Self::Evicted => "evicted",
        }
    }

    /// Reads [`FlowEnd::reason`].
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

/// Key of `DENIED` (a hash that evicts the least recently used): one denied flow and why.
#[repr(C)]
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
    /// A [`crate::DropReason`].
    pub reason: u8,
    /// Source zone, or 0.
    pub from_zone: u8,
    /// Destination zone, or 0.
    pub to_zone: u8,
    /// Explicit padding.
    pub _pad: u8,
    /// Handle of the rule that decided, or 0.
    pub rule: u32,
}

/// [`DeniedKey::ingress_slot`] of traffic that the host itself sends.
pub const NO_SLOT: u16 = u16::MAX;

/// Value of `DENIED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Packets dropped.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` of the first packet.
    pub first_at: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` of the last packet.
    pub last_at: u64,
}

assert_size!(FlowEnd = 112 + 40 + 8 + 8, DeniedKey = 48, Denied = 32);
plain_bytes!(FlowEnd, DeniedKey, Denied);
