//! Maps `CAPTURE` and `CAPTURED`: which packets are captured, and the packets.

use super::{assert_size, plain_bytes};

/// The only entry of `CAPTURE`: which packets are captured, of those that interfaces with the flag
/// [`super::interface::interface_flags::CAPTURED`] see. Conditions that are given must all hold.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    /// Address of either end; IPv4 in the first four bytes. Bits beyond [`Self::mask`] are zero.
    pub addr: [u32; 4],
    /// Which bits of the address are compared.
    pub mask: [u32; 4],
    /// Until when packets are captured, in seconds since boot: a capture whose agent is dead ends by itself.
    pub until: u32,
    /// How many bytes of a frame are kept, at most [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// Kernel index of the interface; 0: any.
    pub ifindex: u32,
    /// Port of either end, in host byte order; 0: any.
    pub port: u16,
    /// A [`crate::DropReason`], if [`capture_conditions::REASON`] says so.
    pub reason: u8,
    /// IP protocol number, if [`capture_conditions::PROTOCOL`] says so.
    pub protocol: u8,
    /// 4 or 6: the family of [`Self::addr`]; 0: any.
    pub family: u8,
    /// Bits of [`capture_conditions`].
    pub conditions: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
}

/// Bits of [`CaptureFilter::conditions`].
pub mod capture_conditions {
    /// Only packets that were dropped.
    pub const DENIED: u8 = 1;
    /// Only packets that were not.
    pub const ALLOWED: u8 = 2;
    /// Only packets that were dropped for one reason.
    pub const REASON: u8 = 4;
    /// Only packets of one protocol.
    pub const PROTOCOL: u8 = 8;
}

/// The most bytes of a frame that are kept: a jumbo frame of 9,001 bytes with its link layer fits.
pub const MAX_SNAPLEN: u32 = 9_216;

/// Bytes of a frame that the scratch space has room for: a power of two, for the sake of the verifier.
pub const SNAP_ROOM: usize = 1 << 14;

/// A record of `CAPTURED` begins with this; the frame follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapturedHead {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// Kernel index of the interface.
    pub ifindex: u32,
    /// Handle of the rule that decided, or 0.
    pub rule: u32,
    /// Length of the frame, in bytes.
    pub len: u32,
    /// How many bytes of it follow.
    pub captured: u32,
    /// One of [`captured_direction`].
    pub direction: u8,
    /// One of [`captured_outcome`].
    pub outcome: u8,
    /// A [`crate::DropReason`], of dropped packets and of answers to them.
    pub reason: u8,
    /// Source zone, or 0.
    pub from_zone: u8,
    /// Destination zone, or 0.
    pub to_zone: u8,
    /// The kernel's action: of `enum xdp_action` for frames from the wire, of `TC_ACT_*` for those of the host.
    pub action: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
}

/// Values of [`CapturedHead::direction`].
pub mod captured_direction {
    /// As the frame came in.
    pub const IN: u8 = 1;
    /// As it leaves.
    pub const OUT: u8 = 2;
}

/// Values of [`CapturedHead::outcome`].
pub mod captured_outcome {
    /// The packet goes on to its next hop.
    pub const FORWARDED: u8 = 0;
    /// It is the host's, or the host's own.
    pub const PASSED: u8 = 1;
    /// It goes on by way of the kernel.
    pub const HANDED_OVER: u8 = 2;
    /// It was dropped.
    pub const DROPPED: u8 = 3;
    /// The frame is the answer to a packet that was dropped.
    pub const ANSWER: u8 = 4;
}

assert_size!(CaptureFilter = 52, CapturedHead = 32);
plain_bytes!(CaptureFilter, CapturedHead);
