//! Which rule decides a new flow.
//!
//! In: addresses, zones and service of the packet that opens it ([`Query`]) and the tables of one policy
//! ([`PolicyTables`]: maps in the kernel, vectors in `fwctl` and in the tests). Out: a [`Decision`].

pub mod address;
pub mod list;
pub mod observing;
pub mod pair;
pub mod standing;

use crate::abi::policy::{Action, zone};
use crate::abi::tables::{
    AddressClass, CLASS_ID, Clause, ClauseLine, DefaultLine, HeaderLine, LIMITED, LOG, MAX_LIST, MAX_SPLITS,
    PAIRS_SPECIFIC, PAIRS_WIDE, PairKey, Side, TableLine, dimension,
};
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
    /// [`Clause::rule`] of the rule, or that of the default.
    pub rule: u32,
    /// Whether the flow log wants to know.
    pub log: bool,
    /// Idle time-out that the rule asks for, in seconds; 0: none.
    pub idle_timeout: u32,
    /// Whether the rule has limits.
    pub limited: bool,
}

/// The tables of one policy.
///
/// VERIFIER: lines are lent, not copied into an `Option`, whose empty case has bytes that were never written; the compiler
/// copies those, and the verifier refuses to read them. Test: `prog_run::maps::the_programs_load`.
pub trait PolicyTables: Sized {
    /// A line of one of the tables; none beyond its end.
    fn line<L: TableLine>(&self, index: u32) -> Option<&L>;
    /// Takes steps until one says that it was the last, `times` at most.
    fn repeat<W: Walk<Self>>(&self, times: u32, lookup: &mut Lookup);
}

/// Something that is done in steps.
pub trait Walk<T> {
    /// Takes a step, which has this position among all; whether to go on.
    ///
    /// VERIFIER: the position comes from outside, where nobody knows it: a counter of the walk's own would be another value,
    /// and so another state to verify, in each step. Test:
    /// `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
    fn step(lookup: &mut Lookup, position: u32, tables: &T) -> bool;
}

/// Where a look-up stands.
///
/// VERIFIER: the kernel keeps it in a map: on the stack it would be too large (512 bytes for all calls together), and the
/// verifier would follow every value in it. Test: `prog_run::maps::the_programs_load`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookup {
    /// Free for the implementer of [`PolicyTables`].
    pub tables: u32,
    /// The node of a trie, and in the end the class.
    index: u32,
    /// The bits of an address that are still to be looked at, from the left.
    high: u64,
    low: u64,
    source: AddressClass,
    destination: AddressClass,
    /// The zones of the query, as bits.
    from_zone: u64,
    to_zone: u64,
    /// The query in each dimension, by number.
    values: [u32; 3],
    /// Where the lists begin that may hold the clause, and behind the last one [`NO_LIST`].
    lists: Lists,
    /// By list: a clause in front of which it has none.
    first_clauses: Lists,
    /// How many lists there are.
    lists_found: u32,
    /// The place in a list.
    list: u32,
    /// The first clause that has matched so far and decides.
    best: u32,
    /// Some clause that only observes has matched: perhaps one behind the clause that decides.
    observed: bool,
    /// Which list [`observing`] comes to next.
    next_list: u32,
    /// [`HeaderLine::pair_buckets`].
    pair_buckets: u32,
}

/// Something about each list: a pair of addresses has four at most, by whether prefixes of many or of few other ones hold them.
type Lists = [u32; 4];

/// No list. No table is so long.
const NO_LIST: u32 = u32::MAX;

/// The lists of a pair of addresses, to be remembered for the next question about the same two: see [`Lookup::lists`].
pub type KnownLists = [u32; 3];

/// The lists are not known.
pub const UNKNOWN_LISTS: KnownLists = [NO_LIST - 1; 3];

impl Lookup {
    /// What [`find_lists`] has found, if there is room for it.
    #[inline(always)]
    #[must_use]
    pub const fn lists(&self) -> KnownLists {
        let [first, second, third, fourth] = self.lists;
        if fourth == NO_LIST { [first, second, third] } else { UNKNOWN_LISTS }
    }

    /// How many lists [`find_lists`] has found.
    #[must_use]
    pub const fn list_count(&self) -> u32 {
        self.lists_found
    }

    /// Puts back what [`Lookup::lists`] gave under the same policy; whether it says something.
    #[inline(always)]
    pub const fn know_lists(&mut self, [first, second, third]: KnownLists) -> bool {
        self.lists = [first, second, third, NO_LIST];
        self.first_clauses = [0; 4];
        first != UNKNOWN_LISTS[0]
    }
}

/// Behind all clauses.
const NO_CLAUSE: u32 = u32::MAX;

/// Finds the rule that decides: the first match in policy order, else the default of the zone pair, else drop.
/// `lookup` may hold anything but in [`Lookup::tables`].
#[inline(always)]
#[must_use]
pub fn classify<T: PolicyTables>(tables: &T, lookup: &mut Lookup, query: &Query) -> Decision {
    find_lists(tables, lookup, query);
    search(tables, lookup, query)
}

/// The first part of [`classify`], which depends on the addresses alone: in which lists the rule may stand.
#[inline(always)]
pub fn find_lists<T: PolicyTables>(tables: &T, lookup: &mut Lookup, query: &Query) {
    lookup.source = address::class(tables, lookup, Side::Source, &query.src_addr);
    lookup.destination = address::class(tables, lookup, Side::Destination, &query.dst_addr);
    lookup.lists = [NO_LIST; 4];
    lookup.lists_found = 0;
    if let Some(header) = tables.line::<HeaderLine>(0) {
        lookup.pair_buckets = header.pair_buckets;
        tables.repeat::<Pairs>(4, lookup);
    }
}

/// The second part of [`classify`]: finds the rule in the lists.
#[inline(always)]
#[must_use]
pub fn search<T: PolicyTables>(tables: &T, lookup: &mut Lookup, query: &Query) -> Decision {
    lookup.from_zone = zone::bit(query.from_zone);
    lookup.to_zone = zone::bit(query.to_zone);
    lookup.values = [0; 3];
    lookup.values[dimension::SERVICE as usize] = list::service(query.protocol, query.dst_port);
    lookup.values[dimension::SOURCE_PORT as usize] = u32::from(query.src_port);
    lookup.values[dimension::ZONES as usize] = list::zones(query.from_zone, query.to_zone);
    lookup.best = NO_CLAUSE;
    lookup.observed = false;
    tables.repeat::<EachList>(4, lookup);
    match clause(tables, lookup.best) {
        Some(clause) => Decision {
            action: Action::from_number(clause.action),
            rule: clause.rule,
            log: clause.flags & LOG != 0,
            idle_timeout: clause.idle_timeout,
            limited: clause.flags & LIMITED != 0,
        },
        None => default(tables, query),
    }
}

/// The pairs of the classes of two addresses, one after the other.
///
/// VERIFIER: a walk, so that what looks a pair up is verified once, not four times in a row with all paths of the first before the
/// second. Test: `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
struct Pairs;

impl<T: PolicyTables> Walk<T> for Pairs {
    #[inline(always)]
    fn step(lookup: &mut Lookup, position: u32, tables: &T) -> bool {
        let (source, of_source) =
            if position & 2 == 0 { (lookup.source.specific, PAIRS_SPECIFIC) } else { (lookup.source.wide, PAIRS_WIDE) };
        let (destination, of_destination) = if position & 1 == 0 {
            (lookup.destination.specific, PAIRS_SPECIFIC)
        } else {
            (lookup.destination.wide, PAIRS_WIDE)
        };
        let key = PairKey { source: source & CLASS_ID, destination: destination & CLASS_ID };
        if source & of_destination != 0
            && destination & of_source != 0
            && let Some(found) = pair::find(tables, lookup.pair_buckets, key)
        {
            let place = (lookup.lists_found & 3) as usize;
            lookup.lists[place] = found.list;
            lookup.first_clauses[place] = found.first_clause;
            lookup.lists_found += 1;
        }
        true
    }
}

/// The lists, one after the other.
///
/// VERIFIER: as [`Pairs`].
struct EachList;

impl<T: PolicyTables> Walk<T> for EachList {
    #[inline(always)]
    fn step(lookup: &mut Lookup, position: u32, tables: &T) -> bool {
        let place = (position & 3) as usize;
        lookup.list = lookup.lists[place];
        if lookup.list == NO_LIST {
            return false;
        }
        // A list whose first clause is behind the best cannot have a better one.
        if lookup.first_clauses[place] < lookup.best {
            tables.repeat::<list::Search>(MAX_SPLITS + MAX_LIST, lookup);
        }
        true
    }
}

/// What a clause says; none if there is no such clause.
#[inline(always)]
pub(crate) fn clause<T: PolicyTables>(tables: &T, index: u32) -> Option<&Clause> {
    let line = tables.line::<ClauseLine>(index >> 1)?;
    Some(&line.clauses[(index & 1) as usize])
}

#[inline(always)]
fn default(tables: &impl PolicyTables, query: &Query) -> Decision {
    let index = u32::from(query.from_zone) * zone::COUNT as u32 + u32::from(query.to_zone);
    let Some(line) = tables.line::<DefaultLine>(index >> 3) else {
        return Decision { action: Action::Drop, rule: 0, log: true, idle_timeout: 0, limited: false };
    };
    let default = &line.defaults[(index & 7) as usize];
    Decision {
        // A default never allows, whatever the table holds.
        action: match Action::from_number(default.action) {
            Action::Reject => Action::Reject,
            Action::Allow | Action::Drop => Action::Drop,
        },
        rule: default.rule,
        log: default.flags & LOG != 0,
        idle_timeout: 0,
        limited: false,
    }
}
