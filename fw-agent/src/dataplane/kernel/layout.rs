//! What each map holds: the list from which `docs/maps.md` is generated, and which a test compares with the kernel.

use fw_common::DropReason;
use fw_common::abi::config::Config;
use fw_common::abi::counters::{AnswerBudget, Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{Denied, DeniedKey};
use fw_common::abi::flow::{ClockHand, ClockSlot4, ClockSlot6, Flow, FlowKey4, FlowKey6};
use fw_common::abi::interface::{Interface, LocalAddress, MAX_INTERFACES};
use fw_common::abi::policy::{MAX_RULES, RuleName, ZoneAddress, ZoneEntry};
use fw_common::abi::tables::{LINE, table};

/// How many elements a map has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Always this many.
    Fixed(u32),
    /// `[conntrack] max_flows`, or by the machine's memory.
    Flows,
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

use Capacity::{Fixed, Flows, PerPolicy};

/// Every map of the object, in the order of the packet's way.
#[rustfmt::skip]
pub const MAPS: &[MapDescription] = &[
    map("CONFIG", "array", (INDEX, size_of::<Config>()), Fixed(1),
        "the active policy, time-outs, the hand-over device, limits", CANNOT_FILL),
    map("INTERFACES", "hash", (INDEX, size_of::<Interface>()), Fixed(MAX_INTERFACES as u32),
        "the interfaces that carry the program, by kernel index", "the interface is not attached, the agent says so and is not ready"),
    map("EGRESS", "devmap_hash", (INDEX, 8), Fixed(128),
        "the interfaces that packets may be sent from", "the interface is not attached, the agent says so and is not ready"),
    map("LOCAL4", "hash", (4, size_of::<LocalAddress>()), Fixed(1024),
        "the host's own IPv4 addresses and the directed broadcasts of its subnets", "the agent logs an error and tries again at every change and every round; an address that found no room is not reachable"),
    map("LOCAL6", "hash", (16, size_of::<LocalAddress>()), Fixed(1024),
        "the host's own IPv6 addresses", "the agent logs an error and tries again at every change and every round; an address that found no room is not reachable"),
    map("FLOWS4", "hash", (size_of::<FlowKey4>(), size_of::<Flow>()), Flows,
        "IPv4 flows", "new flows are dropped with reason `table_full`; established ones go on; dead ones are removed by the sweep"),
    map("FLOWS6", "hash", (size_of::<FlowKey6>(), size_of::<Flow>()), Flows,
        "IPv6 flows", "as FLOWS4"),
    map("CLOCK4", "array", (INDEX, size_of::<ClockSlot4>()), Flows,
        "the key of each IPv4 flow, for the sweep", CANNOT_FILL),
    map("CLOCK6", "array", (INDEX, size_of::<ClockSlot6>()), Flows,
        "the key of each IPv6 flow, for the sweep", CANNOT_FILL),
    map("FREE4", "queue", (0, INDEX), Flows,
        "slots of CLOCK4 that were given back", "cannot: it has room for every slot"),
    map("FREE6", "queue", (0, INDEX), Flows,
        "slots of CLOCK6 that were given back", "cannot: it has room for every slot"),
    map("CLOCK_HANDS", "array", (INDEX, size_of::<ClockHand>()), Fixed(2),
        "where the sweep of each table stands", CANNOT_FILL),
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
    map("DENIED", "lru_hash", (size_of::<DeniedKey>(), size_of::<Denied>()), Fixed(16_384),
        "denied flows since the last look of the agent", "the least recently seen is evicted; counters by reason and rule stay exact"),
    map("EVENTS", "ringbuf", (0, 0), Fixed(1 << 22),
        "flows that have ended, in bytes", "further records are lost, and counted in `events_lost`"),
    MapDescription {
        name: "JOBS", kind: "percpu_array", key_size: INDEX, value_size: 680, capacity: Fixed(2), pinned: false,
        holds: "scratch space of the packet in hand", when_full: CANNOT_FILL,
    },
    MapDescription {
        name: "REDIRECT_ONLY", kind: "hash", key_size: INDEX, value_size: 16, capacity: Fixed(4), pinned: false,
        holds: "targets of the benchmark's bare forwarder; empty in operation", when_full: "cannot: used by the benchmark only",
    },
];
