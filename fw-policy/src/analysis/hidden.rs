//! Rules that never match: there is no packet for them, or the rules in front of them take every one. A rule that observes takes none, and
//! may be hidden itself.
//!
//! A rule is hidden by rules that match for all the time that it has left: one that will expire hides nothing that does not expire with it.

use std::collections::BTreeSet;

use super::chain::{Chain, Lists};
use super::cover::{Answer, Point, TooMuchWork, Work};
use super::space::{Pair, Part};

/// What becomes of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// There is a packet that it decides: of this pair, at this point.
    Matches(Pair, Point),
    /// No packet between its zones has its addresses and services.
    NoPacket,
    /// These entries take all of its packets, and no fewer of them do; or, if there are very many, perhaps fewer would do.
    Hidden(Vec<usize>),
    /// Nobody knows.
    TooMuchWork,
}

/// So many entries that hide a rule are reduced to the fewest that suffice.
const MOST_REDUCED: usize = 64;

/// What becomes of an entry.
pub(super) fn fate(chain: &Chain, lists: &mut Lists, entry: usize, work: &mut Work) -> Fate {
    look(chain, lists, entry, work).unwrap_or(Fate::TooMuchWork)
}

/// An entry in front that holds every packet of this one, whether there can be such packets or not.
fn hidden_by_one(chain: &Chain, entry: usize) -> Option<usize> {
    let own = &chain.entries[entry];
    let first = chain.cubes.get(own.cubes.start)?;
    let holds_all = |outer: &usize| {
        let outer = &chain.entries[*outer];
        let cubes = &chain.cubes[outer.cubes.clone()];
        let holds = |inner: &usize| cubes.iter().any(|cube| cube.contains(&chain.cubes[*inner]));
        // The first comparison tells nearly all apart.
        !outer.observes
            && cubes.iter().any(|cube| cube.contains(first))
            && outer.life.holds(own.life)
            && own.cubes.clone().all(|cube| holds(&cube))
    };
    (0..entry).find(holds_all)
}

fn look(chain: &Chain, lists: &mut Lists, entry: usize, work: &mut Work) -> Result<Fate, TooMuchWork> {
    let mut parts: Vec<Part> = Vec::new();
    let mut hiding: BTreeSet<usize> = BTreeSet::new();
    for (number, part) in chain.parts(entry).enumerate() {
        let touching = in_front(chain, lists, &part, entry, work)?;
        match chain.left(&part, touching.iter().map(|cube| &chain.cubes[*cube]), work)? {
            Answer::Left(point) => return Ok(Fate::Matches(part.pair, point)),
            Answer::Covered(by) => {
                // What is hidden is mostly so by one rule as a whole, which then need not be asked pair by pair.
                if number == 0
                    && let Some(outer) = hidden_by_one(chain, entry)
                {
                    return Ok(Fate::Hidden(vec![outer]));
                }
                hiding.extend(by.into_iter().map(|cover| chain.owner(touching[cover as usize])));
            }
        }
        parts.push(part);
    }
    if parts.is_empty() {
        return Ok(Fate::NoPacket);
    }
    if hiding.len() <= MOST_REDUCED {
        // The later ones go first: who reads the policy meets the earlier ones first.
        for candidate in hiding.clone().into_iter().rev() {
            let mut fewer = hiding.clone();
            fewer.remove(&candidate);
            let mut suffice = true;
            for part in &parts {
                let touching = lists.touching(chain, part, 0..entry, |_| true, work)?;
                let touching: Vec<usize> =
                    touching.into_iter().filter(|cube| fewer.contains(&chain.owner(*cube))).collect();
                let left = chain.left(part, touching.iter().map(|cube| &chain.cubes[*cube]), work)?;
                suffice = matches!(left, Answer::Covered(_));
                if !suffice {
                    break;
                }
            }
            if suffice {
                hiding = fewer;
            }
        }
    }
    Ok(Fate::Hidden(hiding.into_iter().collect()))
}

/// The cubes in front of an entry that touch a part of it for all the time that it has left.
pub(super) fn in_front(
    chain: &Chain,
    lists: &mut Lists,
    part: &Part,
    entry: usize,
    work: &mut Work,
) -> Result<Vec<usize>, TooMuchWork> {
    let life = chain.entries[entry].life;
    lists.touching(chain, part, 0..entry, |other| other.life.holds(life), work)
}
