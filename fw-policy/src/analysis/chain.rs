//! Everything that matches packets, in its order: generated rules, the rules of the policy, and the defaults behind them.
//!
//! What is asked here is asked of parts ([`Part`]): packets of one pair of zones and one family. Of the rules in a stretch of the chain,
//! those that touch the part are found by comparing the ends of their sets, which lie side by side in memory for each pair.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use super::builder::{Builder, Matcher};
use super::cover::{self, Answer, FIELDS, Point, Product, TooMuchWork, Work};
use super::joint::Numbering;
use super::packet::ExamplePacket;
use super::space::{Cube, Pair, Part, Space, each_zone, zone_bits};
use crate::compile::GeneratedRule;
use crate::level::Level;
use crate::policy::{Policy, Rule};

/// What is done with a packet, as far as others can see it. Counters are not part of it: each rule has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) action: Action,
    pub(super) log: Option<Level>,
    /// In seconds; 0: by protocol and state.
    pub(super) idle_timeout: u32,
    /// Has limits of its own.
    pub(super) limited: bool,
}

impl Effect {
    fn of(rule: &Rule) -> Self {
        let Rule { action, log, idle_timeout, .. } = *rule;
        Self { action, log, idle_timeout, limited: rule.limits.is_some() }
    }

    /// Whether it makes no difference which of the two is done. Limits count for the rule that has them, so no two are the same.
    pub(super) fn is_same(self, other: Self) -> bool {
        self == other && !self.limited
    }
}

/// When an entry matches, from the point in time of the analysis on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    from: OffsetDateTime,
    /// `None`: for ever.
    until: Option<OffsetDateTime>,
    /// Whether it matches, at these times, what its cubes say. If not, its cubes are the most that it may match.
    is_certain: bool,
}

impl Life {
    fn of(rule: &Rule, now: OffsetDateTime) -> Self {
        Self { from: rule.starts.unwrap_or(now).max(now), until: rule.expires, is_certain: true }
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(self) -> bool {
        self.until.is_some_and(|until| until <= self.from)
    }

    /// Whether it matches at a point in time.
    pub(super) fn is_at(self, moment: OffsetDateTime) -> bool {
        self.from <= moment && self.until.is_none_or(|until| moment < until)
    }

    /// Whether it matches what its cubes say.
    pub(super) const fn is_certain(self) -> bool {
        self.is_certain
    }

    /// Whether it lasts as long as another one.
    pub(super) fn holds(self, other: Self) -> bool {
        self.is_certain
            && self.from <= other.from
            && self.until.is_none_or(|until| other.until.is_some_and(|end| end <= until))
    }

    /// Whether there is a time in both.
    pub(super) fn meets(self, other: Self) -> bool {
        let before = |one: Self, other: Self| one.until.is_some_and(|until| until <= other.from);
        !before(self, other) && !before(other, self)
    }
}

/// A rule or a generated rule.
#[derive(Debug)]
pub(super) struct Entry {
    /// Position in the policy; `None` for generated rules.
    pub(super) rule: Option<usize>,
    pub(super) id: String,
    /// What it does, or would do if it were enforced.
    pub(super) effect: Effect,
    /// Its packets are left to the entries behind it.
    pub(super) observes: bool,
    pub(super) life: Life,
    /// Positions among all cubes.
    pub(super) cubes: Range<usize>,
}

/// A chain whose space has not been made yet.
pub(super) struct Draft {
    entries: Vec<Entry>,
    defaults: HashMap<(u8, u8), (Effect, String)>,
    default: Effect,
    /// Positions of its cubes among those of the builder.
    pub(super) cubes: Range<usize>,
}

impl Draft {
    /// Everything that matches under a policy, with those of its rules that are asked for, in the numbers that its zones have in the space.
    pub(super) fn new<'p>(
        policy: &'p Policy,
        numbers: &Numbering,
        wanted: impl Fn(&Rule) -> bool,
        generated: &'p [GeneratedRule],
        now: OffsetDateTime,
        builder: &mut Builder<'p>,
    ) -> Self {
        let (zones, first) = (policy.zones.len(), builder.len());
        let mut entries: Vec<Entry> = Vec::with_capacity(generated.len() + policy.rules.len());
        let always = Life { from: now, until: None, is_certain: true };
        for rule in generated {
            let mut cubes: Option<Range<usize>> = None;
            for matching in &rule.matches {
                let added = builder.add(Matcher {
                    from: numbers.bits(matching.from),
                    to: numbers.bits(matching.to),
                    source: &matching.source,
                    destination: &matching.destination,
                    services: &matching.services,
                });
                cubes = Some(cubes.map_or(added.clone(), |known| known.start..added.end));
            }
            let effect = Effect { action: Action::Allow, log: None, idle_timeout: 0, limited: false };
            let Some(cubes) = cubes else { continue };
            entries.push(Entry { rule: None, id: rule.id.clone(), effect, observes: false, life: always, cubes });
        }
        for (position, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| wanted(rule)) {
            let cubes = builder.add(Matcher {
                from: numbers.bits(zone_bits(&rule.scope.from, zones)),
                to: numbers.bits(zone_bits(&rule.scope.to, zones)),
                source: &rule.scope.source,
                destination: &rule.scope.destination,
                services: &rule.scope.services,
            });
            let (effect, life) = (Effect::of(rule), Life::of(rule, now));
            let (id, observes) = (rule.id.clone(), rule.observes());
            entries.push(Entry { rule: Some(position), id, effect, observes, life, cubes });
        }
        let cubes = first..builder.len();
        entries.iter_mut().for_each(|entry| entry.cubes = entry.cubes.start - first..entry.cubes.end - first);
        let effect = |action, log| Effect { action, log, idle_timeout: 0, limited: false };
        let mut defaults: HashMap<(u8, u8), (Effect, String)> = HashMap::new();
        for pair in &policy.zone_pairs {
            let [from, to] = [&pair.from, &pair.to].map(|selector| numbers.bits(zone_bits(selector, zones)));
            let pairs = each_zone(from).flat_map(|from| each_zone(to).map(move |to| (from, to)));
            defaults.extend(pairs.map(|zones| (zones, (effect(pair.action, pair.log), pair.id()))));
        }
        // What is in no zone is dropped without a look at the policy, whatever its defaults are.
        let nowhere = (effect(Action::Drop, None), NOWHERE.to_owned());
        for one in each_zone(numbers.nowhere()) {
            let others = each_zone(numbers.all()).flat_map(|other| [(one, other), (other, one)]);
            defaults.extend(others.map(|zones| (zones, nowhere.clone())));
        }
        let default = effect(policy.defaults.action, policy.defaults.log);
        Self { entries, defaults, default, cubes }
    }

    /// The chain, in a space that was made for it; `cubes` are its own.
    pub(super) fn into_chain(self, space: &Arc<Space>, cubes: Vec<Cube>) -> Chain {
        let Self { entries, defaults, default, .. } = self;
        let mut owners = Vec::with_capacity(cubes.len());
        for (entry, number) in entries.iter().zip(0u32..) {
            owners.extend(entry.cubes.clone().map(|_| number));
        }
        Chain { space: Arc::clone(space), entries, cubes, owners, defaults, default }
    }
}

/// In the place of a rule's id: of what is in no zone.
pub(super) const NOWHERE: &str = "";

/// Everything that matches, in order.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) space: Arc<Space>,
    pub(super) entries: Vec<Entry>,
    pub(super) cubes: Vec<Cube>,
    /// The entry of each cube.
    owners: Vec<u32>,
    /// The defaults of pairs of zones, and that of everything.
    defaults: HashMap<(u8, u8), (Effect, String)>,
    default: Effect,
}

impl Chain {
    /// The chain of a policy, with those of its rules that are asked for, and the cubes of further matchers that are to be compared with it.
    pub(super) fn new<'p>(
        policy: &'p Policy,
        wanted: impl Fn(&Rule) -> bool,
        generated: &'p [GeneratedRule],
        now: OffsetDateTime,
        others: impl IntoIterator<Item = Matcher<'p>>,
    ) -> (Self, Vec<Vec<Cube>>) {
        let mut builder = Builder::new(&policy.zones);
        let draft = Draft::new(policy, &Numbering::own(policy), wanted, generated, now, &mut builder);
        let others: Vec<Range<usize>> = others.into_iter().map(|matcher| builder.add(matcher)).collect();
        let (space, mut cubes) = builder.finish();
        let own = draft.cubes.end;
        let rest = cubes.split_off(own);
        let others = others.into_iter().map(|range| rest[range.start - own..range.end - own].to_vec()).collect();
        (draft.into_chain(&Arc::new(space), cubes), others)
    }

    /// Some rules of the policy may match less than their cubes say.
    pub(super) fn doubt(&mut self, rules: &BTreeSet<usize>) {
        let doubtful = |entry: &&mut Entry| entry.rule.is_some_and(|rule| rules.contains(&rule));
        self.entries.iter_mut().filter(doubtful).for_each(|entry| entry.life.is_certain = false);
    }

    /// What happens to packets of a pair that no entry matches, and the id under which it is counted.
    pub(super) fn default_of(&self, pair: Pair) -> (Effect, &str) {
        match self.defaults.get(&(pair.from, pair.to)) {
            Some((effect, id)) => (*effect, id),
            None => (self.default, "default"),
        }
    }

    /// Whether a pair of zones has no default of its own.
    pub(super) fn is_left_to_default(&self, from: u8, to: u8) -> bool {
        !self.defaults.contains_key(&(from, to))
    }

    pub(super) fn owner(&self, cube: usize) -> usize {
        self.owners[cube] as usize
    }

    /// The packets of an entry that there can be.
    pub(super) fn parts(&self, entry: usize) -> impl Iterator<Item = Part> {
        self.cubes[self.entries[entry].cubes.clone()].iter().flat_map(|cube| self.space.parts(cube))
    }

    /// Looks for a packet of a part that is in none of some cubes, all of which touch it; an answer names cubes by their position among them.
    pub(super) fn left<'c>(
        &self,
        part: &Part,
        cubes: impl Iterator<Item = &'c Cube>,
        work: &mut Work,
    ) -> Result<Answer, TooMuchWork> {
        let query = part.product();
        let covers: Vec<Product<'_>> = cubes.map(Cube::product).collect();
        cover::uncovered(query, self.space.liked(part.pair.family, &query), &covers, work)
    }

    pub(super) fn example(&self, pair: Pair, point: Point) -> ExamplePacket {
        self.space.example(pair, point)
    }
}

/// The ends of a cube's sets, so that most cubes are told apart without looking at the sets.
pub(super) type Ends = [(u32, u32); FIELDS];

pub(super) fn ends(product: &Product<'_>) -> Ends {
    product.map(|set| set.bounds())
}

pub(super) fn meet(one: &Ends, other: &Ends) -> bool {
    // Without branches, so that the compiler compares many at once.
    one.iter().zip(other).fold(true, |meet, (one, other)| meet & (one.0 <= other.1) & (other.0 <= one.1))
}

/// The cubes of each pair of zones, in their order.
#[derive(Debug, Default)]
pub(super) struct Lists {
    by_pair: HashMap<Pair, Arc<List>>,
    /// Cubes in all lists.
    size: usize,
}

/// The cubes that concern a pair.
#[derive(Debug)]
struct List {
    cubes: Vec<u32>,
    ends: Vec<Ends>,
}

/// So many cubes are in lists at most, which are then thrown away: 36 bytes each.
const MAX_LISTED: usize = 4 << 20;

/// So many comparisons of ends take as long as one of the others that are counted as work.
const COMPARED_AT_ONCE: usize = 8;

impl Lists {
    fn of(&mut self, chain: &Chain, pair: Pair, work: &mut Work) -> Result<Arc<List>, TooMuchWork> {
        if let Some(list) = self.by_pair.get(&pair) {
            return Ok(Arc::clone(list));
        }
        work.take(chain.cubes.len() / 4)?;
        let own = (0u32..).zip(&chain.cubes).filter(|(_, cube)| cube.concerns(pair));
        let (cubes, ends): (Vec<u32>, Vec<Ends>) = own.map(|(at, cube)| (at, ends(&cube.product()))).unzip();
        if self.size + cubes.len() > MAX_LISTED {
            self.by_pair.clear();
            self.size = 0;
        }
        self.size += cubes.len();
        let list = Arc::new(List { cubes, ends });
        self.by_pair.insert(pair, Arc::clone(&list));
        Ok(list)
    }

    /// Asks the entries behind one that match and decide the packet at a point of a pair, in their order, for the first answer.
    pub(super) fn first_behind<T>(
        &mut self,
        chain: &Chain,
        entry: usize,
        (pair, point): (Pair, Point),
        ask: impl Fn(usize) -> Option<T>,
        work: &mut Work,
    ) -> Result<Option<T>, TooMuchWork> {
        let list = self.of(chain, pair, work)?;
        let from = list.cubes.partition_point(|cube| chain.owner(*cube as usize) <= entry);
        work.take(1 + (list.cubes.len() - from) / COMPARED_AT_ONCE)?;
        let own = point.map(|value| (value, value));
        let near = list.ends[from..].iter().zip(&list.cubes[from..]).filter(|(other, _)| meet(&own, other));
        let holding = near.map(|(_, cube)| *cube as usize).filter(|cube| chain.cubes[*cube].holds(pair, point));
        let mut deciding = holding.map(|cube| chain.owner(cube)).filter(|owner| !chain.entries[*owner].observes);
        Ok(deciding.find_map(ask))
    }

    /// The cubes of a stretch of entries that have a packet in common with a part, in their order; only those of entries that decide and are
    /// wanted.
    pub(super) fn touching(
        &mut self,
        chain: &Chain,
        part: &Part,
        entries: Range<usize>,
        wanted: impl Fn(&Entry) -> bool,
        work: &mut Work,
    ) -> Result<Vec<usize>, TooMuchWork> {
        let list = self.of(chain, part.pair, work)?;
        let from = list.cubes.partition_point(|cube| chain.owner(*cube as usize) < entries.start);
        let to = list.cubes.partition_point(|cube| chain.owner(*cube as usize) < entries.end);
        work.take(1 + (to - from) / COMPARED_AT_ONCE)?;
        let product = part.product();
        let own = ends(&product);
        let near = list.ends[from..to].iter().zip(&list.cubes[from..to]).filter(|(other, _)| meet(&own, other));
        let touching = near.map(|(_, cube)| *cube as usize).filter(|cube| {
            let other = &chain.cubes[*cube];
            let entry = &chain.entries[chain.owner(*cube)];
            !entry.observes && wanted(entry) && product.iter().zip(&other.sets).all(|(own, other)| own.overlaps(other))
        });
        Ok(touching.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn lives_are_compared_from_now_on() {
        let (early, late) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-06-01 0:00 UTC));
        let life = |from, until| Life { from, until, is_certain: true };
        let (forever, first, second) = (life(early, None), life(early, Some(late)), life(late, None));
        assert!(forever.holds(first) && forever.holds(second) && forever.holds(forever) && first.holds(first));
        assert!(!first.holds(forever) && !second.holds(forever) && !first.holds(second));
        assert!(forever.meets(first) && forever.meets(second) && !first.meets(second) && !second.meets(first));
        // What may match less holds nothing, and may meet everything that its times meet.
        let doubtful = Life { is_certain: false, ..forever };
        assert!(!doubtful.holds(first) && forever.holds(doubtful) && doubtful.meets(first));
        assert!(life(late, Some(early)).is_over() && life(early, Some(early)).is_over() && !first.is_over());
    }
}
