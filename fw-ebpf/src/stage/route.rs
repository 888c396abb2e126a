//! Where a packet leaves: the kernel's routes and neighbours.
//!
//! Drops: no route, unreachable routes, routes to interfaces that are not the firewall's.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_PROHIBIT,
    BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LKUP_RET_UNREACHABLE, bpf_fib_lookup as FibLookup,
};
use aya_ebpf::helpers::bpf_fib_lookup;
use aya_ebpf::programs::XdpContext;
use fw_common::DropReason;
use fw_common::abi::flow::Egress;
use fw_common::abi::interface::interface_flags;
use fw_common::wire::Packet;

use crate::job::Job;
use crate::stage::interface;

/// `AF_INET` and `AF_INET6` of Linux.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Looks the destination of the packet up and fills `job.egress` and `job.unresolved`.
#[inline(never)]
pub(crate) fn resolve(ctx: &XdpContext, job: &mut Job) -> Result<(), DropReason> {
    prepare(&mut job.fib, &job.packet, job.ingress_ifindex, false);
    let unresolved = look_up(ctx, job)?;
    let interface = interface::find(job.fib.ifindex).ok_or(DropReason::EgressNotForwarding)?;
    if interface.flags & interface_flags::MANAGEMENT != 0 {
        return Err(DropReason::ManagementTransit);
    }
    // SAFETY: reading either member of the union is defined; the kernel wrote the MTU over the length on success.
    let mtu = unsafe { job.fib.__bindgen_anon_1.mtu_result };
    job.unresolved = unresolved;
    job.egress = Egress {
        ifindex: job.fib.ifindex,
        mtu: if unresolved { interface.mtu } else { mtu },
        slot: interface.slot as u16,
        dst_mac: job.fib.dmac,
        src_mac: job.fib.smac,
    };
    Ok(())
}

/// Looks up where packets to the *sender* of this one leave that came in by `ingress_ifindex`, and leaves that interface's
/// slot in `job.egress`, of which nothing else is valid then.
#[inline(never)]
pub(crate) fn resolve_original(ctx: &XdpContext, job: &mut Job, ingress_ifindex: u32) -> Result<(), DropReason> {
    prepare(&mut job.fib, &job.packet, ingress_ifindex, true);
    look_up(ctx, job)?;
    let interface = interface::find(job.fib.ifindex).ok_or(DropReason::EgressNotForwarding)?;
    job.egress.slot = interface.slot as u16;
    Ok(())
}

/// Asks the kernel; whether the neighbour is unknown.
#[inline(always)]
fn look_up(ctx: &XdpContext, job: &mut Job) -> Result<bool, DropReason> {
    // SAFETY: the arguments lie in this processor's scratch space, and their size is given.
    let result = unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut job.fib, size_of::<FibLookup>() as i32, 0) };
    match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => Ok(false),
        BPF_FIB_LKUP_RET_NO_NEIGH => Ok(true),
        BPF_FIB_LKUP_RET_BLACKHOLE | BPF_FIB_LKUP_RET_UNREACHABLE | BPF_FIB_LKUP_RET_PROHIBIT => {
            Err(DropReason::UnreachableRoute)
        }
        BPF_FIB_LKUP_RET_NOT_FWDED => Err(DropReason::NoRoute),
        // Forwarding is off, or the route needs an encapsulation: nothing that the sender should give up for.
        _ => Err(DropReason::UnreachableRoute),
    }
}

/// Fills the arguments of the look-up from the packet; `reversed`: for a packet the other way.
#[inline(always)]
fn prepare(fib: &mut FibLookup, packet: &Packet, ifindex: u32, reversed: bool) {
    let (src_addr, dst_addr) =
        if reversed { (&packet.dst_addr, &packet.src_addr) } else { (&packet.src_addr, &packet.dst_addr) };
    fib.l4_protocol = packet.protocol;
    fib.sport = 0;
    fib.dport = 0;
    // Any length that fits every link makes the kernel report the MTU; the comparison is made where the answer is.
    fib.__bindgen_anon_1.tot_len = 1;
    fib.ifindex = ifindex;
    fib.__bindgen_anon_2.rt_metric = 0;
    fib.__bindgen_anon_5.tbid = 0;
    if packet.is_ipv4() {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(src_addr.first4());
        fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(dst_addr.first4());
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = words(src_addr.octets());
        fib.__bindgen_anon_4.ipv6_dst = words(dst_addr.octets());
    }
}

/// An IPv6 address as the four words of the kernel's structure.
#[inline(always)]
const fn words(bytes: [u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}
