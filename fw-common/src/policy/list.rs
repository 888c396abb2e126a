//! Which clause of a list matches first.

use super::{Lookup, PolicyTables, Walk, clause};
use crate::abi::tables::{
    Clause, Entry, EntryLine, LAST_ENTRY, LIST_IS_SPLIT, MAX_SPLIT_LEVELS, OBSERVES, SMALL_SPLIT, SplitLine, dimension,
};

/// A walk through splits to a run of entries, and along it.
pub(super) struct Search;

/// The service of a query, as entries have it.
#[inline(always)]
#[must_use]
pub const fn service(protocol: u8, dst_port: u16) -> u32 {
    (protocol as u32) << 16 | dst_port as u32
}

impl Lookup {
    /// Takes the way that a split shows; whether there is one.
    #[inline(always)]
    pub(super) fn descend(&mut self, tables: &impl PolicyTables) -> bool {
        let head_at = self.list & !LIST_IS_SPLIT;
        let Some(head) = tables.line::<SplitLine>(head_at) else { return false };
        let value = match head.words[0] & 0xff {
            dimension::SERVICE => self.values[dimension::SERVICE as usize],
            dimension::SOURCE_PORT => self.values[dimension::SOURCE_PORT as usize],
            _ => self.values[dimension::ZONES as usize],
        };
        let levels = head.words[0] >> 8;
        if levels == 0 {
            let interval = keys_up_to(&head.words, value) & 7;
            self.list = head.words[SMALL_SPLIT + interval as usize];
            return true;
        }
        let mut at = 0;
        for level in 0..MAX_SPLIT_LEVELS {
            if level == levels {
                break;
            }
            let Some(keys) = tables.line::<SplitLine>(head.words[2 + level as usize] + at) else { return false };
            // The first key of the line is not above the value: that is why the walk is here.
            at = at * 16 + (last_key_up_to(&keys.words, value) & 15);
        }
        let Some(lists) = tables.line::<SplitLine>(head.words[1] + (at >> 4)) else { return false };
        self.list = lists.words[(at & 15) as usize];
        true
    }

    /// Looks at an entry; whether to go on to the next.
    #[inline(always)]
    fn try_entry(&mut self, tables: &impl PolicyTables) -> bool {
        let Some(line) = tables.line::<EntryLine>(self.list >> 2) else { return false };
        let entry = &line.entries[(self.list & 3) as usize];
        // Lists ascend by clause: nothing behind can win any more.
        if entry.clause >= self.best {
            return false;
        }
        if let Some(clause) = self.match_of(tables, entry) {
            if clause.flags & OBSERVES == 0 {
                self.best = entry.clause;
                return false;
            }
            self.observed = true;
        }
        self.list += 1;
        entry.services[1] & LAST_ENTRY == 0
    }

    /// The clause of an entry, if the query matches both.
    #[inline(always)]
    pub(super) fn match_of<'t>(&self, tables: &'t impl PolicyTables, entry: &Entry) -> Option<&'t Clause> {
        let service = self.values[dimension::SERVICE as usize];
        let src_port = self.values[dimension::SOURCE_PORT as usize];
        let [first, last] = entry.services;
        let [first_port, last_port] = entry.src_port;
        let matches = first <= service
            && service <= last & !LAST_ENTRY
            && u32::from(first_port) <= src_port
            && src_port <= u32::from(last_port);
        if !matches {
            return None;
        }
        let clause = clause(tables, entry.clause)?;
        (clause.from_zones & self.from_zone != 0 && clause.to_zones & self.to_zone != 0).then_some(clause)
    }
}

/// The zones of a query, as splits have them.
#[inline(always)]
#[must_use]
pub const fn zones(from_zone: u8, to_zone: u8) -> u32 {
    (from_zone as u32) << 6 | to_zone as u32
}

/// How many of the keys of a small split are not above a value.
#[inline(always)]
fn keys_up_to(words: &[u32; 16], value: u32) -> u32 {
    let mut keys = 0;
    for key in &words[1..SMALL_SPLIT] {
        keys += not_above(*key, value);
    }
    keys
}

/// The position of the last key of a line that is not above a value.
#[inline(always)]
fn last_key_up_to(words: &[u32; 16], value: u32) -> u32 {
    let mut keys = 0;
    for key in words {
        keys += not_above(*key, value);
    }
    keys - 1
}

/// 1 if `key <= value`, else 0.
///
/// VERIFIER: computed, not compared: each comparison would be a branch, and sixteen of them more paths than the verifier
/// follows. Test: `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
#[inline(always)]
const fn not_above(key: u32, value: u32) -> u32 {
    (((key as u64).wrapping_sub(value as u64 + 1)) >> 63) as u32
}

impl<T: PolicyTables> Walk<T> for Search {
    #[inline(always)]
    fn step(lookup: &mut Lookup, _position: u32, tables: &T) -> bool {
        if lookup.list & LIST_IS_SPLIT != 0 { lookup.descend(tables) } else { lookup.try_entry(tables) }
    }
}
