//! The ends of the chain that need no plan: the bare forwarder and the sink.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;

use crate::frame::Frame;
use crate::maps::{PORTS, SUNK, TARGETS};

pub(crate) const ETHERTYPE: usize = 12;
pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Of the next header in a frame with IPv6.
const NEXT_HEADER: usize = 20;
const ICMPV6: [u8; 1] = [58];

/// The least that a forwarder can do: rewrites the hardware addresses and redirects.
#[inline(always)]
pub(crate) fn redirect_only(ctx: &XdpContext) -> u32 {
    let ingress = ctx.ingress_ifindex() as u32;
    // SAFETY: the entry is written before the program is attached and never changed while it runs.
    let Some(target) = (unsafe { TARGETS.get(&ingress) }) else { return XDP_PASS };
    let frame = Frame::of(ctx);
    if frame.write(0, target.dst_mac).and_then(|()| frame.write(6, target.src_mac)).is_none() {
        return XDP_ABORTED;
    }
    PORTS.redirect(target.port, 0).unwrap_or(XDP_ABORTED)
}

/// Counts and drops what was generated. Neighbours must stay reachable: what resolves addresses goes to the host.
#[inline(always)]
pub(crate) fn sink(ctx: &XdpContext) -> u32 {
    let frame = Frame::of(ctx);
    match frame.read(ETHERTYPE) {
        Some(IPV4) => {}
        Some(IPV6) if frame.read(NEXT_HEADER) != Some(ICMPV6) => {}
        _ => return XDP_PASS,
    }
    if let Some(sunk) = SUNK.get_ptr_mut(0) {
        // SAFETY: this processor's own value, and no other program interrupts this one.
        unsafe { *sunk += 1 };
    }
    XDP_DROP
}

/// Offset of the IPv4 destination, which for all generated servers is in 10.128.0.0/12.
const DESTINATION: usize = 30;

/// The far end of a flood: counts what goes to generated servers, and lets the rest reach the host.
#[inline(always)]
pub(crate) fn sink_generated(ctx: &XdpContext) -> u32 {
    let Some([first, second]) = Frame::of(ctx).read::<2>(DESTINATION) else { return XDP_PASS };
    if first == 10 && second & 0xf0 == 128 { sink(ctx) } else { XDP_PASS }
}
