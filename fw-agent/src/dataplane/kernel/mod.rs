//! The data plane in the kernel: programs, pinned maps and pinned links.
//!
//! Below the pin directory lie `abi-N/NAME` for each map of layout version N, and `links/` for what holds the programs on
//! the interfaces. Both outlive the agent, and the next one takes them over.

mod attach;
mod btf;
mod calls;
mod capture;
mod counters;
mod denied;
mod flows;
mod fragments;
mod handles;
mod interfaces;
mod layout;
mod memory;
mod object;
mod pins;
mod policy;
mod redirects;
mod ring;
mod segment_limits;
mod tables;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fw_common::abi::capture::{CaptureFilter, CapturedHead};
use fw_common::abi::config::{Active, config_flags};
use fw_common::abi::counters::{Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::{Denied, DeniedKey, FlowEnd};
use fw_common::abi::interface::{HANDOVER_SLOT, LocalAddress, local_kind};
use fw_common::conntrack::Timeouts;
use fw_common::half_open;
use fw_policy::Compiled;
use ipnet::IpNet;

use super::{
    Adopted, AttachedInterface, Dataplane, DataplaneError, FlowRecord, Observed, Occupancy, PICK_UP_SECONDS, PickUp,
    RedirectErrors, Settings,
};
pub use fragments::{FragmentRecord, HeldFragments};
pub use layout::{Capacity, MAPS, MapDescription};
pub use object::BYTES as OBJECT;
use object::Object;
pub use object::Run;
pub use pins::detach_all;
use pins::{forget_other_layouts, make_dir, maps_dir};
use ring::Ring;

/// How the data plane is opened.
#[derive(Clone, Debug)]
pub struct KernelOptions {
    /// Directory in a BPF file system, made if it is missing.
    pub pin_dir: PathBuf,
    /// Flows that each table can hold; `None`: by the machine's memory. An adopted table keeps its size.
    pub max_flows: Option<u32>,
    /// The most half-open flows of each table; `None`: by the size of the tables. Adopted rings keep their size.
    pub max_half_open: Option<u32>,
}

/// The kernel's data plane.
pub struct KernelDataplane {
    pin_dir: PathBuf,
    adopted: Option<Adopted>,
    max_flows: u32,
    object: Mutex<Object>,
    /// Waited for without the object's lock.
    observed: Mutex<Ring>,
    captured: Mutex<Ring>,
}

impl KernelDataplane {
    /// Loads the programs, and takes pinned maps over or makes them.
    ///
    /// # Errors
    /// If the pin directory is not in a BPF file system, or the kernel refuses a program or a map.
    pub fn open(options: KernelOptions) -> Result<Self, DataplaneError> {
        let maps_dir = maps_dir(&options.pin_dir);
        make_dir(&maps_dir)?;
        make_dir(&attach::links_dir(&options.pin_dir))?;
        let max_flows = options.max_flows.unwrap_or_else(flows::default_max_flows);
        let max_half_open = options.max_half_open.unwrap_or_else(|| half_open::default_limit(max_flows)).min(max_flows);
        let mut object = Object::load(&maps_dir, max_flows, max_half_open)?;
        // A table that was taken over keeps its size.
        let max_flows = match object.config()?.max_flows {
            0 => max_flows,
            kept => kept,
        };
        let buckets = object.buckets()?;
        let seed = random_seed()?;
        object.update_config(|config| {
            config.max_flows = max_flows;
            config.buckets = buckets;
            config.flags &= !config_flags::OBSERVED;
            config.reserved_flows = (max_flows / RESERVED_SHARE).max(1);
            if config.half_open_limit == 0 {
                config.half_open_limit = max_half_open;
                config.half_open_ring = half_open::ring(max_half_open);
            }
            if config.hash_seed == 0 {
                config.hash_seed = seed;
            }
            if config.answers_per_second == 0 {
                config.answers_per_second = DEFAULT_ANSWERS_PER_SECOND;
                config.timeouts = Timeouts::default();
            }
        })?;
        let adopted = match Active::from_word(object.config()?.active) {
            Some(active) => Some(Adopted { epoch: active.epoch, digest: object.digest(active.slot)? }),
            None => {
                let until = monotonic_seconds().saturating_add(PICK_UP_SECONDS);
                object.update_config(|config| config.pick_up_until = until)?;
                None
            }
        };
        forget_other_layouts(&options.pin_dir)?;
        if let Err(error) = redirects::watch(&mut object) {
            tracing::warn!(%error, "failed redirects are not counted");
        }
        let (observed, captured) = (object.take_ring("OBSERVED")?, object.take_ring("CAPTURED")?);
        Ok(Self {
            pin_dir: options.pin_dir,
            adopted,
            max_flows,
            object: Mutex::new(object),
            observed: Mutex::new(observed),
            captured: Mutex::new(captured),
        })
    }

    /// Runs a program on a packet as if it had come in by an interface, for tests: the action and the packet after it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&self, packet: &[u8], ifindex: u32) -> Result<(u32, Vec<u8>), DataplaneError> {
        self.run_timed(packet, ifindex).map(|run| (run.action, run.after))
    }

    /// The same, with the time that it took, for benchmarks.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run_timed(&self, packet: &[u8], ifindex: u32) -> Result<Run, DataplaneError> {
        self.object().run_ingress(packet, ifindex)
    }

    /// Bytes that the kernel says the tables of the active policy take; [`Compiled::memory`] says so before they are loaded.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn table_memory(&self) -> Result<u64, DataplaneError> {
        let object = self.object();
        match Active::from_word(object.config()?.active) {
            Some(active) => tables::memory(&object, active.slot),
            None => Ok(0),
        }
    }

    /// How many instructions the verifier looked at for each program, of the million that it accepts.
    pub fn verified_instructions(&self) -> Vec<(String, Option<u32>)> {
        self.object().verified_instructions()
    }

    /// The object, whatever happened to a thread that held it: its state is in the kernel.
    fn object(&self) -> MutexGuard<'_, Object> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One slot in so many is only for flows from and to the host.
pub const RESERVED_SHARE: u32 = 64;

/// A number that nobody can foresee, and that is not 0.
fn random_seed() -> Result<u64, DataplaneError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| DataplaneError::Load(format!("the kernel has no random numbers: {error}")))?;
    Ok(u64::from_ne_bytes(bytes) | 1)
}

/// Seconds of the clock by which the programs measure.
fn monotonic_seconds() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    u32::try_from(now).unwrap_or(u32::MAX)
}

/// ICMP errors and resets that each processor may send per second, unless configured.
pub const DEFAULT_ANSWERS_PER_SECOND: u32 = 1000;

impl Dataplane for KernelDataplane {
    fn adopted(&self) -> Option<Adopted> {
        self.adopted.clone()
    }

    fn keep_slots(&self, slots: &[(u32, u32)]) -> Result<(), DataplaneError> {
        attach::keep_slots(&mut self.object(), slots)
    }

    fn attach(&self, interface: &AttachedInterface) -> Result<(), DataplaneError> {
        attach::attach(&mut self.object(), &self.pin_dir, interface)
    }

    fn forget(&self, slot: u32) -> Result<(), DataplaneError> {
        attach::forget(&mut self.object(), &self.pin_dir, slot)
    }

    fn set_local_addresses(&self, own: &[IpAddr], broadcasts: &[Ipv4Addr]) -> Result<(), DataplaneError> {
        let mut wanted4: Vec<([u8; 4], LocalAddress)> = Vec::new();
        let mut wanted6: Vec<([u8; 16], LocalAddress)> = Vec::new();
        for addr in broadcasts {
            wanted4.push((addr.octets(), LocalAddress { kind: local_kind::BROADCAST }));
        }
        for addr in own {
            match addr {
                IpAddr::V4(addr) => wanted4.push((addr.octets(), LocalAddress { kind: local_kind::OWN })),
                IpAddr::V6(addr) => wanted6.push((addr.octets(), LocalAddress { kind: local_kind::OWN })),
            }
        }
        let mut object = self.object();
        object.replace_hash("LOCAL4", &wanted4)?;
        object.replace_hash("LOCAL6", &wanted6)
    }

    fn set_handover(&self, outer_ifindex: u32, inner_mac: [u8; 6]) -> Result<(), DataplaneError> {
        let mut object = self.object();
        attach::allow_egress(&mut object, HANDOVER_SLOT, outer_ifindex)?;
        object.update_config(|config| {
            config.handover_ifindex = outer_ifindex;
            config.handover_mac = inner_mac;
        })
    }

    fn set_settings(&self, settings: &Settings) -> Result<(), DataplaneError> {
        self.object().update_config(|config| {
            config.timeouts = settings.timeouts;
            config.answers_per_second = settings.answers_per_second;
            config.pick_up_forwarded_until = match settings.pick_up {
                PickUp::Never => 0,
                PickUp::AfterStart => config.pick_up_until,
                PickUp::Always => u32::MAX,
            };
            config.flags &= !(config_flags::VERIFY_CHECKSUMS | config_flags::REFUSE_HALF_OPEN);
            if settings.refuse_half_open {
                config.flags |= config_flags::REFUSE_HALF_OPEN;
            }
            if settings.verify_checksums {
                config.flags |= config_flags::VERIFY_CHECKSUMS;
            }
        })
    }

    fn set_segment_limits(&self, limits: &BTreeMap<IpNet, u16>) -> Result<(), DataplaneError> {
        let mut object = self.object();
        segment_limits::replace(&mut object, limits)?;
        object.update_config(|config| {
            config.flags &= !config_flags::LIMIT_SEGMENTS;
            if !limits.is_empty() {
                config.flags |= config_flags::LIMIT_SEGMENTS;
            }
        })
    }

    fn follow_routes_for(&self, seconds: u32) -> Result<(), DataplaneError> {
        let until = monotonic_seconds().saturating_add(seconds);
        self.object().update_config(|config| {
            // Who has been silent may have missed a change: what was looked up under the same number before is not trusted.
            if config.routes_followed_until < monotonic_seconds() {
                config.fib_generation = config.fib_generation.wrapping_add(1);
            }
            config.routes_followed_until = until;
        })
    }

    fn invalidate_next_hops(&self) -> Result<(), DataplaneError> {
        self.object().update_config(|config| config.fib_generation = config.fib_generation.wrapping_add(1))
    }

    fn apply_policy(&self, policy: &Compiled) -> Result<u32, DataplaneError> {
        policy::apply(&mut self.object(), policy)
    }

    fn rule_names(&self) -> Result<Vec<(u32, String)>, DataplaneError> {
        handles::names(&self.object())
    }

    fn drops(&self) -> Result<Vec<Counter>, DataplaneError> {
        counters::drops(&self.object())
    }

    fn rules(&self) -> Result<Vec<(u32, RuleCounter)>, DataplaneError> {
        counters::rules(&self.object())
    }

    fn interfaces(&self) -> Result<Vec<InterfaceCounter>, DataplaneError> {
        counters::interfaces(&self.object())
    }

    fn redirect_errors(&self) -> Result<Vec<RedirectErrors>, DataplaneError> {
        redirects::counted(&self.object())
    }

    fn happenings(&self) -> Result<Happenings, DataplaneError> {
        counters::happenings(&self.object())
    }

    fn visit_flows(&self, visit: &mut dyn FnMut(FlowRecord) -> bool) -> Result<(), DataplaneError> {
        flows::visit(&self.object(), visit)
    }

    fn occupancy(&self) -> Result<[Occupancy; 2], DataplaneError> {
        flows::occupancy(&self.object())
    }

    fn max_flows(&self) -> u32 {
        self.max_flows
    }

    fn take_denied(&self) -> Result<Vec<(DeniedKey, Denied)>, DataplaneError> {
        denied::take(&self.object())
    }

    fn sweep(&self) -> Result<u32, DataplaneError> {
        let before = counters::happenings(&self.object())?.swept;
        let batches = flows::sweep_batches(&self.object())?;
        // The lock is given free in between: attaching and reading go before sweeping. One run at a time: for several, the
        // kernel waits for two grace periods (bpf_dispatcher_change_prog), which is longer than the runs take.
        for _ in 0..batches {
            self.object().run_sweep()?;
        }
        let after = counters::happenings(&self.object())?.swept;
        Ok(u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX))
    }

    fn poll_ended(&self, visit: &mut dyn FnMut(&FlowEnd)) -> Result<(), DataplaneError> {
        self.object().poll_events(visit);
        Ok(())
    }

    fn end_flows(&self, choose: &mut dyn FnMut(&FlowRecord) -> bool) -> Result<u64, DataplaneError> {
        let orders = flows::orders(&self.object(), choose)?;
        let mut ended = 0;
        for chunk in orders.chunks(flows::END_CHUNK) {
            let mut object = self.object();
            for order in chunk {
                ended += u64::from(object.run_end_flow(order)?);
            }
        }
        Ok(ended)
    }

    fn set_observed(&self, observed: bool) -> Result<(), DataplaneError> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.object().update_config(|config| {
            config.flags &= !config_flags::OBSERVED;
            if observed {
                config.flags |= config_flags::OBSERVED;
            }
        })
    }

    fn wait_observed(&self, patience: Duration, visit: &mut dyn FnMut(Observed)) -> Result<(), DataplaneError> {
        let mut ring = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        ring.wait(patience, &mut |record| {
            if let Some(observed) = ring::observed(record) {
                visit(observed);
            }
        })
    }

    fn set_capture(&self, capture: Option<(CaptureFilter, u32)>) -> Result<(), DataplaneError> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner).clear();
        capture::set(&mut self.object(), capture)
    }

    fn wait_captured(
        &self,
        patience: Duration,
        visit: &mut dyn FnMut(&CapturedHead, &[u8]),
    ) -> Result<(), DataplaneError> {
        let mut ring = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        ring.wait(patience, &mut |record| {
            if let Some((head, bytes)) = ring::captured(record) {
                visit(&head, bytes);
            }
        })
    }

    fn repair(&self) -> Result<bool, DataplaneError> {
        let object = self.object();
        let maps_dir = maps_dir(&self.pin_dir);
        if object.has_lost_pins(&maps_dir) {
            make_dir(&maps_dir)?;
            make_dir(&attach::links_dir(&self.pin_dir))?;
            object.pin_again(&maps_dir)?;
        }
        attach::has_lost_links(&object, &self.pin_dir)
    }

    fn detach(&self) -> Result<(), DataplaneError> {
        detach_all(&self.pin_dir)
    }
}
