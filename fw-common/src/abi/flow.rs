//! Maps `FLOWS4`, `FLOWS6`, `CLOCK4` and `CLOCK6`: the flow tables and the slots that the sweep walks.

use super::{assert_size, plain_bytes};

/// Key of `FLOWS4`: the two ends in canonical order (the lower address first; equal addresses, the lower port first).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey4 {
    /// Address of the lower end.
    pub low_addr: [u8; 4],
    /// Address of the higher end.
    pub high_addr: [u8; 4],
    /// Port of the lower end; for ICMP queries the identifier at the asking end and the type of the request at the other.
    pub low_port: [u8; 2],
    /// Port of the higher end, likewise.
    pub high_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Explicit padding.
    pub _pad: [u8; 3],
}

/// Key of `FLOWS6`, as [`FlowKey4`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey6 {
    /// Address of the lower end.
    pub low_addr: [u8; 16],
    /// Address of the higher end.
    pub high_addr: [u8; 16],
    /// Port of the lower end, as in [`FlowKey4`].
    pub low_port: [u8; 2],
    /// Port of the higher end, likewise.
    pub high_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Explicit padding.
    pub _pad: [u8; 3],
}

impl From<FlowKey4> for FlowKey6 {
    /// Widens an IPv4 key: the addresses stand in the first four bytes, as in [`crate::wire::Address`].
    fn from(key: FlowKey4) -> Self {
        let wide = |[a, b, c, d]: [u8; 4]| [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Self {
            low_addr: wide(key.low_addr),
            high_addr: wide(key.high_addr),
            low_port: key.low_port,
            high_port: key.high_port,
            protocol: key.protocol,
            _pad: [0; 3],
        }
    }
}

/// A resolved next hop, kept in the flow so that an established packet needs no route look-up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Interface index to send from; 0 while unresolved, or when the packets are for the host.
    pub ifindex: u32,
    /// [`super::config::Config::fib_generation`] at the look-up.
    pub fib_generation: u32,
    /// When it was looked up, in seconds since boot.
    pub resolved_at: u32,
    /// Largest IP packet that fits, in bytes.
    pub mtu: u16,
    /// Slot of the egress interface.
    pub slot: u16,
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
    /// Source hardware address.
    pub src_mac: [u8; 6],
}

/// One direction of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Packets accepted in this direction.
    pub packets: u64,
    /// Bytes of those packets (IP packets, without the link-layer header).
    pub bytes: u64,
    /// Where packets of this direction leave.
    pub egress: Egress,
    /// The interface whose zone was checked for this direction; 0 before the first packet.
    pub ingress_ifindex: u32,
    /// Bit-wise or of the TCP flags seen in this direction.
    pub tcp_flags: u8,
    /// Explicit padding.
    pub _pad: [u8; 7],
}

/// Value of `FLOWS4` and `FLOWS6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Seconds since boot of the last accepted packet; [`DYING`] while a sweeper is removing the flow.
    pub last_seen: u32,
    /// Idle time-out in seconds, as of the current state.
    pub timeout: u32,
    /// Epoch of the policy that last judged the flow.
    pub epoch: u32,
    /// Handle of the rule that allows the flow.
    pub rule: u32,
    /// Idle time-out that the rule asks for in place of the state's, in seconds; 0: none.
    pub rule_timeout: u32,
    /// This flow's slot in `CLOCK4` or `CLOCK6`.
    pub clock_slot: u32,
    /// One of [`crate::conntrack::State`].
    pub state: u8,
    /// Bits of [`flow_flags`].
    pub flags: u8,
    /// Zone of the originator.
    pub from_zone: u8,
    /// Zone of the responder.
    pub to_zone: u8,
    /// ICMP type and code of the opening packet, or 0.
    pub icmp: [u8; 2],
    /// Explicit padding.
    pub _pad: [u8; 2],
    /// Nanoseconds of `CLOCK_MONOTONIC` at the opening.
    pub opened_at: u64,
    /// `[0]`: from the originator; `[1]`: from the responder.
    pub directions: [Direction; 2],
}

/// Value of [`Flow::last_seen`] while a sweeper is removing the flow.
pub const DYING: u32 = u32::MAX;

/// [`Direction::ingress_ifindex`] of a direction whose sender's zone must be checked again, because the policy has changed.
pub const UNCHECKED: u32 = u32::MAX;

/// Bits of [`Flow::flags`].
pub mod flow_flags {
    /// The originator is the higher end of the key.
    pub const ORIGIN_IS_HIGH: u8 = 1;
    /// The rule asks for a flow log record.
    pub const LOG: u8 = 2;
}

/// Value of `CLOCK4`: the key of the flow that holds this slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSlot4 {
    /// The flow's key, meaningful while `used` is 1.
    pub key: FlowKey4,
    /// 1 while a flow holds the slot.
    pub used: u32,
}

/// Value of `CLOCK6`, as [`ClockSlot4`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSlot6 {
    /// The flow's key, meaningful while `used` is 1.
    pub key: FlowKey6,
    /// 1 while a flow holds the slot.
    pub used: u32,
}

/// Value of `CLOCK_HANDS`: entry 0 for IPv4, 1 for IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockHand {
    /// Slots that have been handed out at least once; below it, freed slots are in the `FREE4` or `FREE6` queue.
    pub fresh: u64,
    /// Next slot that the sweep looks at (modulo the table size).
    pub hand: u64,
}

assert_size!(
    FlowKey4 = 16,
    FlowKey6 = 40,
    Egress = 28,
    Direction = 56,
    Flow = 152,
    ClockSlot4 = 20,
    ClockSlot6 = 44,
    ClockHand = 16,
);
plain_bytes!(FlowKey4, FlowKey6, Egress, Direction, Flow, ClockSlot4, ClockSlot6, ClockHand);
