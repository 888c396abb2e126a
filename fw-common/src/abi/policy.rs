//! What a compiled policy says, and the names that outlive it. How rules are found is in [`super::tables`].

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

    /// The bit of a zone in [`Clause::from_zones`](crate::abi::tables::Clause) and `to_zones`.
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

/// What is done with a flow that no rule matches, by pair of zones: the table
/// [`DEFAULTS`](crate::abi::tables::table::DEFAULTS), indexed by `from * 64 + to`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneDefault {
    /// As [`Clause::rule`](crate::abi::tables::Clause).
    pub rule: u32,
    /// One of [`Action`]; never allow.
    pub action: u8,
    /// [`LOG`](crate::abi::tables::LOG) or 0.
    pub flags: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
}

/// The most rules (with defaults and generated ones) that have counters: handles are below it. 131,072 rules fit, the
/// 3,600 defaults that the zone pairs of 59 zones and the host can have, generated rules, and some that are no longer in
/// the policy while flows still name them.
pub const MAX_RULES: u32 = 131_072 + 8_192;

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

assert_size!(ZoneAddress<[u8; 4]> = 8, ZoneAddress<[u8; 16]> = 20, ZoneEntry = 4, ZoneDefault = 8, RuleName = 64);
plain_bytes!(ZoneAddress<[u8; 4]>, ZoneAddress<[u8; 16]>, ZoneEntry, ZoneDefault, RuleName);
