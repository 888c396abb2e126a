//! The policy tables of one slot, as maps.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use fw_common::abi::policy::{AddressClass, Entry, EntryList, MAX_LIST, PairKey, ZoneDefault, zone};
use fw_common::policy::{PolicyTables, Query, classify, matches};
use fw_common::wire::Address;

use crate::job::Job;
use crate::maps::{DESTINATIONS4, DESTINATIONS6, ENTRIES, PAIRS, SOURCES4, SOURCES6, ZONE_DEFAULTS, exact};

/// The tables in one slot of the maps of maps.
struct Tables {
    slot: u32,
}

/// Asks the policy about `job.query`; the answer is in `job.decision`.
#[inline(never)]
pub(crate) fn decide(job: &mut Job) {
    job.decision = classify(&Tables { slot: job.active.slot }, &job.query);
}

impl PolicyTables for Tables {
    #[inline(always)]
    fn source_class(&self, addr: &Address) -> AddressClass {
        let class = if addr.is_ipv4() {
            SOURCES4.get(self.slot).and_then(|trie| trie.get(&exact(addr.first4())))
        } else {
            SOURCES6.get(self.slot).and_then(|trie| trie.get(&exact(addr.octets())))
        };
        class.copied().unwrap_or_default()
    }

    #[inline(always)]
    fn destination_class(&self, addr: &Address) -> AddressClass {
        let class = if addr.is_ipv4() {
            DESTINATIONS4.get(self.slot).and_then(|trie| trie.get(&exact(addr.first4())))
        } else {
            DESTINATIONS6.get(self.slot).and_then(|trie| trie.get(&exact(addr.octets())))
        };
        class.copied().unwrap_or_default()
    }

    #[inline(always)]
    fn pair(&self, key: PairKey) -> Option<EntryList> {
        // SAFETY: the tables of a slot are not changed while the slot is active, and not reused before a grace period.
        PAIRS.get(self.slot).and_then(|pairs| unsafe { pairs.get(&key) }).copied()
    }

    #[inline(always)]
    fn improve(&self, list: EntryList, query: &Query, best: &mut Entry) {
        let mut walk = Walk { slot: self.slot, start: list.start, query, best };
        let len = if list.len < MAX_LIST { list.len } else { MAX_LIST };
        // VERIFIER: a plain loop over the list is verified once per iteration and path, which exceeds a million
        // instructions for lists of this length; the callback of `bpf_loop` is verified once. Test:
        // `prog_run::long_lists_are_searched_to_their_end`.
        // SAFETY: `walk` outlives the call, and `step` takes it back as what it is.
        unsafe { bpf_loop(len, step as *mut c_void, (&raw mut walk).cast(), 0) };
    }

    #[inline(always)]
    fn zone_default(&self, from_zone: u8, to_zone: u8) -> Option<ZoneDefault> {
        let index = u32::from(from_zone) * zone::COUNT as u32 + u32::from(to_zone);
        ZONE_DEFAULTS.get(self.slot).and_then(|defaults| defaults.get(index)).copied()
    }
}

/// A walk over one list of entries.
struct Walk<'a> {
    slot: u32,
    start: u32,
    query: &'a Query,
    best: &'a mut Entry,
}

/// Looks at one entry; returns 1 to end the walk.
///
/// # Safety
/// Called by `bpf_loop` alone, with the pointer to the [`Walk`] that `improve` lends it.
unsafe extern "C" fn step(position: u32, walk: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` hands over the pointer that `improve` gave it.
    let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
    let Some(entry) = ENTRIES.get_value(walk.slot, &(walk.start + position)) else { return 1 };
    // Lists ascend by order: nothing behind can win any more.
    if entry.order >= walk.best.order {
        return 1;
    }
    if matches(entry, walk.query) {
        *walk.best = *entry;
        return 1;
    }
    0
}
