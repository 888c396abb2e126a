//! A bare forwarder: the floor that benchmarks compare the firewall with.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::programs::XdpContext;

use crate::maps::{EGRESS, REDIRECT_ONLY};
use crate::packet::Linear;

/// Value of `REDIRECT_ONLY`, keyed by ingress interface index: where to send everything.
#[repr(C)]
pub(crate) struct RedirectOnly {
    /// Kernel index of the egress interface, which must be in `EGRESS`.
    pub ifindex: u32,
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
    /// Source hardware address.
    pub src_mac: [u8; 6],
}

/// Rewrites the hardware addresses and redirects.
#[inline(always)]
pub(crate) fn redirect_only(ctx: &XdpContext) -> u32 {
    let ingress = ctx.ingress_ifindex() as u32;
    // SAFETY: the entry is written before the program is attached and never changed while it runs.
    let Some(target) = (unsafe { REDIRECT_ONLY.get(&ingress) }) else { return XDP_PASS };
    let frame = Linear::of_xdp(ctx);
    if frame.write(0, target.dst_mac).and_then(|()| frame.write(6, target.src_mac)).is_none() {
        return XDP_ABORTED;
    }
    EGRESS.redirect(target.ifindex, 0).unwrap_or(XDP_ABORTED)
}
