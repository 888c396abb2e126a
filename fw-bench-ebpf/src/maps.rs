//! The maps of the benchmark's programs.

use aya_ebpf::btf_maps::{Array, DevMap, HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use fw_bench_ebpf::{DELAY_BUCKETS, Plan, Target};

/// What to generate.
#[btf_map]
pub(crate) static PLAN: Array<Plan, 1> = Array::new();
/// The number of the next packet. Only one processor generates.
#[btf_map]
pub(crate) static NEXT: Array<u64, 1> = Array::new();
/// The interfaces to send from, at the clients and at the servers; for the bare forwarder, its own two.
#[btf_map]
pub(crate) static PORTS: DevMap<2> = DevMap::new();
/// Where the bare forwarder sends what comes in by an interface.
#[btf_map]
pub(crate) static TARGETS: HashMap<u32, Target, 2> = HashMap::new();
/// Packets that reached the sink.
#[btf_map]
pub(crate) static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();
/// How many packets took so long, by bucket.
#[btf_map]
pub(crate) static DELAYS: PerCpuArray<u64, DELAY_BUCKETS> = PerCpuArray::new();
