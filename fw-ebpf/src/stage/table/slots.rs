//! Slots: a counter of those never used, and after that a queue of those given back.

use fw_common::abi::config::Config;

use super::family::Family;
use crate::atomic;

/// Takes a slot for a new flow, if the table has room: `keep` slots are left for others.
#[inline(always)]
pub(super) fn take<F: Family>(config: &Config, keep: u32) -> Option<u32> {
    let table = F::table()?;
    let capacity = u64::from(config.max_flows);
    // SAFETY: aligned words of a live map value. The counters stop a few steps beyond the capacity at most.
    unsafe {
        if (&raw const (*table).used).read_volatile() + u64::from(keep) >= capacity {
            return None;
        }
        if (&raw const (*table).fresh).read_volatile() < capacity {
            let fresh = atomic::fetch_add(&raw mut (*table).fresh, 1);
            if fresh < capacity {
                atomic::add(&raw mut (*table).used, 1);
                return Some(fresh as u32 + 1);
            }
        }
        let slot = F::pop()?;
        atomic::add(&raw mut (*table).used, 1);
        Some(slot)
    }
}

/// Gives a slot back whose flow nobody can find any more.
#[inline(always)]
pub(super) fn give_back<F: Family>(slot: u32) {
    F::push(slot);
    if let Some(table) = F::table() {
        // SAFETY: an aligned word of a live map value.
        unsafe { atomic::add(&raw mut (*table).used, u64::MAX) };
    }
}
