//! Does the packet belong to a flow, and if not, may it open one?
//!
//! Drops: everything of the flow table, the zones, the route and the policy.

mod established;
mod foresee;
mod open;
mod rejudge;
mod said;
mod sctp;
mod side;
mod tcp;

use aya_ebpf::programs::XdpContext;
use fw_common::{DropReason, Verdict};

use self::established::{continue_from_host, continue_from_wire};
pub(crate) use self::foresee::foresee_from_wire;
use self::open::{open_from_host, open_from_wire};
pub(crate) use self::sctp::read as read_sctp;
pub(crate) use self::side::index_of;
pub(crate) use self::tcp::read as read_tcp;
use crate::job::Job;
use crate::stage::table;

/// What a packet does to the flow that it was found to belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It goes on.
    Continues,
    /// It was over, and the packet opens it anew.
    Reopens,
    /// The packet does not pass.
    Drop(DropReason),
}

/// Judges a packet from the wire.
#[inline(never)]
pub(crate) fn judge_from_wire(ctx: &XdpContext, job: &mut Job) -> Verdict {
    let found = table::find(job);
    if let Some(flow) = found
        && table::is_alive(job, flow)
    {
        match continue_from_wire(ctx, job, flow) {
            Progress::Continues => return conclude(job),
            Progress::Reopens => job.leave_flow(),
            Progress::Drop(reason) => return Verdict::Drop(reason),
        }
    }
    match open_from_wire(ctx, job, found) {
        Ok(()) => conclude(job),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Judges a packet that the host sends.
#[inline(never)]
pub(crate) fn judge_from_host(job: &mut Job) -> Verdict {
    let found = table::find(job);
    if let Some(flow) = found
        && table::is_alive(job, flow)
    {
        match continue_from_host(job, flow) {
            Ok(Progress::Continues) => return Verdict::Pass,
            Ok(Progress::Reopens) => {}
            Ok(Progress::Drop(reason)) | Err(reason) => return Verdict::Drop(reason),
        }
    }
    match open_from_host(job, found) {
        Ok(()) => Verdict::Pass,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Where an accepted packet goes.
#[inline(always)]
fn conclude(job: &Job) -> Verdict {
    if job.for_host {
        Verdict::Pass
    } else if job.unresolved {
        Verdict::HandOver
    } else {
        Verdict::Forward
    }
}
