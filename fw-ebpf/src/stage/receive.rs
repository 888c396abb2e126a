//! What was received, and is it for the pipeline at all?
//!
//! In: the frame. Out: the parsed packet in the job, or that the frame belongs to the host's link layer (ARP, neighbour
//! discovery). Drops: everything of the link layer, the headers and the addresses.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::abi::config::{Active, Config, config_flags};
use fw_common::abi::interface::{Interface, local_kind};
use fw_common::anomaly::{self, Cast};
use fw_common::wire::parse::{self, Extent, Kind};
use fw_common::wire::{ETHERTYPE_ARP, Packet, protocol};
use fw_common::{DropReason, generation};

use crate::job::Job;
use crate::maps::CONFIG;
use crate::packet::Linear;
use crate::stage::zone::local_kind_of;
use crate::stage::{capture, checksum, fragment, interface, sctp_chunks};

/// Where the frame goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// On through the pipeline.
    Judge,
    /// To the host's stack, or out of it.
    Host,
    /// Nowhere.
    Drop(DropReason),
}

impl From<Result<Self, DropReason>> for Received {
    #[inline(always)]
    fn from(result: Result<Self, DropReason>) -> Self {
        match result {
            Ok(received) => received,
            Err(reason) => Self::Drop(reason),
        }
    }
}

/// The hop limit of neighbour discovery: a router would have lowered it (RFC 4861, section 3.1).
const UNROUTED_HOP_LIMIT: u8 = 255;
/// ICMPv6 redirect, which a firewall must not follow.
const ICMPV6_REDIRECT: u8 = 137;
/// Bytes of headers that the egress program wants in the linear part: Ethernet, two tags, IPv6, and the largest
/// extension chain that is worth waiting for.
const HEADERS_LEN: u32 = 256;

/// Whether the kernel forwards this packet (rather than sending it for a local socket).
#[inline(always)]
pub(crate) fn was_forwarded(ctx: &TcContext) -> bool {
    // SAFETY: the kernel's own context.
    unsafe { (*ctx.skb.skb).ingress_ifindex != 0 }
}

/// Reads a frame of an XDP program.
#[inline(never)]
pub(crate) fn from_wire(ctx: &XdpContext, job: &mut Job) -> Received {
    read_from_wire(ctx, job).into()
}

#[inline(always)]
fn read_from_wire(ctx: &XdpContext, job: &mut Job) -> Result<Received, DropReason> {
    job.ingress_ifindex = ctx.ingress_ifindex() as u32;
    let config = start(job, job.ingress_ifindex)?;
    let frame = Linear::of_xdp(ctx);
    let link = parse::link(&frame)?;
    let to_group = link.dst_mac[0] & 1 != 0;
    if !to_group && link.dst_mac != job.interface.mac {
        return Err(DropReason::NotOurMac);
    }
    if link.ethertype == ETHERTYPE_ARP {
        return Ok(Received::Host);
    }
    parse::network(&frame, link.ethertype, link.l3_offset, Extent::Whole, &mut job.packet)?;
    job.parsed = true;
    sctp_chunks::read_from_wire(ctx, job)?;
    match job.packet.kind {
        Kind::NeighbourDiscovery => {
            // The kernel would forward it to any other address: link-layer control stays on its link.
            let to_us =
                job.packet.dst_addr.octets()[0] == 0xff || local_kind_of(&job.packet.dst_addr) == local_kind::OWN;
            return if to_us { neighbour_discovery(&job.packet) } else { Err(DropReason::LinkLocal) };
        }
        Kind::MulticastListener => return Err(DropReason::Multicast),
        Kind::Fragment => fragment::complete(job),
        Kind::Tcp | Kind::Udp | Kind::Sctp | Kind::IcmpQuery | Kind::IcmpReply | Kind::IcmpError | Kind::Other => {}
    }
    match anomaly::check_addresses(&job.packet)? {
        // RFC 1122, section 3.3.6: a unicast packet does not come in a broadcast frame.
        Cast::Unicast if to_group => return Err(DropReason::UnicastInGroupFrame),
        Cast::Unicast => {}
        Cast::LimitedBroadcast if job.packet.protocol == protocol::UDP => job.for_host = true,
        Cast::LimitedBroadcast => return Err(DropReason::Broadcast),
        Cast::Multicast => return Err(DropReason::Multicast),
    }
    if config.flags & config_flags::VERIFY_CHECKSUMS != 0 && !checksum::is_right(ctx, job) {
        return Err(DropReason::TransportChecksum);
    }
    judged_by(job, config)
}

/// Reads a frame that the host sends.
#[inline(never)]
pub(crate) fn from_host(ctx: &TcContext, job: &mut Job) -> Received {
    read_from_host(ctx, job).into()
}

#[inline(always)]
fn read_from_host(ctx: &TcContext, job: &mut Job) -> Result<Received, DropReason> {
    job.ingress_ifindex = 0;
    // SAFETY: the kernel's own context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let config = start(job, ifindex)?;
    job.egress.ifindex = ifindex;
    job.egress.slot = job.interface.slot as u16;
    // The headers of a locally made packet are linear in general; a failure only means that less than this is there.
    let _ = ctx.pull_data(if ctx.len() < HEADERS_LEN { ctx.len() } else { HEADERS_LEN });
    let frame = Linear::of_tc(ctx);
    let link = parse::link(&frame)?;
    if link.ethertype == ETHERTYPE_ARP {
        return Ok(Received::Host);
    }
    parse::network(&frame, link.ethertype, link.l3_offset, Extent::Headers, &mut job.packet)?;
    job.parsed = true;
    sctp_chunks::read_from_host(ctx, job)?;
    match job.packet.kind {
        Kind::NeighbourDiscovery => neighbour_discovery(&job.packet),
        // The host's own memberships; what answers them is not let in.
        Kind::MulticastListener => Ok(Received::Host),
        Kind::Tcp
        | Kind::Udp
        | Kind::Sctp
        | Kind::IcmpQuery
        | Kind::IcmpReply
        | Kind::IcmpError
        | Kind::Fragment
        | Kind::Other => {
            if job.packet.kind == Kind::Fragment {
                fragment::complete(job);
            }
            judged_by(job, config)
        }
    }
}

/// Notes the time and the interface.
#[inline(always)]
fn start(job: &mut Job, ifindex: u32) -> Result<&'static Config, DropReason> {
    // The coarse clock goes by ticks of the timer, whose count the kernel puts into the program as a plain load, while asking
    // for the time takes three calls.
    // SAFETY: the helpers have no arguments.
    let tick = unsafe { bpf_jiffies64() };
    if tick != job.tick {
        job.tick = tick;
        // SAFETY: as above.
        job.now_ns = unsafe { bpf_ktime_get_coarse_ns() };
        job.now = (job.now_ns / 1_000_000_000) as u32;
    }
    let Some(interface) = interface::find(ifindex) else {
        job.interface.flags = capture::flags_of_a_stranger(job.now);
        return Err(DropReason::UnknownInterface);
    };
    copy(interface, &mut job.interface);
    CONFIG.get(0).ok_or(DropReason::NoPolicy)
}

/// Copies an interface word by word: volatile, so that the compiler makes no byte-wise `memmove` of it.
#[inline(always)]
fn copy(from: *const Interface, to: &mut Interface) {
    const _: () = assert!(size_of::<Interface>().is_multiple_of(4));
    let to: *mut Interface = to;
    for word in 0..size_of::<Interface>() / 4 {
        // SAFETY: a live map value, which the agent replaces whole, and this processor's scratch space.
        unsafe { to.cast::<u32>().add(word).write_volatile(from.cast::<u32>().add(word).read_volatile()) };
    }
}

/// Reads, once per packet, which policy judges it.
#[inline(always)]
fn judged_by(job: &mut Job, config: &Config) -> Result<Received, DropReason> {
    // SAFETY: a field of a live reference; volatile, so that it is read once however often it is used.
    let word = unsafe { core::ptr::read_volatile(&raw const config.active) };
    job.active = Active::from_word(word).ok_or(DropReason::NoPolicy)?;
    job.fib_generation = generation::at(config.fib_generation, config.routes_followed_until, job.now);
    Ok(Received::Judge)
}

/// Neighbour discovery stays on its link, and redirects are not followed.
#[inline(always)]
fn neighbour_discovery(packet: &Packet) -> Result<Received, DropReason> {
    if packet.ttl != UNROUTED_HOP_LIMIT {
        return Err(DropReason::NeighbourDiscoveryRouted);
    }
    if packet.icmp_type == ICMPV6_REDIRECT {
        return Err(DropReason::IcmpForbidden);
    }
    Ok(Received::Host)
}
