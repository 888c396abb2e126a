//! Map `CONFIG`: what the agent sets and every packet reads, in one array entry.

use super::{assert_size, plain_bytes};
use crate::conntrack::Timeouts;

/// The only entry of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The active policy: see [`Active`]. Read once per packet; 0 while no policy has been loaded.
    pub active: u64,
    /// Raised whenever a route, a neighbour or an interface changed: cached egresses of an older value are looked up anew.
    pub fib_generation: u32,
    /// Interface index of the outer end of the hand-over veth pair; 0 while there is none.
    pub handover_ifindex: u32,
    /// Hardware address of the inner end of the hand-over pair.
    pub handover_mac: [u8; 6],
    /// Explicit padding.
    pub _pad: [u8; 2],
    /// Number of flows that each of the two flow tables may hold.
    pub max_flows: u32,
    /// How many ICMP errors and resets each CPU may send per second.
    pub answers_per_second: u32,
    /// Until when TCP segments from the middle of a connection may open flows to and from the host, in seconds since boot:
    /// set when the program is put on the interfaces for the first time, so that the host's connections survive that.
    pub pick_up_until: u32,
    /// Until when routes and neighbours are known to be followed by an agent, in seconds since boot: later, a next hop that
    /// was looked up is used for a second only.
    pub routes_followed_until: u32,
    /// As [`Config::pick_up_until`], for connections that are forwarded.
    pub pick_up_forwarded_until: u32,
    /// Settings that are on or off: see [`config_flags`].
    pub flags: u32,
    /// Number of buckets of each table.
    pub buckets: u32,
    /// Slots of each table that only flows from and to the host may take.
    pub reserved_flows: u32,
    /// Makes the hash of a key one that senders cannot foresee. Set when the tables are made, and never changed.
    pub hash_seed: u64,
    /// Places of each family's ring of half-open flows.
    pub half_open_ring: u32,
    /// The most half-open flows of each family.
    pub half_open_limit: u32,
    /// Default idle time-outs by state, in seconds.
    pub timeouts: Timeouts,
}

/// Bits of [`Config::flags`].
pub mod config_flags {
    /// The checksums of TCP, UDP, ICMP and ICMPv6 are verified in what comes from the wire.
    pub const VERIFY_CHECKSUMS: u32 = 1;
    /// `SEGMENT_LIMITS` has entries.
    pub const LIMIT_SEGMENTS: u32 = 2;
    /// At the limit of half-open flows a new one is turned away, instead of the oldest.
    pub const REFUSE_HALF_OPEN: u32 = 4;
    /// The sender of a TCP segment that belongs to no flow is answered with a reset.
    pub const RESET_UNKNOWN_TCP: u32 = 8;
    /// Somebody observes flows: those that open, end or are denied are told by `OBSERVED`. Far from the bits of settings, which
    /// an agent sets from its configuration.
    pub const OBSERVED: u32 = 1 << 31;
}

/// The policy that judges a packet: an epoch, and the slot that holds its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Counts the applied policies, from 1; a flow stores the epoch that judged it.
    pub epoch: u32,
    /// Index into the map-of-maps of the policy tables: 0 or 1.
    pub slot: u32,
}

impl Active {
    /// Reads the word in [`Config::active`]; `None` while no policy has been loaded.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Self { epoch: (word >> 32) as u32, slot: (word & 1) as u32 })
    }

    /// The word for [`Config::active`].
    #[must_use]
    pub const fn to_word(self) -> u64 {
        ((self.epoch as u64) << 32) | (self.slot as u64 & 1)
    }
}

assert_size!(Config = 152);
plain_bytes!(Config);
