//! The order of the stages, and the one place where a verdict becomes an action of the kernel.
//!
//! parse → addresses → related ICMP error? → flow → (new or stale: zones → route → policy) → TTL, MTU → rewrite → redirect

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::wire::parse::{Frame as _, Kind, Part};
use fw_common::{DropReason, Verdict};

use crate::job::{Job, Program};
use crate::maps::CONFIG;
use crate::packet::Linear;
use crate::stage::receive::Received;
use crate::stage::{answer, capture, count, explain, flow, forward, fragment, receive, related};

/// A frame from the wire.
#[inline(always)]
pub(crate) fn ingress(ctx: &XdpContext) -> u32 {
    let Some(job) = Job::begin(Program::Ingress) else { return xdp_action::XDP_ABORTED };
    let verdict = match receive::from_wire(ctx, job) {
        Received::Judge => judge(ctx, job),
        Received::Host => Verdict::Pass,
        Received::Drop(reason) => {
            if reason == DropReason::Fragment {
                fragment::follow(ctx);
            }
            Verdict::Drop(reason)
        }
    };
    let verdict = job.forget(verdict);
    if capture::is_wanted(job) { finish_captured(ctx, job) } else { finish(ctx, job, verdict) }
}

/// Carries out what was decided, and leaves in `job.verdict` what has come of it.
#[inline(always)]
fn finish(ctx: &XdpContext, job: &mut Job, verdict: Verdict) -> u32 {
    let verdict = forward::rewrite(ctx, job, verdict);
    let mut verdict = job.forget(verdict);
    if job.packet.part == Part::First {
        verdict = fragment::conclude(job, verdict);
        verdict = job.forget(verdict);
    }
    count::received(ctx, job, verdict);
    match job.forget(verdict) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Forward | Verdict::HandOver => xdp_action::XDP_REDIRECT,
        Verdict::Drop(reason) => answer::answer(ctx, job, reason),
    }
}

/// The same of a frame that a capture may want.
#[inline(never)]
fn finish_captured(ctx: &XdpContext, job: &mut Job) -> u32 {
    capture::keep_incoming(ctx, job);
    let verdict = job.forget(job.verdict);
    let action = finish(ctx, job, verdict);
    capture::submit_incoming(job, action);
    if action == xdp_action::XDP_REDIRECT {
        capture::outgoing(ctx, job, action);
    }
    action
}

/// Decides about a packet from the wire that has been parsed.
#[inline(always)]
fn judge(ctx: &XdpContext, job: &mut Job) -> Verdict {
    if job.packet.kind == Kind::IcmpError { related::judge(ctx, job) } else { flow::judge_from_wire(ctx, job) }
}

/// A frame that the host's own stack sends.
#[inline(always)]
pub(crate) fn egress(ctx: &TcContext) -> i32 {
    // A packet that the kernel forwards has an ingress interface, and the forward chain let only those through that
    // `ingress` has judged and handed over.
    if receive::was_forwarded(ctx) {
        capture::forwarded_by_kernel(ctx);
        return TC_ACT_OK;
    }
    let Some(job) = Job::begin(Program::Egress) else { return TC_ACT_SHOT };
    let verdict = match receive::from_host(ctx, job) {
        Received::Judge if job.packet.kind == Kind::IcmpError => related::judge_from_host(ctx, job),
        Received::Judge => flow::judge_from_host(job),
        Received::Host => Verdict::Pass,
        Received::Drop(reason) => {
            if reason == DropReason::Fragment {
                fragment::follow_from_host(ctx);
            }
            Verdict::Drop(reason)
        }
    };
    let mut verdict = job.forget(verdict);
    if job.packet.part == Part::First {
        verdict = fragment::conclude(job, verdict);
    }
    let action = match job.forget(verdict) {
        Verdict::Pass | Verdict::Forward => {
            count::passed_from_host(job);
            TC_ACT_OK
        }
        Verdict::HandOver => TC_ACT_SHOT,
        Verdict::Drop(reason) => {
            count::dropped_from_host(job, reason);
            TC_ACT_SHOT
        }
    };
    if capture::is_wanted(job) {
        capture::from_host(ctx, job, action);
    }
    action
}

/// Says what would become of a frame from the wire: the stages up to the decision, and none that stores.
#[inline(always)]
pub(crate) fn explain(ctx: &XdpContext) -> u32 {
    let Some(job) = Job::begin(Program::Explain) else { return xdp_action::XDP_ABORTED };
    explain::begin(job);
    let verdict = match receive::from_wire(ctx, job) {
        Received::Judge if job.packet.kind == Kind::IcmpError => related::judge(ctx, job),
        Received::Judge => flow::foresee_from_wire(ctx, job),
        Received::Host => Verdict::Pass,
        Received::Drop(reason) => Verdict::Drop(reason),
    };
    let verdict = job.forget(verdict);
    let verdict = forward::foresee(job, verdict);
    explain::write(job, verdict);
    xdp_action::XDP_PASS
}

/// Switches to the policy named by the first eight bytes of the packet.
#[inline(always)]
pub(crate) fn activate(ctx: &XdpContext) -> u32 {
    let Some(word) = Linear::of_xdp(ctx).bytes::<8>(0) else { return xdp_action::XDP_ABORTED };
    let Some(config) = CONFIG.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: an aligned word of a map value; packets read it whole.
    unsafe { (&raw mut (*config).active).write_volatile(u64::from_ne_bytes(word)) };
    xdp_action::XDP_PASS
}
