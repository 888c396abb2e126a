//! The eBPF programs: entry points only. What they do, in order, is in [`pipeline`].
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    internal_features,
    reason = "atomic read-modify-write operations: the BPF targets have no `core::sync::atomic` ones"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values are lent to the helpers: moving them would copy them to the stack, which has 512 bytes"
)]

mod atomic;
mod job;
mod maps;
mod packet;
mod pipeline;
mod stage;
mod verified_once;

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{classifier, raw_tracepoint, xdp};
use aya_ebpf::programs::{RawTracePointContext, TcContext, XdpContext};

/// Every frame that arrives on an interface of the firewall.
#[xdp(frags)]
fn fw_ingress(ctx: XdpContext) -> u32 {
    pipeline::ingress(&ctx)
}

/// Every frame that the host's own stack sends on such an interface.
#[classifier]
fn fw_egress(ctx: TcContext) -> i32 {
    pipeline::egress(&ctx)
}

/// Frames on their way to the host's own stack, while the mode of `fw_ingress` on their interface is changed: a device has one
/// program or the other, and none for a moment.
#[classifier]
fn fw_closed(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT
}

/// A redirect has failed after `fw_ingress` had asked for it.
#[raw_tracepoint(tracepoint = "xdp_redirect_err")]
fn fw_redirect_err(ctx: RawTracePointContext) -> i32 {
    stage::redirect::enqueueing_failed(&ctx);
    0
}

/// Redirected packets have been given to a device.
#[raw_tracepoint(tracepoint = "xdp_devmap_xmit")]
fn fw_devmap_xmit(ctx: RawTracePointContext) -> i32 {
    stage::redirect::transmitted(&ctx);
    0
}

/// Never attached: `fw_ingress` leaves fragments to it.
#[xdp(frags)]
fn fw_fragments(ctx: XdpContext) -> u32 {
    stage::fragment::from_wire(&ctx)
}

/// Never attached: `fw_egress` leaves fragments to it.
#[classifier]
fn fw_egress_fragments(ctx: TcContext) -> i32 {
    stage::fragment::from_host(&ctx)
}

/// Never attached: the agent runs it to remove flows that are over, so that no other code than the programs' removes any.
#[xdp]
fn fw_sweep(_ctx: XdpContext) -> u32 {
    stage::sweep::sweep_batch();
    XDP_PASS
}

/// Never attached: the agent runs it on a packet that holds a [`fw_common::abi::event::EndOrder`]. A program is run to its end, so
/// that no flow stays claimed if the agent is killed meanwhile.
#[xdp]
fn fw_end_flow(ctx: XdpContext) -> u32 {
    if stage::end_flow::end(&ctx) { XDP_PASS } else { XDP_DROP }
}

/// Never attached: the agent runs it on a packet to learn what would become of it. It sends, counts, opens and logs nothing.
#[xdp]
fn fw_explain(ctx: XdpContext) -> u32 {
    pipeline::explain(&ctx)
}

/// Never attached: the agent runs it on a packet that holds the word for [`fw_common::abi::config::Config::active`]. A store
/// of the whole word switches policies; the kernel's update of a map entry promises no such thing.
#[xdp]
fn fw_activate(ctx: XdpContext) -> u32 {
    pipeline::activate(&ctx)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No panic survives in the object: the verifier would reject this loop.
    loop {}
}

/// The kernel lets only programs under a GPL-compatible licence call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
