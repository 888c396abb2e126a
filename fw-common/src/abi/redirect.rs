//! Maps `REDIRECT_WATCH` and `REDIRECT_ERRORS`: redirects that failed after the program had returned.

use super::{assert_size, plain_bytes};

/// The only entry of `REDIRECT_WATCH`: what tells this firewall's redirects from others, and where the running kernel keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedirectWatch {
    /// The kernel's number of the map `EGRESS`.
    pub egress_map: u32,
    /// The number of the firewall's network name space: the inode of `/proc/self/ns/net`.
    pub name_space: u32,
    /// Offset of `ifindex` in `struct net_device`; 0: not known, and failed transmissions are not counted.
    pub ifindex_offset: u32,
    /// Offset of `nd_net` in `struct net_device`: a pointer to `struct net`.
    pub name_space_offset: u32,
    /// Offset of `ns.inum` in `struct net`.
    pub number_offset: u32,
    /// Explicit padding.
    pub _pad: u32,
}

/// The highest `errno` (include/linux/err.h).
pub const MAX_ERROR: u32 = 4095;

/// Entries of `REDIRECT_ERRORS`.
pub const MAX_REDIRECT_ERRORS: usize = 1024;

/// Key in `REDIRECT_ERRORS`: the slot of the egress interface, and the `errno`; 0, if the device has not said why.
#[inline(always)]
#[must_use]
pub const fn key(slot: u32, error: u32) -> u32 {
    (slot << 16) | (error & 0xffff)
}

/// The slot and the `errno` of a key.
#[must_use]
pub const fn slot_and_error(key: u32) -> (u32, u32) {
    (key >> 16, key & 0xffff)
}

assert_size!(RedirectWatch = 24);
plain_bytes!(RedirectWatch);
