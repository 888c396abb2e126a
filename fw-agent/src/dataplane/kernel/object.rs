//! The loaded eBPF object: its programs and its maps, by name and type.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{Program, RawTracePoint, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use fw_common::abi::config::{Active, Config};
use fw_common::abi::event::{EndOrder, FlowEnd};
use fw_common::abi::flow::LANES;
use fw_common::flow_index::buckets_for;
use fw_common::half_open;

use super::handles::Assigned;
use super::layout::MAPS;
use super::policy::Zones;
use super::ring::Ring;
use super::tables::Loaded;
use crate::dataplane::DataplaneError;

/// The programs and the maps, as the build embeds them.
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fw-ebpf.o"));

/// The ring buffer.
const EVENTS: &str = "EVENTS";

/// Maps whose size follows the flow tables.
const SLOTS: [&str; 2] = ["FLOWS4", "FLOWS6"];
const TAGS: [&str; 2] = ["TAGS4", "TAGS6"];
/// The rings of half-open flows.
const HALF_OPEN: &str = "HALF_OPEN";

/// Kernel action of `include/uapi/linux/bpf.h`.
const XDP_PASS: u32 = 2;

/// What running a program on a packet came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it wants done with the packet: `enum xdp_action` of `include/uapi/linux/bpf.h`.
    pub action: u32,
    /// The packet after it.
    pub after: Vec<u8>,
    /// How long a run took, in the mean.
    pub duration: Duration,
}

/// A loaded object.
pub(super) struct Object {
    ebpf: Ebpf,
    events: RingBuf<MapData>,
    /// The same map once more: the ring buffer gives its own away.
    events_map: MapData,
    /// Packets are captured, so that interfaces say so.
    pub(super) captured: bool,
    /// The zones in each slot, as far as this agent has put them there.
    zones: [Option<Zones>; 2],
    /// The rules of the last policy that was loaded, with their handles.
    assigned: Assigned,
    /// The tables that were switched to, as long as a packet may be judged by those before.
    pub(super) unsettled: Option<Loaded>,
}

impl Object {
    /// Loads every program; maps are taken from `maps_dir` where they are pinned, else made and pinned there.
    pub(super) fn load(maps_dir: &Path, max_flows: u32, max_half_open: u32) -> Result<Self, DataplaneError> {
        let mut loader = EbpfLoader::new();
        for map in MAPS.iter().filter(|map| map.pinned) {
            loader.map_pin_path(map.name, maps_dir.join(map.name));
        }
        for name in SLOTS {
            loader.map_max_entries(name, buckets_for(max_flows) * LANES);
        }
        for name in TAGS {
            loader.map_max_entries(name, buckets_for(max_flows));
        }
        loader.map_max_entries(HALF_OPEN, 2 * half_open::ring(max_half_open));
        let mut ebpf = loader.load(BYTES).map_err(|error| DataplaneError::Load(chain(&error)))?;
        for (_, program) in ebpf.programs_mut() {
            let loaded = if let aya::programs::Program::Xdp(program) = program {
                program.load()
            } else if let aya::programs::Program::SchedClassifier(program) = program {
                program.load()
            } else {
                Ok(())
            };
            loaded.map_err(|error| DataplaneError::Load(chain(&error)))?;
        }
        connect_stages(&mut ebpf)?;
        let pin = maps_dir.join(EVENTS);
        let events_map = MapData::from_pin(pin).map_err(|error| map_error(EVENTS, &error))?;
        let events = ebpf.take_map("EVENTS").ok_or(DataplaneError::Load("the object has no map EVENTS".to_owned()))?;
        let events = RingBuf::try_from(events).map_err(|error| map_error("EVENTS", &error))?;
        Ok(Self {
            ebpf,
            events,
            events_map,
            captured: false,
            zones: [None, None],
            assigned: Assigned::default(),
            unsettled: None,
        })
    }

    /// A ring buffer that is not pinned, which can be had once.
    pub(super) fn take_ring(&mut self, name: &'static str) -> Result<Ring, DataplaneError> {
        let map = self.ebpf.take_map(name).ok_or_else(|| missing_map(name))?;
        RingBuf::try_from(map).map(|ring| Ring::new(name, ring)).map_err(|error| map_error(name, &error))
    }

    /// Ends a flow; whether it was there.
    pub(super) fn run_end_flow(&mut self, order: &EndOrder) -> Result<bool, DataplaneError> {
        let mut packet = [0u8; size_of::<EndOrder>()];
        // SAFETY: an order has no padding of the compiler's, and the packet has its size.
        unsafe { packet.as_mut_ptr().cast::<EndOrder>().write_unaligned(*order) };
        Ok(self.run("fw_end_flow", &packet, None, 1)?.action == XDP_PASS)
    }

    /// Whether a pinned map is not pinned any more.
    pub(super) fn has_lost_pins(&self, maps_dir: &Path) -> bool {
        MAPS.iter().any(|map| map.pinned && !maps_dir.join(map.name).exists())
    }

    /// Pins the maps whose pins are missing, so that the next agent finds them.
    pub(super) fn pin_again(&self, maps_dir: &Path) -> Result<(), DataplaneError> {
        for map in MAPS.iter().filter(|map| map.pinned) {
            let path = maps_dir.join(map.name);
            if path.exists() {
                continue;
            }
            let pinned = if map.name == EVENTS { self.events_map.pin(&path) } else { self.map(map.name)?.pin(&path) };
            pinned.map_err(|error| DataplaneError::Pin { path: path.display().to_string(), reason: chain(&error) })?;
        }
        Ok(())
    }

    /// The program for frames from the wire.
    pub(super) fn ingress(&mut self) -> Result<&mut Xdp, DataplaneError> {
        self.xdp("fw_ingress")
    }

    /// The same program, for who runs it without the object.
    pub(super) fn ingress_fd(&mut self) -> Result<OwnedFd, DataplaneError> {
        let fd = self.ingress()?.fd().map_err(|error| DataplaneError::Load(chain(&error)))?;
        fd.as_fd().try_clone_to_owned().map_err(|error| DataplaneError::Load(chain(&error)))
    }

    /// The program for frames of the host.
    pub(super) fn egress(&mut self) -> Result<&mut SchedClassifier, DataplaneError> {
        self.classifier("fw_egress")
    }

    /// A program for a tracepoint.
    pub(super) fn raw_tracepoint(&mut self, name: &'static str) -> Result<&mut RawTracePoint, DataplaneError> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        program.try_into().map_err(|error| DataplaneError::Load(chain(&error)))
    }

    /// The program that lets nothing to the host.
    pub(super) fn closed(&mut self) -> Result<&mut SchedClassifier, DataplaneError> {
        self.classifier("fw_closed")
    }

    fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, DataplaneError> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        program.try_into().map_err(|error| DataplaneError::Load(chain(&error)))
    }

    fn xdp(&mut self, name: &'static str) -> Result<&mut Xdp, DataplaneError> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        program.try_into().map_err(|error| DataplaneError::Load(chain(&error)))
    }

    /// Runs an XDP program on a packet, `repeat` times.
    fn run(
        &mut self,
        name: &'static str,
        packet: &[u8],
        context: Option<&[u8]>,
        repeat: u32,
    ) -> Result<Run, DataplaneError> {
        let mut after = vec![0u8; packet.len() + 256];
        let result = {
            let mut options = TestRunOptions::new();
            options.data_in = Some(packet);
            options.data_out = Some(&mut after);
            options.ctx_in = context;
            options.repeat = repeat;
            self.xdp(name)?.test_run(options).map_err(|error| DataplaneError::Load(chain(&error)))?
        };
        after.truncate(result.data_size_out as usize);
        Ok(Run { action: result.return_value, after, duration: result.duration })
    }

    /// Runs the ingress program as if the packet had come in by an interface of this network name space.
    pub(super) fn run_ingress(&mut self, packet: &[u8], ifindex: u32) -> Result<Run, DataplaneError> {
        // struct xdp_md of include/uapi/linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
        // egress_ifindex.
        let fields = [0, u32::try_from(packet.len()).unwrap_or(u32::MAX), 0, ifindex, 0, 0];
        let context: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        self.run("fw_ingress", packet, Some(&context), 1)
    }

    /// Looks once at a batch of slots of both flow tables.
    pub(super) fn run_sweep(&mut self) -> Result<(), DataplaneError> {
        self.run("fw_sweep", &[0; 64], None, 1).map(drop)
    }

    /// The rules that were given handles last.
    pub(super) const fn assigned(&mut self) -> &mut Assigned {
        &mut self.assigned
    }

    /// What is known of the zones in a slot.
    pub(super) fn zones(&mut self, slot: u32) -> &mut Option<Zones> {
        &mut self.zones[usize::from(slot != 0)]
    }

    /// Switches to a policy.
    pub(super) fn activate(&mut self, active: Active) -> Result<(), DataplaneError> {
        let mut packet = [0u8; 64];
        packet[..8].copy_from_slice(&active.to_word().to_ne_bytes());
        match self.run("fw_activate", &packet, None, 1)? {
            Run { action: XDP_PASS, .. } => Ok(()),
            Run { action, .. } => Err(DataplaneError::Map {
                map: "CONFIG",
                reason: format!("the policy was not switched (action {action})"),
            }),
        }
    }

    /// How many instructions the verifier looked at for each program; none where the kernel does not say.
    pub(super) fn verified_instructions(&self) -> Vec<(String, Option<u32>)> {
        let counts = self.ebpf.programs().map(|(name, program)| {
            let count = program.info().ok().and_then(|info| info.verified_instruction_count());
            (name.to_owned(), count)
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort();
        counts
    }

    /// The configuration entry.
    pub(super) fn config(&self) -> Result<Config, DataplaneError> {
        self.array::<Config>("CONFIG")?.get(&0, 0).map_err(|error| map_error("CONFIG", &error))
    }

    /// Changes the configuration entry. Its word `active` must be left to [`Object::activate`].
    pub(super) fn update_config(&mut self, change: impl FnOnce(&mut Config)) -> Result<(), DataplaneError> {
        let before = self.config()?;
        let mut config = before;
        change(&mut config);
        if config == before {
            return Ok(());
        }
        self.array_mut::<Config>("CONFIG")?.set(0, config, 0).map_err(|error| map_error("CONFIG", &error))
    }

    /// Lets the programs look up again what they remember of routes, neighbours, interfaces and addresses.
    pub(super) fn invalidate_next_hops(&mut self) -> Result<(), DataplaneError> {
        self.update_config(|config| config.fib_generation = config.fib_generation.wrapping_add(1))
    }

    /// Digest of the policy in a slot.
    pub(super) fn digest(&self, slot: u32) -> Result<[u8; 32], DataplaneError> {
        self.array::<[u8; 32]>("DIGESTS")?.get(&slot, 0).map_err(|error| map_error("DIGESTS", &error))
    }

    /// Buckets of each table, as the kernel says.
    pub(super) fn buckets(&self) -> Result<u32, DataplaneError> {
        let info = self.array_data("TAGS4")?.info().map_err(|error| map_error("TAGS4", &error))?;
        Ok(info.max_entries())
    }

    /// An array as it is.
    pub(super) fn array_data(&self, name: &'static str) -> Result<&MapData, DataplaneError> {
        let Map::Array(data) = self.map(name)? else {
            return Err(DataplaneError::Map { map: name, reason: "is not an array".to_owned() });
        };
        Ok(data)
    }

    /// Makes a hash hold exactly `wanted`: adds first, then removes, so that what stays is never missing.
    pub(super) fn replace_hash<K: Pod + PartialEq, V: Pod>(
        &mut self,
        name: &'static str,
        wanted: &[(K, V)],
    ) -> Result<(), DataplaneError> {
        let mut map = self.hash_mut::<K, V>(name)?;
        for (key, value) in wanted {
            map.insert(key, value, 0).map_err(|error| map_error(name, &error))?;
        }
        let held: Vec<K> = map.keys().collect::<Result<_, _>>().map_err(|error| map_error(name, &error))?;
        for key in held.iter().filter(|key| !wanted.iter().any(|(wanted, _)| wanted == *key)) {
            match map.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error(name, &error)),
            }
        }
        Ok(())
    }

    /// Hands out the records of ended flows.
    pub(super) fn poll_events(&mut self, visit: &mut dyn FnMut(&FlowEnd)) {
        while let Some(record) = self.events.next() {
            if record.len() >= size_of::<FlowEnd>() {
                // SAFETY: long enough, and every bit pattern is a value; the record need not be aligned.
                let end = unsafe { record.as_ptr().cast::<FlowEnd>().read_unaligned() };
                visit(&end);
            }
        }
    }

    pub(super) fn map(&self, name: &'static str) -> Result<&Map, DataplaneError> {
        self.ebpf.map(name).ok_or_else(|| missing_map(name))
    }

    pub(super) fn map_mut(&mut self, name: &'static str) -> Result<&mut Map, DataplaneError> {
        self.ebpf.map_mut(name).ok_or_else(|| missing_map(name))
    }

    pub(super) fn hash<K: Pod, V: Pod>(&self, name: &'static str) -> Result<HashMap<&MapData, K, V>, DataplaneError> {
        HashMap::try_from(self.map(name)?).map_err(|error| map_error(name, &error))
    }

    pub(super) fn hash_mut<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, DataplaneError> {
        HashMap::try_from(self.map_mut(name)?).map_err(|error| map_error(name, &error))
    }

    pub(super) fn array<V: Pod>(&self, name: &'static str) -> Result<Array<&MapData, V>, DataplaneError> {
        Array::try_from(self.map(name)?).map_err(|error| map_error(name, &error))
    }

    pub(super) fn array_mut<V: Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, V>, DataplaneError> {
        Array::try_from(self.map_mut(name)?).map_err(|error| map_error(name, &error))
    }

    pub(super) fn per_cpu<V: Pod>(&self, name: &'static str) -> Result<PerCpuArray<&MapData, V>, DataplaneError> {
        PerCpuArray::try_from(self.map(name)?).map_err(|error| map_error(name, &error))
    }

    pub(super) fn per_cpu_mut<V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<PerCpuArray<&mut MapData, V>, DataplaneError> {
        PerCpuArray::try_from(self.map_mut(name)?).map_err(|error| map_error(name, &error))
    }
}

/// The programs that call each other, by the array that names them.
const STAGES: [(&str, [&str; 2]); 2] =
    [("STAGES", ["fw_ingress", "fw_fragments"]), ("EGRESS_STAGES", ["fw_egress", "fw_egress_fragments"])];

/// Puts the programs where they find each other.
fn connect_stages(ebpf: &mut Ebpf) -> Result<(), DataplaneError> {
    for (name, programs) in STAGES {
        for (index, program) in (0..).zip(programs) {
            let loaded = ebpf.program(program).ok_or_else(|| missing(program))?;
            let fd = if let Program::Xdp(program) = loaded {
                program.fd()
            } else if let Program::SchedClassifier(program) = loaded {
                program.fd()
            } else {
                return Err(missing(program));
            };
            let fd = fd.and_then(|fd| Ok(fd.try_clone()?)).map_err(|error| DataplaneError::Load(chain(&error)))?;
            let map = ebpf.map_mut(name).ok_or_else(|| missing_map(name))?;
            let set = ProgramArray::try_from(map).and_then(|mut stages| stages.set(index, &fd, 0));
            set.map_err(|error| map_error(name, &error))?;
        }
    }
    Ok(())
}

/// An error with its causes in one line; of the verifier's log, which can have megabytes, only the end, where it says why.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = shorten(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&shorten(&cause.to_string()));
        source = cause.source();
    }
    text
}

/// The last part of a long text.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 600;
    let skipped = text.chars().count().saturating_sub(LONGEST);
    if skipped == 0 { text.to_owned() } else { format!("[…] {}", text.chars().skip(skipped).collect::<String>()) }
}

/// What went wrong with a map.
pub(super) fn map_error(map: &'static str, error: &dyn std::error::Error) -> DataplaneError {
    DataplaneError::Map { map, reason: chain(error) }
}

fn missing(program: &str) -> DataplaneError {
    DataplaneError::Load(format!("the object has no program {program}"))
}

fn missing_map(map: &'static str) -> DataplaneError {
    DataplaneError::Map { map, reason: "the object has no such map".to_owned() }
}
