//! The policy tables of one slot, as maps.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fw_common::abi::tables::{TableLine, table};
use fw_common::policy::{self, Lookup, PolicyTables, Walk};

use crate::job::Job;
use crate::maps::TABLES;
use crate::verified_once::verified_once;

/// The tables in one slot.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    /// Position of the slot's first table.
    first: u32,
}

/// Asks the policy about `job.query`; the answer is in `job.decision`.
#[inline(always)]
pub(crate) fn decide(job: &mut Job) {
    find_lists(job);
    search(job);
}

verified_once! {
    /// The first part of [`decide`], of which the answer is in `job.lookup`: the lists for both addresses.
    pub(crate) fn find_lists(job: &mut Job) -> u32 {
        let tables = Tables::of(job);
        policy::find_lists(&tables, &mut job.lookup, &job.query);
        0
    } else 0
}

verified_once! {
    /// The second part of [`decide`]: the rule, from the lists in `job.lookup`.
    pub(crate) fn search(job: &mut Job) -> u32 {
        let tables = Tables::of(job);
        job.decision = policy::search(&tables, &mut job.lookup, &job.query);
        0
    } else 0
}

impl Tables {
    /// Those that judge the packet.
    #[inline(always)]
    const fn of(job: &mut Job) -> Self {
        let first = job.active.slot * table::COUNT;
        job.lookup.tables = first;
        Self { first }
    }

    /// Those of a look-up that has begun.
    #[inline(always)]
    pub(crate) const fn of_lookup(lookup: &Lookup) -> Self {
        Self { first: lookup.tables }
    }
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
    let tables = Tables::of_lookup(lookup);
    i64::from(!W::step(lookup, position, &tables))
}
