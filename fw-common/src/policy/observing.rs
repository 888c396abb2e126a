//! Which rules observe a packet: those that match it, would decide it if they were enforced and nothing else was, and only observe.
//!
//! In: a [`Lookup`] whose [`search`](super::search) is over, and in which it has seen such rules ([`Lookup::is_observed`]). Out: one
//! clause after the other. The lists are walked once more, because a list may hold observing clauses that are behind the clause that
//! another list turned out to hold; so whoever has no such rules pays for one bit.

use super::{Lookup, NO_LIST, PolicyTables};
use crate::abi::tables::{Clause, EntryLine, LAST_ENTRY, LIST_IS_SPLIT, MAX_LIST, MAX_SPLITS};

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'t> {
    /// There may be more.
    GoesOn,
    /// This clause observes the packet. There may be more.
    Found(&'t Clause),
    /// There are no more.
    Over,
}

/// Steps after which it is over: those into a list and along it, and one to leave it.
pub const MAX_STEPS: u32 = 4 * (MAX_SPLITS + MAX_LIST + 1);

impl Lookup {
    /// Whether the search has met clauses that observe the packet, perhaps behind the one that decides.
    #[inline(always)]
    #[must_use]
    pub const fn is_observed(&self) -> bool {
        self.observed
    }
}

/// Begins with the first list.
#[inline(always)]
pub const fn begin(lookup: &mut Lookup) {
    lookup.next_list = 0;
    lookup.list = NO_LIST;
}

/// Takes a step. What decides is known, so that nothing behind it is met.
#[inline(always)]
pub fn step<'t>(lookup: &mut Lookup, tables: &'t impl PolicyTables) -> Step<'t> {
    if lookup.list == NO_LIST {
        return enter(lookup);
    }
    if lookup.list & LIST_IS_SPLIT != 0 {
        if !lookup.descend(tables) {
            lookup.list = NO_LIST;
        }
        return Step::GoesOn;
    }
    let Some(line) = tables.line::<EntryLine>(lookup.list >> 2) else {
        lookup.list = NO_LIST;
        return Step::GoesOn;
    };
    let entry = &line.entries[(lookup.list & 3) as usize];
    if entry.clause >= lookup.best {
        lookup.list = NO_LIST;
        return Step::GoesOn;
    }
    lookup.list = if entry.services[1] & LAST_ENTRY == 0 { lookup.list + 1 } else { NO_LIST };
    // A clause in front of the one that decides does not decide, so one that matches observes.
    match lookup.match_of(tables, entry) {
        Some(clause) => Step::Found(clause),
        None => Step::GoesOn,
    }
}

/// Goes to the next list.
#[inline(always)]
fn enter<'t>(lookup: &mut Lookup) -> Step<'t> {
    if lookup.next_list > 3 {
        return Step::Over;
    }
    let place = (lookup.next_list & 3) as usize;
    lookup.next_list += 1;
    lookup.list = lookup.lists[place];
    if lookup.list == NO_LIST {
        return Step::Over;
    }
    if lookup.first_clauses[place] >= lookup.best {
        lookup.list = NO_LIST;
    }
    Step::GoesOn
}
