//! The compiled policy: maps of maps with two slots each, of which [`super::config::Active`] names one.
//!
//! How a packet finds its rule (see `docs/adr/0002-classifier.md`):
//! 1. its source and destination address are each mapped to a *class* by longest match ([`AddressClass`]);
//! 2. up to four pairs of classes are probed ([`PairKey`]), each giving a list of entries in rule order ([`EntryList`]);
//! 3. the first entry of each list that matches zones and service ([`Entry`]) is a candidate, and the lowest
//!    [`Entry::order`] wins; without one, the default of the zone pair decides ([`ZoneDefault`]).

use super::{assert_size, plain_bytes};

/// Zone ids that have a meaning of their own; user zones are 1 to [`zone::MAX_USER`].
pub mod zone {
    /// The address belongs to no zone of this interface: spoofed as a source, unreachable as a destination.
    pub const NONE: u8 = 0;
    /// The highest id that a zone of the policy can have.
    pub const MAX_USER: u8 = 59;
    /// Addresses of the link itself: link-local, DHCP's, and the services of the instance at 169.254.169.0/24 and
    /// fd00:ec2::/32. Only traffic from and to the host may use it.
    pub const LINK: u8 = 61;
    /// Everything behind the management interface.
    pub const MANAGEMENT: u8 = 62;
    /// The host's own addresses.
    pub const LOCAL: u8 = 63;
    /// Number of ids.
    pub const COUNT: usize = 64;

    /// The bit of a zone in [`super::Entry::from_zones`] and [`super::Entry::to_zones`].
    #[inline(always)]
    #[must_use]
    pub const fn bit(id: u8) -> u64 {
        1u64 << (id & 63)
    }
}

/// Key of the zone tries `ZONES4` and `ZONES6`, behind the prefix length: an interface's slot and an address.
///
/// `A` is `[u8; 4]` or `[u8; 16]`. The prefix length counts the 32 bits of the slot, too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneAddress<A> {
    /// Slot of the interface, in network byte order as the trie compares bits from the left.
    pub slot: [u8; 4],
    /// The address.
    pub addr: A,
}

/// Value of the zone tries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneEntry {
    /// A zone id; [`zone::NONE`] for networks that belong to another interface.
    pub zone: u32,
}

/// Value of the address tries `SOURCES4`, `SOURCES6`, `DESTINATIONS4` and `DESTINATIONS6`.
///
/// A prefix is *wide* if it is shorter than the threshold that the compiler chose, else *specific*. Class ids are unique
/// over both families and both widths; 0 means none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressClass {
    /// Class of the longest specific prefix that holds the address.
    pub specific: u32,
    /// Class of the longest wide prefix that holds the address.
    pub wide: u32,
}

/// Key of the hash `PAIRS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairKey {
    /// Class of the source address.
    pub source: u32,
    /// Class of the destination address.
    pub destination: u32,
}

/// Value of the hash `PAIRS`: a run of the array `ENTRIES`, ascending by [`Entry::order`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryList {
    /// Index of the first entry.
    pub start: u32,
    /// Number of entries, at most [`MAX_LIST`].
    pub len: u32,
}

/// The most entries that one pair of address classes may have.
pub const MAX_LIST: u32 = 4096;

/// Value of the array `ENTRIES`: one service of one rule.
///
/// The addresses are not here: that an entry is in the list of a pair says that they match.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Bit set of source zones.
    pub from_zones: u64,
    /// Bit set of destination zones.
    pub to_zones: u64,
    /// Lowest and highest source port, both included.
    pub src_port: [u16; 2],
    /// Lowest and highest destination port, both included; for ICMP and ICMPv6 `type << 8 | code`.
    pub dst_port: [u16; 2],
    /// IP protocol number, meaningful with [`entry_flags::PROTOCOL`].
    pub protocol: u8,
    /// Bits of [`entry_flags`].
    pub flags: u8,
    /// One of [`Action`].
    pub action: u8,
    /// Explicit padding.
    pub _pad: u8,
    /// Position of the rule in the policy; the lowest match wins.
    pub order: u32,
    /// The rule: an index into the policy's rules from the compiler, a handle once the agent has loaded it.
    pub rule: u32,
    /// Idle time-out of the flows it opens, in seconds; 0: by protocol and state.
    pub idle_timeout: u32,
}

/// Bits of [`Entry::flags`].
pub mod entry_flags {
    /// Only packets of [`super::Entry::protocol`] match.
    pub const PROTOCOL: u8 = 1;
    /// Source and destination ports (or ICMP type and code) are compared.
    pub const PORTS: u8 = 2;
    /// What the rule decides is logged.
    pub const LOG: u8 = 4;
    /// Only IPv4 packets match.
    pub const IPV4_ONLY: u8 = 8;
    /// Only IPv6 packets match.
    pub const IPV6_ONLY: u8 = 16;
}

/// What a rule or a default does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// Drop without an answer.
    Drop = 0,
    /// Let the packet through and open a flow.
    Allow = 1,
    /// Drop, and answer with a TCP reset or an ICMP error.
    Reject = 2,
}

impl Action {
    /// Reads a stored action; anything unknown drops.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Allow,
            2 => Self::Reject,
            _ => Self::Drop,
        }
    }

    /// The name in policies and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Allow => "allow",
            Self::Reject => "reject",
        }
    }
}

/// Value of the array `ZONE_DEFAULTS`, indexed by `from * 64 + to`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneDefault {
    /// As [`Entry::rule`].
    pub rule: u32,
    /// One of [`Action`]; never allow.
    pub action: u8,
    /// [`entry_flags::LOG`] or 0.
    pub flags: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
}

/// The most rules (with defaults and generated ones) that have counters: handles are below it.
pub const MAX_RULES: u32 = 16_384;

/// The longest rule id, in bytes, that `RULE_NAMES` can hold; longer ids are refused by the policy language.
pub const MAX_RULE_ID: usize = 63;

/// Value of the array `RULE_NAMES`, indexed by handle: the rule's id, so that a restarted agent knows the handles.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleName {
    /// Length of the id in bytes; 0: the handle is free.
    pub len: u8,
    /// The id in UTF-8.
    pub id: [u8; MAX_RULE_ID],
}

assert_size!(
    ZoneAddress<[u8; 4]> = 8,
    ZoneAddress<[u8; 16]> = 20,
    ZoneEntry = 4,
    AddressClass = 8,
    PairKey = 8,
    EntryList = 8,
    Entry = 40,
    ZoneDefault = 8,
    RuleName = 64,
);
plain_bytes!(
    ZoneAddress<[u8; 4]>,
    ZoneAddress<[u8; 16]>,
    ZoneEntry,
    AddressClass,
    PairKey,
    EntryList,
    Entry,
    ZoneDefault,
    RuleName
);
