//! What each map holds: the list from which `docs/maps.md` is generated, and which a test compares with the kernel.

use fw_common::DropReason;
use fw_common::abi::capture::{CaptureFilter, CapturedHead, SNAP_ROOM};
use fw_common::abi::config::Config;
use fw_common::abi::counters::{AnswerBudget, Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{DENIED_SLOTS, DeniedSlot};
use fw_common::abi::explained::Explained;
use fw_common::abi::flow::{LOCKS, NEXT_HOPS, NextHop, Slot4, Slot6, Table, Tags};
use fw_common::abi::fragment::{FRAGMENT_BUCKETS, FragmentBucket, HELD_RING};
use fw_common::abi::interface::{
    HANDOVER_SLOT, Interface, LocalAddress, MAX_INTERFACES, MAX_SEGMENT_LIMITS, NEAR_INTERFACES,
};
use fw_common::abi::limit::{RuleLimit, SUBJECTS, Subject};
use fw_common::abi::policy::{MAX_RULES, RuleName, ZoneAddress, ZoneEntry};
use fw_common::abi::redirect::{MAX_REDIRECT_ERRORS, RedirectWatch};
use fw_common::abi::tables::{LINE, table};

/// How many elements a map has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Always this many.
    Fixed(u32),
    /// Half as many again as `[conntrack] max_flows`, which is by the machine's memory where it is not given.
    Slots,
    /// One for sixteen slots.
    Buckets,
    /// Two rings of half-open flows: five quarters of `[conntrack] max_half_open` each.
    HalfOpen,
    /// Two slots, each with so many maps made for its policy.
    PerPolicy(u32),
}

/// One map.
#[derive(Clone, Copy, Debug)]
pub struct MapDescription {
    /// Its name in the object and in the pin directory.
    pub name: &'static str,
    /// Its type, as bpftool names it; for maps of maps the type of the inner maps.
    pub kind: &'static str,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value; per CPU where the type says so.
    pub value_size: usize,
    /// Its size.
    pub capacity: Capacity,
    /// Whether it outlives the agent.
    pub pinned: bool,
    /// What it holds.
    pub holds: &'static str,
    /// What happens when it is full.
    pub when_full: &'static str,
}

/// Describes a map.
const fn map(
    name: &'static str,
    kind: &'static str,
    (key_size, value_size): (usize, usize),
    capacity: Capacity,
    holds: &'static str,
    when_full: &'static str,
) -> MapDescription {
    MapDescription { name, kind, key_size, value_size, capacity, pinned: true, holds, when_full }
}

/// Bytes of an index.
const INDEX: usize = size_of::<u32>();
/// What is said of arrays.
const CANNOT_FILL: &str = "cannot: every index exists";
/// What is said of the inner maps of a policy.
const MADE_TO_SIZE: &str =
    "cannot: made in the size that the policy needs; the compiler refuses policies above its budget";

use Capacity::{Buckets, Fixed, HalfOpen, PerPolicy, Slots};

/// Every map of the object, in the order of the packet's way.
#[rustfmt::skip]
pub const MAPS: &[MapDescription] = &[
    map("CONFIG", "array", (INDEX, size_of::<Config>()), Fixed(1),
        "the active policy, time-outs, the hand-over device, limits", CANNOT_FILL),
    map("INTERFACES", "array", (INDEX, size_of::<Interface>()), Fixed(NEAR_INTERFACES),
        "the interfaces that carry the program and have a low kernel index, by that", CANNOT_FILL),
    map("FAR_INTERFACES", "hash", (INDEX, size_of::<Interface>()), Fixed(MAX_INTERFACES as u32),
        "the other interfaces that carry the program, by kernel index", "the interface is not attached, the agent says so and is not ready"),
    map("EGRESS", "devmap", (INDEX, 8), Fixed(HANDOVER_SLOT + 1),
        "the interfaces that packets may be sent from", "the interface is not attached, the agent says so and is not ready"),
    map("LOCAL4", "hash", (4, size_of::<LocalAddress>()), Fixed(1024),
        "the host's own IPv4 addresses and the directed broadcasts of its subnets", "the agent logs an error and tries again at every change and every round; an address that found no room is not reachable"),
    map("LOCAL6", "hash", (16, size_of::<LocalAddress>()), Fixed(1024),
        "the host's own IPv6 addresses", "the agent logs an error and tries again at every change and every round; an address that found no room is not reachable"),
    map("SEGMENT_LIMITS", "lpm_trie", (INDEX + 16, 4), Fixed(MAX_SEGMENT_LIMITS as u32),
        "the largest TCP segment that may be announced to and from a prefix", "`agent.toml` is refused with more"),
    map("FLOWS4", "array", (INDEX, size_of::<Slot4>()), Slots,
        "IPv4 flows with their keys", "new flows are dropped with reason `table_full`; established ones go on; dead ones are removed by the sweep"),
    map("FLOWS6", "array", (INDEX, size_of::<Slot6>()), Slots,
        "IPv6 flows with their keys", "as FLOWS4"),
    map("TAGS4", "array", (INDEX, size_of::<Tags>()), Buckets,
        "a byte for each slot of FLOWS4, by which it is found", "cannot but by the rarest chance: both buckets of a key are full of living flows; the flow is dropped as `table_full`"),
    map("TAGS6", "array", (INDEX, size_of::<Tags>()), Buckets,
        "a byte for each slot of FLOWS6", "as TAGS4"),
    map("FLOW_TABLES", "array", (INDEX, size_of::<Table>()), Fixed(2),
        "how full each table is, and where its sweep stands", CANNOT_FILL),
    map("HALF_OPEN", "array", (INDEX, size_of::<u64>()), HalfOpen,
        "which slots hold half-open flows, in the order in which they opened", "the oldest half-open flow gives way, or, as a setting, the new one is dropped with reason `half_open_limit`"),
    map("LOCKS", "array", (INDEX, size_of::<u32>()), Fixed(LOCKS),
        "which keys are being put into a table, and which buckets of `LIMITS` are charged", CANNOT_FILL),
    map("NEXT_HOPS", "array", (INDEX, size_of::<NextHop>()), Fixed(NEXT_HOPS),
        "next hops that were looked up, shared by the flows", "the next hop is looked up for each packet that finds no room; entries of older generations are taken over"),
    map("ZONES4", "lpm_trie", (INDEX + size_of::<ZoneAddress<[u8; 4]>>(), size_of::<ZoneEntry>()), PerPolicy(1),
        "the zone of an IPv4 address behind an interface", MADE_TO_SIZE),
    map("ZONES6", "lpm_trie", (INDEX + size_of::<ZoneAddress<[u8; 16]>>(), size_of::<ZoneEntry>()), PerPolicy(1),
        "the zone of an IPv6 address behind an interface", MADE_TO_SIZE),
    map("TABLES", "array", (INDEX, LINE), PerPolicy(table::COUNT),
        "how a packet finds its rule: address classes, pairs of them, lists, what the rules do", MADE_TO_SIZE),
    map("DIGESTS", "array", (INDEX, 32), Fixed(2),
        "the digest of the policy in each slot", CANNOT_FILL),
    map("RULE_NAMES", "array", (INDEX, size_of::<RuleName>()), Fixed(MAX_RULES),
        "the rule id behind each handle", "a policy with more rules than there are handles is refused"),
    map("RULE_TIMEOUTS", "array", (INDEX, size_of::<u64>()), Fixed(MAX_RULES),
        "the idle time-out of the rules that have one, in seconds", CANNOT_FILL),
    map("RULE_LIMITS", "array", (INDEX, size_of::<RuleLimit>()), Fixed(MAX_RULES),
        "the limits of the rules that have some", CANNOT_FILL),
    map("LIMITS", "array", (INDEX, size_of::<Subject>()), Fixed(SUBJECTS),
        "what limits count for: rules, sources, pairs of source and destination", "the rate that is nearest to having all its tokens again is forgotten; where all count flows, the flow is dropped with reason `limit`, and counted in `limits_full`"),
    map("DROPS", "percpu_array", (INDEX, size_of::<Counter>()), Fixed(DropReason::COUNT as u32),
        "dropped packets by reason", CANNOT_FILL),
    map("RULE_COUNTERS", "percpu_array", (INDEX, size_of::<RuleCounter>()), Fixed(MAX_RULES),
        "what each rule decided", CANNOT_FILL),
    map("INTERFACE_COUNTERS", "percpu_array", (INDEX, size_of::<InterfaceCounter>()), Fixed(MAX_INTERFACES as u32),
        "what crossed each interface", CANNOT_FILL),
    map("HAPPENINGS", "percpu_array", (INDEX, size_of::<Happenings>()), Fixed(1),
        "rare happenings", CANNOT_FILL),
    map("ANSWER_BUDGET", "percpu_array", (INDEX, size_of::<AnswerBudget>()), Fixed(1),
        "answers sent in this second", "further answers are not sent, and counted in `answers_limited`"),
    map("DENIED", "array", (INDEX, size_of::<DeniedSlot>()), Fixed(DENIED_SLOTS),
        "flows that were denied, or that rules observe, since the last look of the agent", "packets of further flows are in no record, and counted in `denied_unrecorded`; counters by reason and rule stay exact"),
    map("REDIRECT_ERRORS", "hash", (INDEX, size_of::<u64>()), Fixed(MAX_REDIRECT_ERRORS as u32),
        "packets whose redirect failed, by egress interface and error", "further combinations are not counted"),
    map("EVENTS", "ringbuf", (0, 0), Fixed(1 << 22),
        "flows that have ended, in bytes", "further records are lost, and counted in `events_lost`"),
    map("FRAGMENTS", "array", (INDEX, size_of::<FragmentBucket>()), Fixed(FRAGMENT_BUCKETS),
        "datagrams whose fragments are under way, four in each bucket: 8,192 in 2.6 MB", "the datagram that is least worth keeping loses its place: one that is over, then one that was not judged or was dropped, last the oldest that passes"),
    map("FRAGMENTS_HELD", "ringbuf", (0, 0), Fixed(HELD_RING as u32),
        "fragments on their way to the agent, which holds them until the first one of their datagram has been judged, in bytes", "further ones are dropped with reason `fragment_not_held`"),
    map("STAGES", "prog_array", (INDEX, 4), Fixed(2),
        "the programs that frames from the wire pass: `fw_ingress`, `fw_fragments`", CANNOT_FILL),
    map("EGRESS_STAGES", "prog_array", (INDEX, 4), Fixed(2),
        "the programs that frames of the host pass: `fw_egress`, `fw_egress_fragments`", CANNOT_FILL),
    MapDescription {
        name: "REDIRECT_WATCH", kind: "array", key_size: INDEX, value_size: size_of::<RedirectWatch>(), capacity: Fixed(1), pinned: false,
        holds: "what tells this firewall's failed redirects from others", when_full: CANNOT_FILL,
    },
    MapDescription {
        name: "EXPLAINED", kind: "array", key_size: INDEX, value_size: size_of::<Explained>(), capacity: Fixed(1), pinned: false,
        holds: "what would become of the packet that was asked about last", when_full: CANNOT_FILL,
    },
    MapDescription {
        name: "OBSERVE_BUDGET", kind: "percpu_array", key_size: INDEX, value_size: size_of::<AnswerBudget>(), capacity: Fixed(1), pinned: false,
        holds: "records made for observers in this second", when_full: "further ones are not made, and counted in `observed_lost`",
    },
    MapDescription {
        name: "OBSERVED", kind: "ringbuf", key_size: 0, value_size: 0, capacity: Fixed(1 << 20), pinned: false,
        holds: "flows that have opened, ended or been denied, in bytes, while somebody observes", when_full: "further records are lost, and counted in `observed_lost`",
    },
    MapDescription {
        name: "CAPTURE", kind: "array", key_size: INDEX, value_size: size_of::<CaptureFilter>(), capacity: Fixed(1), pinned: false,
        holds: "which packets are captured", when_full: CANNOT_FILL,
    },
    MapDescription {
        name: "CAPTURED", kind: "ringbuf", key_size: 0, value_size: 0, capacity: Fixed(1 << 23), pinned: false,
        holds: "captured packets, in bytes", when_full: "further packets are not captured, and counted in `captured_lost`",
    },
    MapDescription {
        name: "CAPTURE_SCRATCH", kind: "percpu_array", key_size: INDEX,
        value_size: size_of::<CapturedHead>() + SNAP_ROOM, capacity: Fixed(2), pinned: false,
        holds: "scratch space of the packet that is being captured", when_full: CANNOT_FILL,
    },
    MapDescription {
        name: "PASSAGES", kind: "percpu_array", key_size: INDEX, value_size: 64, capacity: Fixed(1024), pinned: false,
        holds: "by both addresses, protocol and interface: zones, next hop and lists of the policy, as the last packet that asked to open a flow found them", when_full: "another pair of hosts takes the place",
    },
    MapDescription {
        name: "JOBS", kind: "percpu_array", key_size: INDEX, value_size: 912, capacity: Fixed(3), pinned: false,
        holds: "scratch space of the packet in hand", when_full: CANNOT_FILL,
    },
];
