//! Which rules observe the packet that the policy has just been asked about? [`fw_common::policy::observing`] finds them; they are
//! counted, and what they would have done is noted. Nothing of it changes what is decided.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fw_common::abi::explained::OBSERVING_SHOWN;
use fw_common::abi::tables::Clause;
use fw_common::policy::observing::{self, MAX_STEPS, Step};

use crate::job::Job;
use crate::stage::classify::Tables;
use crate::stage::{count, denied, explain};
use crate::verified_once::verified_once;

/// Counts and notes each rule that observes the packet. The query and the look-up are those of the decision.
#[inline(always)]
pub(crate) fn note(job: &mut Job) {
    if job.lookup.is_observed() {
        note_observing(job);
    }
}

verified_once! {
    fn note_observing(job: &mut Job) -> u32 {
        walk::<Noting>(job);
        0
    } else 0
}

/// Names the rules that would observe the packet, for who asks; nothing is counted.
#[inline(always)]
pub(crate) fn foresee(job: &mut Job) {
    explain::note(|explained| explained.observing = 0);
    if job.lookup.is_observed() {
        foresee_observing(job);
    }
}

verified_once! {
    fn foresee_observing(job: &mut Job) -> u32 {
        walk::<Naming>(job);
        0
    } else 0
}

/// What is done with a clause that observes the packet.
trait Visit {
    fn visit(job: &mut Job, clause: &Clause);
}

/// It is counted, and noted for the flow log and for observers.
struct Noting;

impl Visit for Noting {
    #[inline(always)]
    fn visit(job: &mut Job, clause: &Clause) {
        count::observed(job, clause.rule);
        denied::note_observed(job, clause);
    }
}

/// It is named.
struct Naming;

impl Visit for Naming {
    #[inline(always)]
    fn visit(_job: &mut Job, clause: &Clause) {
        explain::note(|explained| {
            if let Some(named) = explained.observed_by.get_mut(explained.observing as usize % OBSERVING_SHOWN)
                && explained.observing < OBSERVING_SHOWN as u32
            {
                *named = clause.rule;
            }
            explained.observing += 1;
        });
    }
}

/// Visits each clause that observes the packet.
///
/// VERIFIER: the callback of `bpf_loop` is verified once, a plain loop once for each step. Test:
/// `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
#[inline(always)]
fn walk<V: Visit>(job: &mut Job) {
    observing::begin(&mut job.lookup);
    // What `bpf_loop` hands on must be on the stack.
    let mut lent = core::ptr::from_mut(job);
    // SAFETY: the job outlives the call, and `step` takes it back as what it is.
    unsafe { bpf_loop(MAX_STEPS, step::<V> as *mut c_void, (&raw mut lent).cast(), 0) };
}

/// Takes one step; returns 1 to end the walk.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the pointer that `walk` lends it.
unsafe extern "C" fn step<V: Visit>(_position: u32, lent: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over what `walk` gave it.
    let job = unsafe { &mut **lent.cast::<*mut Job>() };
    let tables = Tables::of_lookup(&job.lookup);
    match observing::step(&mut job.lookup, &tables) {
        Step::GoesOn => 0,
        Step::Over => 1,
        Step::Found(clause) => {
            V::visit(job, clause);
            0
        }
    }
}
