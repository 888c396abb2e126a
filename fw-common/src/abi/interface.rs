//! Maps `INTERFACES`, `FAR_INTERFACES`, `LOCAL4`, `LOCAL6` and `SEGMENT_LIMITS`: the interfaces that carry the program, the host's own
//! addresses, and what is configured for some destinations.

use super::{assert_size, plain_bytes};
use crate::wire::Address;

/// The most interfaces that can carry the program.
pub const MAX_INTERFACES: usize = 64;

/// Entries of the array `INTERFACES`: kernel indexes below this are found without a hash, which takes a tenth of the time of an
/// established packet. Interfaces with higher indexes, on hosts that have made many, are in the hash `FAR_INTERFACES`.
pub const NEAR_INTERFACES: u32 = 1024;

/// Key in `EGRESS` of the outer end of the hand-over pair; other keys are slots.
pub const HANDOVER_SLOT: u32 = MAX_INTERFACES as u32;

/// Value of `INTERFACES` and `FAR_INTERFACES`, by the kernel's interface index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Position in `agent.toml`; stable over hot-plug, and the key of the zone tables.
    pub slot: u32,
    /// Bits of [`interface_flags`].
    pub flags: u32,
    /// Hardware address: frames to any other unicast address are dropped.
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u16,
    /// The address from which ICMPv4 errors are sent; zero if the interface has none.
    pub ipv4: [u8; 4],
    /// The address from which ICMPv6 errors are sent; zero if the interface has none.
    pub ipv6: [u8; 16],
}

/// Bits of [`Interface::flags`].
pub mod interface_flags {
    /// Traffic may leave by the interface that it came in by.
    pub const HAIRPIN: u32 = 1;
    /// The management interface: nothing is forwarded from or to it.
    pub const MANAGEMENT: u32 = 2;
    /// The entry of the array is in use.
    pub const PRESENT: u32 = 4;
    /// A capture wants to see its packets. Set by a capture, apart from what the configuration says.
    pub const CAPTURED: u32 = 1 << 31;
}

/// Value of `LOCAL4` (keyed by `[u8; 4]`) and `LOCAL6` (keyed by `[u8; 16]`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddress {
    /// One of [`local_kind`].
    pub kind: u32,
}

/// Values of [`LocalAddress::kind`].
pub mod local_kind {
    /// An address of the host.
    pub const OWN: u32 = 1;
    /// The directed broadcast address of a connected subnet.
    pub const BROADCAST: u32 = 2;
}

/// Key of `SEGMENT_LIMITS`: an address as 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4291, section 2.5.5.2).
#[inline(always)]
#[must_use]
pub fn mapped(addr: &Address) -> [u8; 16] {
    if !addr.is_ipv4() {
        return addr.octets();
    }
    let [a, b, c, d] = addr.first4();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Bits in front of an IPv4 prefix in such a key.
pub const MAPPED_BITS: u32 = 96;

/// The most prefixes in `SEGMENT_LIMITS`.
pub const MAX_SEGMENT_LIMITS: usize = 1024;

assert_size!(Interface = 36, LocalAddress = 4);
plain_bytes!(Interface, LocalAddress);
