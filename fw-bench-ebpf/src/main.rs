//! The benchmark's eBPF programs: entry points only.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys are lent to the helpers: moving them would copy them to the stack"
)]

mod forward;
mod frame;
mod generate;
mod maps;
mod timed;

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Never attached: test runs with live frames make it send.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    generate::generate(&ctx)
}

/// The floor that forwarders are compared with.
#[xdp]
fn redirect_only(ctx: XdpContext) -> u32 {
    forward::redirect_only(&ctx)
}

/// The far end of the chain, or, on the forwarder's ingress interface, the chain without a forwarder.
#[xdp]
fn sink(ctx: XdpContext) -> u32 {
    forward::sink(&ctx)
}

/// The far end of a flood, at a host that has other guests as well.
#[xdp]
fn sink_generated(ctx: XdpContext) -> u32 {
    forward::sink_generated(&ctx)
}

/// The far end of a chain whose delays are measured.
#[xdp]
fn sink_frame(ctx: XdpContext) -> u32 {
    timed::sink_frame(&ctx)
}

/// The same behind the kernel's own forwarding.
#[classifier]
fn sink_buffer(ctx: TcContext) -> i32 {
    timed::sink_buffer(&ctx)
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
