//! Map `TABLES`: how a packet finds its rule. A map of maps with the tables of two slots, of which
//! [`super::config::Active`] names one; the table [`table`]`::X` of a slot is at `slot * table::COUNT + X`.
//!
//! Every table is an array of lines of 64 bytes, the unit that a processor fetches from memory, and every kind of line
//! holds whole elements. So one call loads all tables of a slot, their size says what memory they take, and a look-up
//! touches as few lines as it can (see `docs/adr/0010-flat-tables.md`):
//!
//! 1. each address is mapped to a specific and a wide *class* by a trie with six bits a step ([`RootLine`], [`Node`],
//!    [`AddressClass`]);
//! 2. up to four pairs of classes are looked up in a hash with two buckets for each key ([`PairBucket`]);
//! 3. each pair leads to a *list*: a run of entries ([`Entry`]), or, where that would be long, a split by service, source
//!    port or zones that leads to shorter ones ([`SplitLine`]);
//! 4. the entry that matches and whose clause ([`Clause`]) comes first decides, else the default of the zone pair; those in front
//!    of it whose clause only [`OBSERVES`] are counted.

use super::policy::ZoneDefault;
use super::{assert_size, plain_bytes};

/// Positions of the tables of a slot.
pub mod table {
    /// One [`super::HeaderLine`].
    pub const HEADER: u32 = 0;
    /// [`super::RootLine`]: where a look-up of an address begins, by its first sixteen bits.
    pub const ROOTS: u32 = 1;
    /// [`super::NodeLine`]: inner nodes of the tries.
    pub const NODES: u32 = 2;
    /// [`super::ClassLine`]: leaves of the tries.
    pub const CLASSES: u32 = 3;
    /// [`super::PairBucket`]: pairs of classes.
    pub const PAIRS: u32 = 4;
    /// [`super::SplitLine`]: long lists.
    pub const SPLITS: u32 = 5;
    /// [`super::EntryLine`]: short lists.
    pub const ENTRIES: u32 = 6;
    /// [`super::ClauseLine`]: what the rules do.
    pub const CLAUSES: u32 = 7;
    /// [`super::DefaultLine`]: what is done with what no rule matches.
    pub const DEFAULTS: u32 = 8;
    /// Number of tables.
    pub const COUNT: u32 = 9;
}

/// Bytes of a line.
pub const LINE: usize = 64;

/// A line of whatever table.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Its bytes.
    pub words: [u64; 8],
}

/// A line of a certain table.
///
/// # Safety
/// The type has 64 bytes, no stricter alignment than [`Line`], no padding, and every bit pattern is a value.
pub unsafe trait TableLine: Copy + 'static {
    /// The table that is made of such lines.
    const TABLE: u32;
}

/// What else a look-up must know.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderLine {
    /// Number of lines of [`table::PAIRS`].
    pub pair_buckets: u32,
    /// Explicit padding.
    pub _pad: [u32; 15],
}

/// Which address of a packet a trie is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// Its source.
    Source = 0,
    /// Its destination.
    Destination = 1,
}

/// The bits of an address that choose a root.
pub const ROOT_BITS: u32 = 16;
/// Lines of [`table::ROOTS`] for each side and family.
pub const ROOT_LINES: u32 = (1 << ROOT_BITS) / 16;
/// A root with this bit is the index of a class, else that of a node.
pub const ROOT_IS_CLASS: u32 = 1 << 31;

/// Sixteen roots. The first line of a trie is at `(side * 2 + is IPv6) * ROOT_LINES`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootLine {
    /// Index of a node, or of a class with [`ROOT_IS_CLASS`].
    pub roots: [u32; 16],
}

/// An inner node: the next six bits of the address choose one of 64 branches ("Poptrie: A Compressed
/// Trie with Population Count for Fast and Scalable Software IP Routing Table Lookup", SIGCOMM 2015).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Bit `b`: branch `b` is a node; nodes of one parent follow each other.
    pub inner: u64,
    /// Bit `b`: branch `b` is a class, and another one than the branch before it that is a class.
    pub classes: u64,
    /// Index of the first node below.
    pub first_node: u32,
    /// Index of the first class below.
    pub first_class: u32,
    /// Explicit padding: two nodes fill a line, and none lies across two.
    pub _pad: u64,
}

/// Two nodes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLine {
    /// The nodes.
    pub nodes: [Node; 2],
}

/// What a trie says about an address.
///
/// A prefix is *wide* if it is shorter than the threshold that the compiler chose, else *specific*. Class ids are unique
/// over both families and both widths; 0 means none. An id has the marks [`PAIRS_SPECIFIC`] and [`PAIRS_WIDE`], so that pairs that
/// cannot be there are not looked up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressClass {
    /// Class of the longest specific prefix that holds the address.
    pub specific: u32,
    /// Class of the longest wide prefix that holds the address.
    pub wide: u32,
}

/// Of a class: it makes pairs with specific classes of the other address.
pub const PAIRS_SPECIFIC: u32 = 1 << 31;
/// Of a class: it makes pairs with wide classes of the other address.
pub const PAIRS_WIDE: u32 = 1 << 30;
/// The bits of an id without the marks.
pub const CLASS_ID: u32 = PAIRS_WIDE - 1;

/// Eight classes. The first one of all is that of addresses that no rule names.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassLine {
    /// The classes.
    pub classes: [AddressClass; 8],
}

/// A pair of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairKey {
    /// Class of the source address.
    pub source: u32,
    /// Class of the destination address.
    pub destination: u32,
}

/// A pair with its list.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairSlot {
    /// Class of the source address; in the first slot of a bucket perhaps with [`OVERFLOWED`].
    pub source: u32,
    /// Class of the destination address; 0: the slot is free.
    pub destination: u32,
    /// Index of the first entry, or of the first line of a split with [`LIST_IS_SPLIT`].
    pub list: u32,
    /// The lowest clause in the list.
    pub first_clause: u32,
}

/// In the first slot of a bucket: some pair found no room here and is in its second bucket.
pub const OVERFLOWED: u32 = 1 << 31;
/// A list with this bit is a split.
pub const LIST_IS_SPLIT: u32 = 1 << 31;

/// A bucket of pairs.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairBucket {
    /// The pairs.
    pub slots: [PairSlot; 4],
}

/// What a split tells lists apart by.
pub mod dimension {
    /// Protocol and destination port: `protocol << 16 | port`; for ICMP and ICMPv6 the port is `type << 8 | code`.
    pub const SERVICE: u32 = 0;
    /// Source port.
    pub const SOURCE_PORT: u32 = 1;
    /// Zones: `from << 6 | to`.
    pub const ZONES: u32 = 2;
}

/// Sixteen words of a split: its head, keys, or lists.
///
/// The values of a dimension are cut into intervals, each with a list. A key is the first value of an interval. Up to
/// [`SMALL_SPLIT`] intervals are in the head itself: words 1 to 7 are the keys of all but the first one, `u32::MAX` where
/// there is none, and words 8 to 15 the lists. More are found in levels, each with sixteen times as many keys as the one
/// before, of which the last one has a key for each interval.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitLine {
    /// Of the head: word 0 is `dimension | levels << 8`; with levels, word 1 is the first line of lists, and word `2 + n`
    /// the first line of level `n`.
    pub words: [u32; 16],
}

/// The most intervals that a head holds.
pub const SMALL_SPLIT: usize = 8;
/// The most levels of a split, and so the number of intervals that it can have.
pub const MAX_SPLIT_LEVELS: u32 = 5;
/// The most splits on the way to a list: one for each dimension.
pub const MAX_SPLITS: u32 = 3;

/// One service of one clause. The addresses are not here: that an entry is in the list of a pair says that they match.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Lowest and highest service, as [`dimension::SERVICE`]; the second perhaps with [`LAST_ENTRY`].
    pub services: [u32; 2],
    /// Lowest and highest source port.
    pub src_port: [u16; 2],
    /// Index of the clause. Lists ascend by it.
    pub clause: u32,
}

/// In the second word of [`Entry::services`]: no entry of the list follows.
pub const LAST_ENTRY: u32 = 1 << 31;
/// The highest service.
pub const MAX_SERVICE: u32 = (1 << 24) - 1;

/// Four entries.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryLine {
    /// The entries.
    pub entries: [Entry; 4],
}

/// The most entries that are looked at one after the other.
pub const MAX_LIST: u32 = 4096;

/// What a rule matches beside addresses and services, and what it does. Most rules are one clause; the order of clauses is
/// that of the rules.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clause {
    /// Bit set of source zones.
    pub from_zones: u64,
    /// Bit set of destination zones.
    pub to_zones: u64,
    /// The rule: an index into the policy's rules from the compiler, a handle once the agent has loaded it.
    pub rule: u32,
    /// Idle time-out of the flows it opens, in seconds; 0: by protocol and state.
    pub idle_timeout: u32,
    /// One of [`super::policy::Action`].
    pub action: u8,
    /// [`LOG`], [`LIMITED`] and [`OBSERVES`], or 0.
    pub flags: u8,
    /// Explicit padding.
    pub _pad: [u8; 6],
}

/// What the rule decides is logged.
pub const LOG: u8 = 1;
/// The rule has limits, in `RULE_LIMITS`.
pub const LIMITED: u8 = 2;
/// The rule observes: it is counted, and what it would have done is told; a later one decides.
pub const OBSERVES: u8 = 4;

/// Two clauses.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClauseLine {
    /// The clauses.
    pub clauses: [Clause; 2],
}

/// Eight defaults.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultLine {
    /// The defaults.
    pub defaults: [ZoneDefault; 8],
}

/// Declares which table a kind of line belongs to.
macro_rules! table_lines {
    ($($line:ty => $table:ident),+ $(,)?) => {
        $(
            const _: () = assert!(size_of::<$line>() == LINE && align_of::<$line>() <= align_of::<Line>());
            // SAFETY: the size and alignment are asserted, padding is explicit, and all fields are numbers.
            unsafe impl TableLine for $line {
                const TABLE: u32 = table::$table;
            }
        )+
    };
}

table_lines!(
    HeaderLine => HEADER,
    RootLine => ROOTS,
    NodeLine => NODES,
    ClassLine => CLASSES,
    PairBucket => PAIRS,
    SplitLine => SPLITS,
    EntryLine => ENTRIES,
    ClauseLine => CLAUSES,
    DefaultLine => DEFAULTS,
);
assert_size!(Line = LINE, Node = 32, AddressClass = 8, PairSlot = 16, Entry = 16, Clause = 32);
plain_bytes!(Line);
