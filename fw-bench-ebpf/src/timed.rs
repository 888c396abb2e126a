//! The far end of a chain in which packets carry the time at which they were made: how long each was on its way.

use aya_ebpf::bindings::{
    TC_ACT_OK, TC_ACT_SHOT,
    xdp_action::{XDP_DROP, XDP_PASS},
};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_bench_ebpf::{STAMP, bucket_of};

use crate::forward::{ETHERTYPE, IPV4};
use crate::frame::Frame;
use crate::maps::{DELAYS, SUNK};

/// Counts and drops frames, as the program `sink` does.
#[inline(always)]
pub(crate) fn sink_frame(ctx: &XdpContext) -> u32 {
    let frame = Frame::of(ctx);
    match (frame.read(ETHERTYPE), frame.read(STAMP)) {
        (Some(IPV4), Some(stamp)) => {
            arrive(stamp);
            XDP_DROP
        }
        _ => XDP_PASS,
    }
}

/// The same for socket buffers: an XDP program would make the kernel copy each packet that it forwards.
#[inline(always)]
pub(crate) fn sink_buffer(ctx: &TcContext) -> i32 {
    match (ctx.load::<[u8; 2]>(ETHERTYPE), ctx.load::<[u8; 8]>(STAMP)) {
        (Ok(IPV4), Ok(stamp)) => {
            arrive(stamp);
            TC_ACT_SHOT
        }
        _ => TC_ACT_OK,
    }
}

#[inline(always)]
fn arrive(stamp: [u8; 8]) {
    // SAFETY: the helper has no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let delay = now.saturating_sub(u64::from_be_bytes(stamp));
    for counter in [DELAYS.get_ptr_mut(bucket_of(delay)), SUNK.get_ptr_mut(0)].into_iter().flatten() {
        // SAFETY: this processor's own value, and no other program that counts interrupts this one.
        unsafe { *counter += 1 };
    }
}
