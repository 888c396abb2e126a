//! Counts redirects that failed after the program had returned, which it cannot see itself: the kernel's tracepoints can.
//!
//! Only those of this firewall: a failed enqueueing names the map that the packet was redirected by, a failed transmission its
//! device, whose name space is compared because kernel indexes repeat in each.

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_DEVMAP;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::programs::RawTracePointContext;
use fw_common::abi::interface::HANDOVER_SLOT;
use fw_common::abi::redirect::{MAX_ERROR, RedirectWatch, key};

use crate::atomic;
use crate::maps::{CONFIG, REDIRECT_ERRORS, REDIRECT_WATCH};
use crate::stage::interface;

/// `xdp:xdp_redirect_err` (include/trace/events/xdp.h): a packet could not be enqueued for its device.
#[inline(always)]
pub(crate) fn enqueueing_failed(ctx: &RawTracePointContext) -> Option<()> {
    let watch = REDIRECT_WATCH.get(0)?;
    let (error, map_type, map_id, index): (i32, u32, u32, u32) = (ctx.arg(3), ctx.arg(4), ctx.arg(5), ctx.arg(6));
    if map_type != BPF_MAP_TYPE_DEVMAP || map_id != watch.egress_map {
        return None;
    }
    count(index, error, 1)
}

/// `xdp:xdp_devmap_xmit`: packets have been given to a device, which took some or none.
#[inline(always)]
pub(crate) fn transmitted(ctx: &RawTracePointContext) -> Option<()> {
    let drops: i32 = ctx.arg(3);
    if drops <= 0 {
        return None;
    }
    let watch = REDIRECT_WATCH.get(0)?;
    if watch.ifindex_offset == 0 || name_space_of(ctx.arg(1), watch)? != watch.name_space {
        return None;
    }
    let device: usize = ctx.arg(1);
    let ifindex: u32 = read(device + watch.ifindex_offset as usize)?;
    let slot = match interface::find(ifindex) {
        Some(interface) => interface.slot,
        None if CONFIG.get(0)?.handover_ifindex == ifindex => HANDOVER_SLOT,
        None => return None,
    };
    count(slot, ctx.arg(4), drops as u64)
}

/// The number of the network name space that a device is in.
#[inline(always)]
fn name_space_of(device: usize, watch: &RedirectWatch) -> Option<u32> {
    let name_space: usize = read(device + watch.name_space_offset as usize)?;
    read(name_space + watch.number_offset as usize)
}

/// Reads a field of a structure of the kernel.
#[inline(always)]
fn read<T>(address: usize) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

#[inline(always)]
fn count(slot: u32, error: i32, packets: u64) -> Option<()> {
    let error = error.unsigned_abs();
    let key = key(slot, if error <= MAX_ERROR { error } else { 0 });
    if let Some(counter) = REDIRECT_ERRORS.get_ptr_mut(&key) {
        // SAFETY: an aligned word of a live map value; no entry is ever removed.
        unsafe { atomic::add(counter, packets) };
        return Some(());
    }
    // Another processor may be first; then its count is kept, and these packets are added to it.
    if REDIRECT_ERRORS.insert(&key, &packets, BPF_NOEXIST).is_err() {
        let counter = REDIRECT_ERRORS.get_ptr_mut(&key)?;
        // SAFETY: as above.
        unsafe { atomic::add(counter, packets) };
    }
    Some(())
}

/// Flag of `include/uapi/linux/bpf.h`: fail if there is such an element.
const BPF_NOEXIST: u64 = 1;
