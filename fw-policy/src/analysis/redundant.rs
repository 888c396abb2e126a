//! Rules without which nothing changes: whatever they decide would be decided alike by what stands behind them.
//!
//! "Alike" is everything but the counter: action, log, idle time-out. A rule with limits is never redundant, nor is one whose packets would
//! fall to a rule with limits. A rule behind that does something else counts if there is any time at which both match; one that does the
//! same counts only if it matches for all the time that the rule has left.
//!
//! A rule that observes takes no other's place, and is asked about as if it were enforced.
//!
//! Rules are asked from the last to the first, and one that was found needless takes no other's place: so all of them may be removed, one by
//! one or together.

use std::collections::BTreeSet;

use super::chain::{Chain, Lists};
use super::cover::{Answer, Point, TooMuchWork, Work};
use super::hidden::in_front;
use super::space::{Pair, Part};

/// What would happen without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// Something else.
    Changes,
    /// The same, by these entries behind it and, if need be, by defaults.
    Same(Vec<usize>),
    /// The same, by defaults alone.
    Default,
    /// Nobody knows.
    TooMuchWork,
}

/// An entry that decides a packet, and may be needless.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'c> {
    pub(super) chain: &'c Chain,
    pub(super) entry: usize,
    pub(super) packet: (Pair, Point),
    /// Entries that take no other's place.
    pub(super) needless: &'c BTreeSet<usize>,
}

impl Candidate<'_> {
    /// What would happen without it.
    pub(super) fn without(self, lists: &mut Lists, work: &mut Work) -> Without {
        if self.chain.entries[self.entry].effect.limited {
            return Without::Changes;
        }
        self.look(lists, work).unwrap_or(Without::TooMuchWork)
    }

    /// Whether this one packet would be decided otherwise: nearly all rules that are needed are told by it.
    fn packet_changes(self, lists: &mut Lists, work: &mut Work) -> Result<bool, TooMuchWork> {
        let Self { chain, entry, packet, .. } = self;
        let own = &chain.entries[entry];
        let changes = |position: usize| {
            let other = &chain.entries[position];
            if other.effect.is_same(own.effect) {
                self.is_taken_over(position).then_some(false)
            } else {
                other.life.meets(own.life).then_some(true)
            }
        };
        let behind = lists.first_behind(chain, entry, packet, changes, work)?;
        Ok(behind.unwrap_or_else(|| !chain.default_of(packet.0).0.is_same(own.effect)))
    }

    /// Whether an entry behind it does with its packets what it does, for as long as it would.
    fn is_taken_over(self, by: usize) -> bool {
        let (own, behind) = (&self.chain.entries[self.entry], &self.chain.entries[by]);
        let is_alike = behind.effect.is_same(own.effect) && behind.life.holds(own.life);
        !behind.observes && is_alike && !self.needless.contains(&by)
    }

    fn look(self, lists: &mut Lists, work: &mut Work) -> Result<Without, TooMuchWork> {
        let Self { chain, entry, .. } = self;
        if self.packet_changes(lists, work)? {
            return Ok(Without::Changes);
        }
        let own = &chain.entries[entry];
        let mut successors: BTreeSet<usize> = BTreeSet::new();
        for part in chain.parts(entry) {
            let front = in_front(chain, lists, &part, entry, work)?;
            let behind = lists.touching(
                chain,
                &part,
                entry + 1..chain.entries.len(),
                |other| other.life.meets(own.life),
                work,
            )?;
            let mut taken = front.clone();
            for cube in behind {
                let other = &chain.entries[chain.owner(cube)];
                if self.is_taken_over(chain.owner(cube)) {
                    taken.push(cube);
                } else if !other.effect.is_same(own.effect) {
                    // All that the two have in common must be taken in between.
                    let Some(common) = part.within(&chain.cubes[cube]) else { continue };
                    let Some(takers) = takers(chain, &common, &taken, work)? else { return Ok(Without::Changes) };
                    successors.extend(takers);
                }
            }
            if let Some(takers) = takers(chain, &part, &taken, work)? {
                successors.extend(takers);
            } else if !chain.default_of(part.pair).0.is_same(own.effect) {
                return Ok(Without::Changes);
            } else {
                // Those to which the rules in front leave something; the rest is for the default.
                for cube in &taken[front.len()..] {
                    let Some(common) = part.within(&chain.cubes[*cube]) else { continue };
                    if takers(chain, &common, &front, work)?.is_none() {
                        successors.insert(chain.owner(*cube));
                    }
                }
            }
        }
        let successors: Vec<usize> = successors.into_iter().filter(|taker| *taker > entry).collect();
        Ok(if successors.is_empty() { Without::Default } else { Without::Same(successors) })
    }
}

/// The entries among the owners of some cubes that take all of a part; `None` if a packet is left.
fn takers(chain: &Chain, part: &Part, cubes: &[usize], work: &mut Work) -> Result<Option<Vec<usize>>, TooMuchWork> {
    let touching: Vec<usize> = cubes.iter().copied().filter(|cube| part.touches(&chain.cubes[*cube])).collect();
    Ok(match chain.left(part, touching.iter().map(|cube| &chain.cubes[*cube]), work)? {
        Answer::Left(_) => None,
        Answer::Covered(by) => Some(by.into_iter().map(|cover| chain.owner(touching[cover as usize])).collect()),
    })
}
