//! Maps `FLOWS4`, `FLOWS6`, `TAGS4`, `TAGS6`, `FLOW_TABLES`, `LOCKS` and `NEXT_HOPS`: the flow tables.
//!
//! A flow lives in a slot of an array, which is found by the tags of two buckets: see
//! `docs/adr/0008-own-flow-table.md`.

use super::{assert_size, plain_bytes};

/// Key of an IPv4 flow: the two ends in canonical order (the lower address first; equal addresses, the lower port first).
#[repr(C, align(8))]
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

/// Key of an IPv6 flow, as [`FlowKey4`].
#[repr(C, align(8))]
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

/// Where packets leave: value of `NEXT_HOPS` behind its generation, and what the program knows of the packet in hand.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Interface index to send from.
    pub ifindex: u32,
    /// Largest IP packet that fits, in bytes.
    pub mtu: u16,
    /// Slot of the egress interface.
    pub slot: u16,
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
    /// Source hardware address.
    pub src_mac: [u8; 6],
}

/// Value of `NEXT_HOPS`: a next hop that was looked up, shared by all flows that use it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// The generation of routes and neighbours in which it was looked up; 0: unused; [`NEXT_HOP_BUSY`]: being written.
    pub generation: u32,
    /// The next hop.
    pub egress: Egress,
    /// Explicit padding.
    pub _pad: [u8; 8],
}

/// Entries of `NEXT_HOPS`; the first is never used, because a flow's reference 0 means none.
pub const NEXT_HOPS: u32 = 4096;

/// [`NextHop::generation`] of an entry that a processor is writing.
pub const NEXT_HOP_BUSY: u32 = u32::MAX;

/// One direction of a flow.
///
/// Every field is written by packets of this direction only, so that mostly one processor writes them; but an SCTP end by those of
/// both, without a lock: of two changes at once one can be lost. That costs a repetition at most: tags are taken over only
/// with an answer of the other end to a tag that was noted, and INIT, COOKIE ECHO and HEARTBEAT are sent again until there is one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Packets accepted in this direction.
    pub packets: u64,
    /// Bytes of those packets (IP packets, without the link-layer header).
    pub bytes: u64,
    /// What its protocol remembers of this side. TCP: the numbers of a [`crate::tcp::End`]. SCTP: a [`crate::sctp::End`]. ICMP,
    /// originator's side: `type << 8 | code` of the opening packet, and zeros ([`Flow::icmp`]).
    pub memory: [u32; 3],
    /// What the zone check of this direction was made for: the index of the ingress interface, or for packets of the host
    /// [`FROM_HOST`] and the index of the egress interface; 0 before the first packet.
    pub checked: u32,
}

/// A flow, but for its key.
///
/// The first 48 bytes and the direction of the packet are what an established packet reads and writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Seconds since boot of the last accepted packet; [`DYING`] while a processor owns the slot: it fills, reuses, ends or removes the flow.
    pub last_seen: u32,
    /// Epoch of the policy that last judged the flow.
    pub epoch: u32,
    /// Handle of the rule that allows the flow.
    pub rule: u32,
    /// The generation of routes and neighbours in which [`Flow::next_hops`] were looked up.
    pub fib_generation: u32,
    /// One of [`crate::conntrack::State`].
    pub state: u8,
    /// Bits of [`flow_flags`].
    pub flags: u8,
    /// Zone of the originator.
    pub from_zone: u8,
    /// Zone of the responder.
    pub to_zone: u8,
    /// By direction: index into `NEXT_HOPS` (12 bits) and, above it, the low bits of the generation; 0: none.
    pub next_hops: [u16; 2],
    /// By direction: bit-wise or of the TCP flags seen.
    pub tcp_flags: [u8; 2],
    /// By direction: the TCP window scale that this side announced, and bits of [`window_flags`].
    pub window: [u8; 2],
    /// By direction: the largest TCP window that this side has announced, as it stands in the header.
    pub max_window: [u16; 2],
    /// When the flow was opened: nanoseconds of `CLOCK_MONOTONIC`, shifted right by [`OPENED_SHIFT`].
    pub opened: u32,
    /// While the flow is half-open: its place in the ring `HALF_OPEN`, counted from 1, perhaps with
    /// [`crate::half_open::RETIRED`]; else 0.
    pub half_open: u32,
    /// The entry of `LIMITS` that counts this flow, counted from 1; 0: none.
    pub subject: u32,
    /// TCP: the sequence number of the originator's last SYN that the connection did not heed; 0: none.
    pub ignored_syn: u32,
    /// `[0]`: from the originator; `[1]`: from the responder.
    pub directions: [Direction; 2],
}

impl Flow {
    /// ICMP type and code of the opening packet; meaningless for other protocols.
    #[inline(always)]
    #[must_use]
    pub const fn icmp(&self) -> [u8; 2] {
        let [_, _, message_type, code] = self.directions[0].memory[0].to_be_bytes();
        [message_type, code]
    }

    /// When the flow was opened, in nanoseconds of `CLOCK_MONOTONIC`, to 17 milliseconds.
    #[must_use]
    pub const fn opened_at(&self) -> u64 {
        (self.opened as u64) << OPENED_SHIFT
    }
}

/// Value of `FLOWS4`: a slot. Two cache lines: the key and what both directions share, and the directions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot4 {
    /// The flow's key.
    pub key: FlowKey4,
    /// The flow.
    pub flow: Flow,
}

/// Value of `FLOWS6`: a slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot6 {
    /// The flow's key.
    pub key: FlowKey6,
    /// The flow.
    pub flow: Flow,
}

/// Slots of a bucket.
pub const LANES: u32 = 16;

/// Value of `TAGS4` and `TAGS6`: the tags of a bucket, a byte for each slot; 0: the slot is free.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Eight tags in each, the first in the lowest byte.
    pub words: [u64; 2],
}

/// See [`Flow::opened`]: units of 16.8 milliseconds, which last for two years.
pub const OPENED_SHIFT: u32 = 24;

/// In [`Direction::checked`]: the packets of this direction come from the host.
pub const FROM_HOST: u32 = 1 << 31;

/// Value of [`Flow::last_seen`] while one processor owns the slot.
pub const DYING: u32 = u32::MAX;

/// [`Direction::checked`] of a direction whose zones must be checked again, because the policy has changed.
pub const UNCHECKED: u32 = u32::MAX;

/// Bits of [`Flow::flags`].
pub mod flow_flags {
    /// The originator is the higher end of the key.
    pub const ORIGIN_IS_HIGH: u8 = 1;
    /// The rule asks for a flow log record.
    pub const LOG: u8 = 2;
    /// The rule has an idle time-out of its own, in `RULE_TIMEOUTS`.
    pub const RULE_TIMEOUT: u8 = 4;
    /// The flow was picked up in its middle: TCP windows are not checked, and tags of SCTP are learnt from packets.
    pub const LIBERAL: u8 = 8;
}

/// Bits of [`Flow::window`] above the scale.
pub mod window_flags {
    /// The scale: RFC 7323, section 2.3, limits it to 14.
    pub const SCALE: u8 = 0x0f;
    /// This side's SYN carried a window scale option.
    pub const SCALES: u8 = 0x10;
    /// This side's SYN permitted selective acknowledgements.
    pub const SACK: u8 = 0x20;
    /// [`super::Flow::max_window`] counts units of the scale; without, it is that of a SYN, which is never scaled.
    pub const SCALED: u8 = 0x40;
    /// This side has sent a FIN in its place.
    pub const FIN: u8 = 0x80;
}

/// Value of `FLOW_TABLES`: entry 0 for IPv4, 1 for IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Next slot that the sweep looks at (modulo their number).
    pub hand: u64,
    /// Flows in the table.
    pub used: u64,
    /// Half-open flows in the table.
    pub half_open: u64,
    /// The place of the ring that the next half-open flow takes; this and the following modulo their number.
    pub next_place: u64,
    /// The place of the half-open flow that gives way next.
    pub oldest_place: u64,
    /// The first place whose flow was ended, but whose slot was not given free.
    pub kept_place: u64,
    /// Explicit padding: a cache line of its own.
    pub _pad: [u64; 2],
}

/// Entries of `LOCKS`: an opening flow holds the one of its key for as long as it takes to put it into the table.
pub const LOCKS: u32 = 4096;

assert_size!(
    FlowKey4 = 16,
    FlowKey6 = 40,
    Egress = 20,
    NextHop = 32,
    Direction = 32,
    Flow = 112,
    Slot4 = 128,
    Slot6 = 152,
    Tags = 16,
    Table = 64,
);
plain_bytes!(FlowKey4, FlowKey6, NextHop, Flow, Slot4, Slot6, Tags, Table);
