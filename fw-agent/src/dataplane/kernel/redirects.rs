//! Redirects that fail: two programs on tracepoints of the kernel count them.
//!
//! A raw tracepoint is attached by `bpf(2)`, so that no tracefs need be mounted. The programs end with the agent; what they have counted
//! is pinned.

use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use aya::maps::Map;
use aya::programs::RawTracePoint;
use fw_common::abi::redirect::{RedirectWatch, slot_and_error};

use super::btf::{KERNEL, Types};
use super::object::{Object, chain, map_error};
use crate::dataplane::{DataplaneError, RedirectErrors};

/// Programs, and the tracepoints that they are for.
const PROGRAMS: [(&str, &str); 2] = [("fw_redirect_err", "xdp_redirect_err"), ("fw_devmap_xmit", "xdp_devmap_xmit")];

/// Begins to count. A kernel that does not allow it is no reason not to forward: the error is for the log.
pub(super) fn watch(object: &mut Object) -> Result<(), DataplaneError> {
    let watch = layout(object)?;
    object
        .array_mut::<RedirectWatch>("REDIRECT_WATCH")?
        .set(0, watch, 0)
        .map_err(|error| map_error("REDIRECT_WATCH", &error))?;
    for (name, tracepoint) in PROGRAMS {
        let program: &mut RawTracePoint = object.raw_tracepoint(name)?;
        program
            .load()
            .and_then(|()| program.attach(tracepoint))
            .map_err(|error| DataplaneError::Load(chain(&error)))?;
    }
    Ok(())
}

/// What tells our redirects from others, and where the running kernel keeps it.
fn layout(object: &Object) -> Result<RedirectWatch, DataplaneError> {
    let unknown = |error: &dyn std::error::Error| DataplaneError::Load(format!("{KERNEL}: {error}"));
    let Map::DevMap(map) = object.map("EGRESS")? else {
        return Err(DataplaneError::Map { map: "EGRESS", reason: "is not a devmap".to_owned() });
    };
    let egress_map = map.info().map_err(|error| map_error("EGRESS", &error))?.id();
    let name_space = std::fs::metadata("/proc/thread-self/ns/net").map_err(|error| unknown(&error))?.ino();
    let mut watch =
        RedirectWatch { egress_map, name_space: u32::try_from(name_space).unwrap_or(0), ..RedirectWatch::default() };
    match offsets() {
        Some([ifindex, name_space, number]) => {
            (watch.ifindex_offset, watch.name_space_offset, watch.number_offset) = (ifindex, name_space, number);
        }
        None => tracing::warn!("{KERNEL} is not understood: failed transmissions are not counted"),
    }
    Ok(watch)
}

/// Offsets of a device's index, of its name space, and of a name space's number. Read once: the kernel stays the same.
fn offsets() -> Option<[u32; 3]> {
    static OFFSETS: OnceLock<Option<[u32; 3]>> = OnceLock::new();
    *OFFSETS.get_or_init(|| {
        let bytes = std::fs::read(KERNEL).ok()?;
        let types = Types::read(&bytes)?;
        let of_device = |field| types.offset("net_device", &[field]);
        Some([of_device("ifindex")?, of_device("nd_net")?, types.offset("net", &["ns", "inum"])?])
    })
}

/// What has been counted.
pub(super) fn counted(object: &Object) -> Result<Vec<RedirectErrors>, DataplaneError> {
    let map = object.hash::<u32, u64>("REDIRECT_ERRORS")?;
    let mut counted = Vec::new();
    for entry in map.iter() {
        let (key, packets) = entry.map_err(|error| map_error("REDIRECT_ERRORS", &error))?;
        let (slot, error) = slot_and_error(key);
        counted.push(RedirectErrors { slot, error, packets });
    }
    counted.sort_by_key(|errors| (errors.slot, errors.error));
    Ok(counted)
}
