//! Map `EXPLAINED`: what would become of a packet that the agent asks about.

use super::{assert_size, plain_bytes};

/// What would become of a packet: values of [`Explained::outcome`].
pub mod outcome {
    /// Nothing has been found out.
    pub const NONE: u32 = 0;
    /// The host gets it.
    pub const HOST: u32 = 1;
    /// It is sent from the egress interface.
    pub const FORWARD: u32 = 2;
    /// The kernel gets it, to resolve the next hop or to fragment it.
    pub const HAND_OVER: u32 = 3;
    /// It is dropped.
    pub const DROP: u32 = 4;
}

/// Bits of [`Explained::flags`].
pub mod explained_flags {
    /// Source, destination and service could be read.
    pub const PARSED: u8 = 1;
    /// It belongs to a flow.
    pub const OF_FLOW: u8 = 2;
    /// It opens one.
    pub const OPENS: u8 = 4;
    /// The policy was asked: about a new flow, or about one that an older policy has judged.
    pub const ASKED: u8 = 8;
    /// The rule that allows it has limits, which were asked.
    pub const LIMITED: u8 = 16;
    /// The flow table is full: the flow opens if one gives way that is over, or half-open.
    pub const TABLE_FULL: u8 = 32;
    /// It came from the responder of the flow.
    pub const REPLY: u8 = 64;
}

/// The only entry of `EXPLAINED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// One of [`outcome`].
    pub outcome: u32,
    /// The number of the [`crate::DropReason`], if it is dropped.
    pub reason: u32,
    /// The handle of the rule that decides, or that has allowed the flow; 0: none.
    pub rule: u32,
    /// The epoch of the policy that was asked.
    pub epoch: u32,
    /// Kernel index of the egress interface; 0: it was not looked for.
    pub egress_ifindex: u32,
    /// Slot of that interface.
    pub egress_slot: u32,
    /// The longest IP packet that it takes, in bytes.
    pub mtu: u32,
    /// Of a packet of a flow: the number of its slot.
    pub flow_slot: u32,
    /// Zone of the packet's source; [`super::policy::zone::NONE`] if it was not found, or there is none.
    pub from_zone: u8,
    /// Zone of its destination.
    pub to_zone: u8,
    /// Of a packet of a flow, its [`crate::conntrack::State`]; of one that opens a flow, the state in which that begins.
    pub state: u8,
    /// [`explained_flags`].
    pub flags: u8,
    /// Hardware address of the next hop; zeros if it is not known.
    pub next_hop_mac: [u8; 6],
    /// Explicit padding.
    pub _pad: [u8; 2],
    /// How many rules observe it.
    pub observing: u32,
    /// The handles of the first ones that were found.
    pub observed_by: [u32; OBSERVING_SHOWN],
}

/// Of the rules that observe a packet, so many are named.
pub const OBSERVING_SHOWN: usize = 16;

assert_size!(Explained = 112);
plain_bytes!(Explained);
