//! Every map of the programs. Sizes given here are defaults: the agent sizes the flow tables. `docs/maps.md` is generated from the agent's list of the same maps, and a test compares both.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, HashMap, LpmTrie, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use fw_common::DropReason;
use fw_common::abi::capture::CaptureFilter;
use fw_common::abi::config::Config;
use fw_common::abi::counters::{AnswerBudget, Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{DENIED_SLOTS, DeniedSlot};
use fw_common::abi::explained::Explained;
use fw_common::abi::flow::{LOCKS as LOCK_COUNT, NextHop, Slot4, Slot6, Table, Tags};
use fw_common::abi::fragment::{FRAGMENT_BUCKETS, FragmentBucket, HELD_RING};
use fw_common::abi::interface::{Interface, LocalAddress, MAX_INTERFACES, MAX_SEGMENT_LIMITS, NEAR_INTERFACES};
use fw_common::abi::limit::{RuleLimit, SUBJECTS, Subject};
use fw_common::abi::policy::{MAX_RULES, RuleName, ZoneAddress};
use fw_common::abi::redirect::{MAX_REDIRECT_ERRORS, RedirectWatch};
use fw_common::abi::tables::{LINE, table};

use crate::job::Job;
use crate::stage::capture::Scratch;
use crate::stage::passage::{PASSAGES_LEN, Passage};

/// Flag of `include/uapi/linux/bpf.h`: inner arrays of a map-of-maps may differ in size.
const BPF_F_INNER_MAP: usize = 1 << 12;
/// Flag of `include/uapi/linux/bpf.h`: the agent reads and writes the array as memory; and the values begin at a page, so that
/// they lie in cache lines as their types say.
const BPF_F_MMAPABLE: usize = 1 << 10;
/// Default size of each flow table.
const FLOWS: usize = 65_536;
/// A [`fw_common::abi::policy::ZoneEntry`].
type ZoneWord = u32;
/// A [`fw_common::abi::tables::Line`].
type LineWords = [u64; LINE / 8];
/// Slots of the policy tables: the one that judges and the one that is being filled.
const SLOTS: usize = 2;

#[btf_map]
pub(crate) static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
pub(crate) static INTERFACES: Array<Interface, { NEAR_INTERFACES as usize }> = Array::new();
#[btf_map]
pub(crate) static FAR_INTERFACES: HashMap<u32, Interface, MAX_INTERFACES> = HashMap::new();
#[btf_map]
pub(crate) static EGRESS: DevMap<{ MAX_INTERFACES + 1 }> = DevMap::new();
#[btf_map]
pub(crate) static LOCAL4: HashMap<[u8; 4], LocalAddress, 1024> = HashMap::new();
#[btf_map]
pub(crate) static LOCAL6: HashMap<[u8; 16], LocalAddress, 1024> = HashMap::new();

/// By prefix: the largest TCP segment, in bytes, that ends there may announce, and that may be announced to them.
#[btf_map]
pub(crate) static SEGMENT_LIMITS: LpmTrie<[u8; 16], u32, MAX_SEGMENT_LIMITS> = LpmTrie::new();

#[btf_map]
pub(crate) static FLOWS4: Array<Slot4, FLOWS, BPF_F_MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOWS6: Array<Slot6, FLOWS, BPF_F_MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static TAGS4: Array<Tags, FLOWS, BPF_F_MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static TAGS6: Array<Tags, FLOWS, BPF_F_MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOW_TABLES: Array<Table, 2> = Array::new();
/// Each an [`fw_common::half_open::Entry`]: first the ring of IPv4, then that of IPv6.
#[btf_map]
pub(crate) static HALF_OPEN: Array<u64, FLOWS> = Array::new();
#[btf_map]
pub(crate) static LOCKS: Array<u32, { LOCK_COUNT as usize }> = Array::new();
#[btf_map]
pub(crate) static PASSAGES: PerCpuArray<Passage, PASSAGES_LEN> = PerCpuArray::new();
#[btf_map]
pub(crate) static NEXT_HOPS: Array<NextHop, { fw_common::abi::flow::NEXT_HOPS as usize }> = Array::new();

// The inner maps named here are templates: the agent makes those of each policy in the size that it needs. Their values are
// words, not the structures that lie in them: Linux 6.1 takes a structure of the template's type information for something
// that could hold a timer (`btf_find_timer` in kernel/bpf/btf.c), and refuses inner maps without that information.
#[btf_map]
pub(crate) static ZONES4: ArrayOfMaps<LpmTrie<ZoneAddress<[u8; 4]>, ZoneWord, 1>, SLOTS> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static ZONES6: ArrayOfMaps<LpmTrie<ZoneAddress<[u8; 16]>, ZoneWord, 1>, SLOTS> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static TABLES: ArrayOfMaps<
    Array<LineWords, 1, { BPF_F_INNER_MAP | BPF_F_MMAPABLE }>,
    { SLOTS * table::COUNT as usize },
> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static DIGESTS: Array<[u8; 32], SLOTS> = Array::new();
#[btf_map]
pub(crate) static RULE_NAMES: Array<RuleName, { MAX_RULES as usize }, BPF_F_MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static RULE_TIMEOUTS: Array<u64, { MAX_RULES as usize }, BPF_F_MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static RULE_LIMITS: Array<RuleLimit, { MAX_RULES as usize }, BPF_F_MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static LIMITS: Array<Subject, { SUBJECTS as usize }, BPF_F_MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static DROPS: PerCpuArray<Counter, { DropReason::COUNT }> = PerCpuArray::new();
#[btf_map]
pub(crate) static RULE_COUNTERS: PerCpuArray<RuleCounter, { MAX_RULES as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static INTERFACE_COUNTERS: PerCpuArray<InterfaceCounter, MAX_INTERFACES> = PerCpuArray::new();
#[btf_map]
pub(crate) static HAPPENINGS: PerCpuArray<Happenings, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static ANSWER_BUDGET: PerCpuArray<AnswerBudget, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static DENIED: Array<DeniedSlot, { DENIED_SLOTS as usize }, BPF_F_MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<[u8; 1], { 1 << 22 }> = RingBuf::new();
#[btf_map]
pub(crate) static OBSERVE_BUDGET: PerCpuArray<AnswerBudget, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static OBSERVED: RingBuf<[u8; 1], { 1 << 20 }> = RingBuf::new();
#[btf_map]
pub(crate) static EXPLAINED: Array<Explained, 1> = Array::new();
#[btf_map]
pub(crate) static REDIRECT_WATCH: Array<RedirectWatch, 1> = Array::new();
#[btf_map]
pub(crate) static REDIRECT_ERRORS: HashMap<u32, u64, MAX_REDIRECT_ERRORS> = HashMap::new();
#[btf_map]
pub(crate) static CAPTURE: Array<CaptureFilter, 1> = Array::new();
#[btf_map]
pub(crate) static CAPTURED: RingBuf<[u8; 1], { 1 << 23 }> = RingBuf::new();
#[btf_map]
pub(crate) static CAPTURE_SCRATCH: PerCpuArray<Scratch, 2> = PerCpuArray::new();

#[btf_map]
pub(crate) static FRAGMENTS: Array<FragmentBucket, { FRAGMENT_BUCKETS as usize }> = Array::new();
#[btf_map]
pub(crate) static FRAGMENTS_HELD: RingBuf<[u8; 1], HELD_RING> = RingBuf::new();
/// The programs that frames from the wire pass, and those for frames of the host: see [`crate::stage::fragment`].
#[btf_map]
pub(crate) static STAGES: ProgramArray<2> = ProgramArray::new();
#[btf_map]
pub(crate) static EGRESS_STAGES: ProgramArray<2> = ProgramArray::new();

/// Scratch space: a stage's stack has 512 bytes. Entry 0 is for packets from the wire, entry 1 for those of the host,
/// entry 2 for those that the agent asks about.
#[btf_map]
pub(crate) static JOBS: PerCpuArray<Job, 3> = PerCpuArray::new();

/// Key of an LPM trie that matches all bits of `data`.
#[inline(always)]
pub(crate) const fn exact<K>(data: K) -> Key<K> {
    Key::new((size_of::<K>() * 8) as u32, data)
}
