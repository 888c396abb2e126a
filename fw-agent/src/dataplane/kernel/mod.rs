//! The data plane in the kernel: programs, pinned maps and pinned links.
//!
//! Below the pin directory lie `abi-N/NAME` for each map of layout version N, and `links/` for what holds the programs on
//! the interfaces. Both outlive the agent, and the next one takes them over.

mod attach;
mod btf;
mod calls;
mod capture;
mod closed;
mod counters;
mod dataplane;
mod denied;
mod explain;
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
mod run;
mod segment_limits;
mod tables;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fw_common::abi::config::{Active, config_flags};
use fw_common::conntrack::Timeouts;
use fw_common::half_open;

use explain::Explainer;

use super::{Adopted, DataplaneError, PICK_UP_SECONDS};
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
    /// The program for frames from the wire, for what does not wait for the object's lock.
    ingress: OwnedFd,
    /// Waited for without the object's lock.
    observed: Mutex<Ring>,
    captured: Mutex<Ring>,
    /// Asked without the object's lock.
    explainer: Mutex<Explainer>,
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
        let ingress = object.program_fd("fw_ingress")?;
        let explainer = Explainer::new(&mut object)?;
        Ok(Self {
            pin_dir: options.pin_dir,
            adopted,
            max_flows,
            object: Mutex::new(object),
            ingress,
            observed: Mutex::new(observed),
            captured: Mutex::new(captured),
            explainer: Mutex::new(explainer),
        })
    }

    /// Bytes that the kernel says the tables of the active policy take; [`fw_policy::Compiled::memory`] says so before they are loaded.
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
