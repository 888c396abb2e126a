//! The policy tables of one slot, as maps.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fw_common::abi::tables::{TableLine, table};
use fw_common::policy::{Lookup, PolicyTables, Walk, classify};

use crate::job::Job;
use crate::maps::TABLES;

/// The tables in one slot.
#[derive(Clone, Copy)]
struct Tables {
    /// Position of the slot's first table.
    first: u32,
}

/// Asks the policy about `job.query`; the answer is in `job.decision`.
#[inline(always)]
pub(crate) fn decide(job: &mut Job) {
    policy_decide(job.lend());
}

/// As [`decide`].
///
/// VERIFIER: a global function, which is verified once, and not for each way on which a packet gets here. Test:
/// `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn policy_decide(program: u32) -> u32 {
    // SAFETY: `decide` has lent its job for the call.
    let Some(job) = (unsafe { Job::of(program) }) else { return 0 };
    let tables = Tables { first: job.active.slot * table::COUNT };
    job.lookup.tables = tables.first;
    job.decision = classify(&tables, &mut job.lookup, &job.query);
    0
}

impl PolicyTables for Tables {
    #[inline(always)]
    fn line<L: TableLine>(&self, index: u32) -> Option<&L> {
        let line = TABLES.get_value(self.first + L::TABLE, &index)?;
        // SAFETY: a line is as large as `L` and aligned for it, and any bytes are an `L`, as `TableLine` promises. The
        // tables of a slot are not changed while the slot is active, and not reused before a grace period.
        Some(unsafe { &*core::ptr::from_ref(line).cast::<L>() })
    }

    /// VERIFIER: a plain loop is verified once for each step and path, which exceeds a million instructions for lists of
    /// [`fw_common::abi::tables::MAX_LIST`] entries; the callback of `bpf_loop` is verified once. Test:
    /// `prog_run::policies::long_lists_are_searched_to_their_end`.
    #[inline(always)]
    fn repeat<W: Walk<Self>>(&self, times: u32, lookup: &mut Lookup) {
        // What `bpf_loop` hands on must be on the stack.
        let mut lent = core::ptr::from_mut(lookup);
        // SAFETY: `lookup` outlives the call, and `step` takes it back as what it is.
        unsafe { bpf_loop(times, step::<W> as *mut c_void, (&raw mut lent).cast(), 0) };
    }
}

/// Takes one step; returns 1 to end the walk.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the pointer that `repeat` lends it.
unsafe extern "C" fn step<W: Walk<Tables>>(position: u32, lent: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over what `repeat` gave it.
    let lookup = unsafe { &mut **lent.cast::<*mut Lookup>() };
    let tables = Tables { first: lookup.tables };
    i64::from(!W::step(lookup, position, &tables))
}
