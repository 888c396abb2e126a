//! Which rule decides a new flow.
//!
//! In: addresses, zones and service of the packet that opens it ([`Query`]) and the tables of one policy
//! ([`PolicyTables`]: maps in the kernel, vectors in `fwctl` and in the tests). Out: a [`Decision`].

use crate::abi::policy::{Action, AddressClass, Entry, EntryList, PairKey, ZoneDefault, entry_flags, zone};
use crate::wire::Address;

/// What the policy looks at. Everything is as the originator sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Source address.
    pub src_addr: Address,
    /// Destination address, of the same family.
    pub dst_addr: Address,
    /// Zone of the source.
    pub from_zone: u8,
    /// Zone of the destination.
    pub to_zone: u8,
    /// IP protocol number of the innermost header that was found.
    pub protocol: u8,
    /// Source port, or 0 for protocols without ports.
    pub src_port: u16,
    /// Destination port; for ICMP and ICMPv6 `type << 8 | code`; else 0.
    pub dst_port: u16,
}

/// What the policy says, and which rule said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// [`Entry::rule`] of the rule, or of the default.
    pub rule: u32,
    /// Whether the flow log wants to know.
    pub log: bool,
    /// Idle time-out that the rule asks for, in seconds; 0: none.
    pub idle_timeout: u32,
}

/// The tables of one policy.
pub trait PolicyTables {
    /// Longest match of a source address; no match is the class of zeros.
    fn source_class(&self, addr: &Address) -> AddressClass;
    /// Longest match of a destination address; no match is the class of zeros.
    fn destination_class(&self, addr: &Address) -> AddressClass;
    /// The entries of a pair of classes.
    fn pair(&self, key: PairKey) -> Option<EntryList>;
    /// Replaces `best` by the first entry of the list that [`matches()`], if its order is below that of `best`.
    ///
    /// VERIFIER: not an `Option`, whose empty case has bytes that were never written; the compiler copies those, and the
    /// verifier refuses to read them. Test: `prog_run::the_programs_load`.
    fn improve(&self, list: EntryList, query: &Query, best: &mut Entry);
    /// The default of a zone pair.
    fn zone_default(&self, from_zone: u8, to_zone: u8) -> Option<ZoneDefault>;
}

/// The order of no rule: behind all others.
const NO_ORDER: u32 = u32::MAX;

/// Whether an entry, whose addresses are known to match, matches zones and service as well.
#[inline(always)]
#[must_use]
pub const fn matches(entry: &Entry, query: &Query) -> bool {
    if entry.from_zones & zone::bit(query.from_zone) == 0 || entry.to_zones & zone::bit(query.to_zone) == 0 {
        return false;
    }
    let ipv4 = query.src_addr.is_ipv4();
    if (entry.flags & entry_flags::IPV4_ONLY != 0 && !ipv4) || (entry.flags & entry_flags::IPV6_ONLY != 0 && ipv4) {
        return false;
    }
    if entry.flags & entry_flags::PROTOCOL != 0 && entry.protocol != query.protocol {
        return false;
    }
    entry.flags & entry_flags::PORTS == 0
        || (entry.src_port[0] <= query.src_port
            && query.src_port <= entry.src_port[1]
            && entry.dst_port[0] <= query.dst_port
            && query.dst_port <= entry.dst_port[1])
}

/// Finds the rule that decides: the first match in policy order, else the default of the zone pair, else drop.
#[inline(always)]
#[must_use]
pub fn classify(tables: &impl PolicyTables, query: &Query) -> Decision {
    let source = tables.source_class(&query.src_addr);
    let destination = tables.destination_class(&query.dst_addr);
    let mut best = Entry { order: NO_ORDER, ..Entry::default() };
    for (source, destination) in [
        (source.specific, destination.specific),
        (source.specific, destination.wide),
        (source.wide, destination.specific),
        (source.wide, destination.wide),
    ] {
        if source == 0 || destination == 0 {
            continue;
        }
        if let Some(list) = tables.pair(PairKey { source, destination }) {
            tables.improve(list, query, &mut best);
        }
    }
    if best.order != NO_ORDER {
        return Decision {
            action: Action::from_number(best.action),
            rule: best.rule,
            log: best.flags & entry_flags::LOG != 0,
            idle_timeout: best.idle_timeout,
        };
    }
    match tables.zone_default(query.from_zone, query.to_zone) {
        Some(default) => Decision {
            // A default never allows, whatever the table holds.
            action: match Action::from_number(default.action) {
                Action::Reject => Action::Reject,
                Action::Allow | Action::Drop => Action::Drop,
            },
            rule: default.rule,
            log: default.flags & entry_flags::LOG != 0,
            idle_timeout: 0,
        },
        None => Decision { action: Action::Drop, rule: 0, log: true, idle_timeout: 0 },
    }
}
