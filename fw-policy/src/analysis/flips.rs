//! What two policies decide otherwise: packets that one allows and the other denies, or denies in another way.
//!
//! Both chains are in one space ([`super::joint`]). Rules that both have, with the same sets and in the same order, decide nothing
//! otherwise among themselves: a packet that is decided by such a rule in one chain, and by another such rule in the other chain, would
//! match both, and the first of them is the same in both. So each flip is of a packet that a rule decides which only one chain has, or
//! that neither has a rule for. What is looked at are the packets of those few rules: each is followed through the rules of the
//! other chain, and what covers it is asked for ([`super::cover`]), never the whole space.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use super::WorkLimits;
use super::builder::Builder;
use super::chain::{Chain, Draft, Lists, NOWHERE};
use super::cover::{Answer, Point, TooMuchWork, Work};
use super::describe::{Class, PacketClass};
use super::joint::{Joint, Numbering, zone_name};
use super::packet::ExamplePacket;
use super::packet_set::without;
use super::space::{Cube, LOCAL, Pair, Part, Space, each_zone};
use super::verdicts::Others;
use crate::binding::Binding;
use crate::compile::{self, GeneratedRule};
use crate::plan::order::longest_ascending;
use crate::policy::{Policy, Rule};

/// So many classes of one flip are named.
const CLASSES: usize = 100;

/// If a rule's packets come to more pieces than these, they are not told apart further.
const PIECES: usize = 4_096;

/// Nor if it takes more cuts of a piece than these: a tenth of a second, about.
const CUTS: usize = 1 << 19;

/// A cut takes as long as so many of the comparisons that are counted as work.
const CUT: usize = 16;

/// Who decides about a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decider {
    /// Position among all that matches; defaults are behind everything.
    position: usize,
    /// Position in the policy; `None` of generated rules and defaults.
    pub(crate) rule: Option<usize>,
    /// Id of the rule, generated rule or default; empty if the packet is in no zone.
    pub(crate) id: String,
}

/// Packets about which two policies decide otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Flip {
    /// Who decides under either policy, and what.
    pub(crate) deciders: [(Decider, Action); 2],
    /// The packets, as products; not all if there are very many.
    pub(crate) classes: Vec<PacketClass>,
    /// How many products more there are.
    pub(crate) more: usize,
    /// Whether there are packets that are in none of the products, because these would be too many.
    pub(crate) is_partial: bool,
    /// One of the packets.
    pub(crate) example: ExamplePacket,
}

/// What two policies decide otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flips {
    /// By who decides, in the order of the rules.
    pub(crate) flips: Vec<Flip>,
    /// Pairs of zones of which not everything was decided, because it would take too long.
    pub(crate) undecided: Vec<[String; 2]>,
    /// How many pairs of rules have taken packets over from each other that are decided as before.
    pub(crate) handovers: usize,
}

impl Flips {
    /// Compares two policies at a point in time, each for its interfaces. `was` gives the id that a rule of the second had in the first.
    pub(crate) fn between(
        sides: [(&Policy, &Binding); 2],
        was: &impl Fn(&str) -> String,
        now: OffsetDateTime,
        limits: WorkLimits,
    ) -> Self {
        let Some(joint) = Joint::new(sides) else {
            return Self { undecided: vec![["any".to_owned(), "any".to_owned()]], ..Self::default() };
        };
        let generated = sides.map(|(policy, binding)| compile::generated(policy, binding));
        let of = |side: usize| (sides[side].0, generated[side].as_slice());
        let (numbers, chains) = chains([of(0), of(1)], joint, now);
        let search = Search::done(&chains, was, limits);
        let name = |number: u8| {
            let [old, new] = [0, 1].map(|side| zone_name(sides[side].0, &numbers[side], number).unwrap_or("(none)"));
            (new.to_owned(), (old != new).then(|| old.to_owned()))
        };
        search.finish(&name)
    }
}

/// The chains of two policies in one space.
fn chains(
    sides: [(&Policy, &[GeneratedRule]); 2],
    Joint { numbers, names, addresses }: Joint,
    now: OffsetDateTime,
) -> ([Numbering; 2], [Chain; 2]) {
    let mut builder = Builder::of(names, addresses);
    let [old, new] = [0, 1].map(|side| {
        // What observes decides nothing.
        let decides = |rule: &Rule| rule.is_active(now) && !rule.observes();
        let (policy, generated) = sides[side];
        Draft::new(policy, &numbers[side], decides, generated, now, &mut builder)
    });
    let (space, mut cubes) = builder.finish();
    let space = Arc::new(space);
    let of_new = cubes.split_off(new.cubes.start);
    (numbers, [old.into_chain(&space, cubes), new.into_chain(&space, of_new)])
}

/// What both chains are searched with.
struct Search<'c> {
    chains: &'c [Chain; 2],
    /// For each entry of either chain the same one in the other, if its order is kept as well.
    twins: [Vec<Option<usize>>; 2],
    /// For each entry of the second chain the id that it had in the first.
    former_ids: Vec<String>,
    lists: [Lists; 2],
    limits: WorkLimits,
    groups: BTreeMap<[Decider; 2], Group>,
    handovers: BTreeSet<[String; 2]>,
    undecided: BTreeSet<(u8, u8)>,
}

/// What was found of a flip.
struct Group {
    actions: [Action; 2],
    classes: Vec<Class>,
    more: usize,
    is_partial: bool,
    example: ExamplePacket,
}

impl<'c> Search<'c> {
    /// Searches both chains.
    fn done(chains: &'c [Chain; 2], was: &impl Fn(&str) -> String, limits: WorkLimits) -> Self {
        let mut search = Self {
            chains,
            twins: twins(chains, was),
            former_ids: chains[1].entries.iter().map(|entry| was(&entry.id)).collect(),
            lists: Default::default(),
            limits,
            groups: BTreeMap::new(),
            handovers: BTreeSet::new(),
            undecided: BTreeSet::new(),
        };
        for side in [0, 1] {
            for entry in 0..chains[side].entries.len() {
                search.follow(side, entry);
            }
        }
        search.defaults();
        search
    }

    /// Whether the other chain has an entry as well, for packets of a pair.
    fn is_kept(&self, side: usize, entry: usize, pair: Pair) -> bool {
        let cubes = |side: usize, entry: usize| {
            let chain = &self.chains[side];
            chain.cubes[chain.entries[entry].cubes.clone()].iter().map(|cube| cube.concerns(pair))
        };
        self.twins[side][entry].is_some_and(|twin| cubes(side, entry).eq(cubes(1 - side, twin)))
    }

    /// Follows the packets that an entry decides, if only its chain has it, through the other chain.
    fn follow(&mut self, side: usize, entry: usize) {
        for part in self.chains[side].parts(entry) {
            if is_seen(part.pair) && !self.is_kept(side, entry, part.pair) {
                self.spend(part.pair, |search, work| search.follow_part(side, entry, &part, work));
            }
        }
    }

    /// Does something that takes work; if it is too much, the pair is not decided.
    fn spend(&mut self, pair: Pair, ask: impl FnOnce(&mut Self, &mut Work) -> Result<(), TooMuchWork>) {
        let mut limits = self.limits;
        if limits.spend(|work| ask(self, work)).is_err() {
            self.undecided.insert((pair.from, pair.to));
        }
        self.limits = limits;
    }

    fn follow_part(&mut self, side: usize, entry: usize, part: &Part, work: &mut Work) -> Result<(), TooMuchWork> {
        let [own, other] = [&self.chains[side], &self.chains[1 - side]];
        let before = self.lists[side].touching(own, part, 0..entry, |_| true, work)?;
        let mut front = Others::new(before.into_iter().map(|cube| &own.cubes[cube]));
        if front.hide(own, part, work)? {
            return Ok(());
        }
        let decider = self.decider(side, entry);
        for cube in self.lists[1 - side].touching(other, part, 0..other.entries.len(), |_| true, work)? {
            let (taker, cube) = (other.owner(cube), &other.cubes[cube]);
            // What two rules decide that are in one chain each is found from the first chain.
            let is_found = side == 1 && !self.is_kept(0, taker, part.pair);
            if !is_found
                && let Some(inner) = part.within(cube)
                && let Answer::Left(point) = front.leave(own, &inner, work)?
            {
                let taker = self.decider(1 - side, taker);
                self.note(in_order(side, decider.clone(), taker), &inner, point, &front, work)?;
            }
            front.add(cube);
            if front.hide(own, part, work)? {
                return Ok(());
            }
        }
        if let Answer::Left(point) = front.leave(own, part, work)? {
            let default = self.default_decider(1 - side, part.pair);
            self.note(in_order(side, decider, default), part, point, &front, work)?;
        }
        Ok(())
    }

    /// Looks for packets that no entry of either chain decides, where the defaults differ.
    fn defaults(&mut self) {
        for cube in self.chains[0].space.everything() {
            for from in each_zone(cube.from) {
                for to in each_zone(cube.to) {
                    let pair = Pair { from, to, family: cube.family };
                    let deciders = [0, 1].map(|side| self.default_decider(side, pair));
                    if !is_seen(pair) || deciders[0].1 == deciders[1].1 {
                        continue;
                    }
                    let of_pair = Cube { from: 1 << from, to: 1 << to, ..cube.clone() };
                    for part in self.chains[0].space.parts(&of_pair) {
                        let deciders = deciders.clone();
                        self.spend(pair, |search, work| search.default_part(deciders, &part, work));
                    }
                }
            }
        }
    }

    fn default_part(
        &mut self,
        deciders: [(Decider, Action); 2],
        part: &Part,
        work: &mut Work,
    ) -> Result<(), TooMuchWork> {
        let mut front = Others::new(std::iter::empty());
        for (chain, lists) in self.chains.iter().zip(&mut self.lists) {
            let touching = lists.touching(chain, part, 0..chain.entries.len(), |_| true, work)?;
            touching.into_iter().for_each(|cube| front.add(&chain.cubes[cube]));
        }
        match front.leave(&self.chains[0], part, work)? {
            Answer::Left(point) => self.note(deciders, part, point, &front, work),
            Answer::Covered(_) => Ok(()),
        }
    }

    fn decider(&self, side: usize, entry: usize) -> (Decider, Action) {
        let found = &self.chains[side].entries[entry];
        (Decider { position: entry, rule: found.rule, id: found.id.clone() }, found.effect.action)
    }

    fn default_decider(&self, side: usize, pair: Pair) -> (Decider, Action) {
        let (effect, id) = self.chains[side].default_of(pair);
        (Decider { position: usize::MAX, rule: None, id: id.to_owned() }, effect.action)
    }

    /// Notes who decides about what is left of a part.
    fn note(
        &mut self,
        [old, new]: [(Decider, Action); 2],
        part: &Part,
        point: Point,
        front: &Others<'_>,
        work: &mut Work,
    ) -> Result<(), TooMuchWork> {
        if old.1 == new.1 {
            let former = self.former_ids.get(new.0.position).unwrap_or(&new.0.id);
            if old.0.id != *former && old.0.id != NOWHERE && new.0.id != NOWHERE {
                self.handovers.insert([old.0.id, new.0.id]);
            }
            return Ok(());
        }
        let pieces = pieces(part, front, work)?;
        let group = self.groups.entry([old.0, new.0]).or_insert_with(|| Group {
            actions: [old.1, new.1],
            classes: Vec::new(),
            more: 0,
            is_partial: false,
            example: self.chains[0].example(part.pair, point),
        });
        group.is_partial |= pieces.is_none();
        for class in pieces.into_iter().flatten() {
            let is_united = group.classes.iter_mut().any(|known| known.unite(&class));
            match group.classes.len() {
                _ if is_united => {}
                0..CLASSES => group.classes.push(class),
                _ => group.more += 1,
            }
        }
        Ok(())
    }

    fn finish(self, name: &impl Fn(u8) -> (String, Option<String>)) -> Flips {
        let Self { chains, groups, handovers, undecided, .. } = self;
        let space = &chains[0].space;
        let flips = groups.into_iter().map(|([old, new], group)| Flip {
            deciders: [(old, group.actions[0]), (new, group.actions[1])],
            classes: described(&group.classes, space, name),
            more: group.more,
            is_partial: group.is_partial,
            example: group.example,
        });
        Flips {
            flips: flips.collect(),
            undecided: undecided.into_iter().map(|(from, to)| [name(from).0, name(to).0]).collect(),
            handovers: handovers.len(),
        }
    }
}

/// What the firewall sends to itself meets no rule.
const fn is_seen(pair: Pair) -> bool {
    !(pair.from == LOCAL && pair.to == LOCAL)
}

/// A decider of one chain and one of the other, that of the first chain first.
fn in_order<T>(side: usize, own: T, other: T) -> [T; 2] {
    if side == 0 { [own, other] } else { [other, own] }
}

/// For each entry of either chain the same one in the other: with the same id, or the one that it had, the same packets but for their
/// zones, and the same action; of those only so many that their order is the same.
fn twins(chains: &[Chain; 2], was: &impl Fn(&str) -> String) -> [Vec<Option<usize>>; 2] {
    let [old, new] = chains;
    let by_id: HashMap<&str, usize> = (0..).zip(&old.entries).map(|(at, entry)| (entry.id.as_str(), at)).collect();
    let same = |before: usize, after: usize| {
        let (one, other) = (&old.entries[before], &new.entries[after]);
        let (cubes, others) = (&old.cubes[one.cubes.clone()], &new.cubes[other.cubes.clone()]);
        let alike = |(one, other): (&Cube, &Cube)| one.family == other.family && one.sets == other.sets;
        one.effect.action == other.effect.action && cubes.len() == others.len() && cubes.iter().zip(others).all(alike)
    };
    let pairs = (0..).zip(&new.entries).filter_map(|(after, entry)| {
        let before = *by_id.get(was(&entry.id).as_str())?;
        same(before, after).then_some((before, after))
    });
    let pairs: Vec<(usize, usize)> = pairs.collect();
    let mut twins = [vec![None; old.entries.len()], vec![None; new.entries.len()]];
    let order: Vec<usize> = pairs.iter().map(|(before, _)| *before).collect();
    for position in longest_ascending(&order) {
        let (before, after) = pairs[position];
        twins[0][before] = Some(after);
        twins[1][after] = Some(before);
    }
    twins
}

/// What is left of a part, as products; `None` if they are too many.
fn pieces(part: &Part, front: &Others<'_>, work: &mut Work) -> Result<Option<Vec<Class>>, TooMuchWork> {
    let mut rest = vec![part.clone().into_cube()];
    let mut cut = 0;
    for cube in front.touching(part) {
        work.take(CUT * rest.len())?;
        cut += rest.len();
        if cut > CUTS {
            return Ok(None);
        }
        rest = rest.into_iter().flat_map(|piece| without(piece, cube)).collect();
        if rest.len() > PIECES {
            return Ok(None);
        }
    }
    let Pair { from, to, family } = part.pair;
    let classes = rest.into_iter().map(|cube| Class::of(Part { pair: Pair { from, to, family }, sets: cube.sets }));
    Ok(Some(classes.collect()))
}

/// The classes in words; what is the same in both families once.
fn described(classes: &[Class], space: &Space, name: &impl Fn(u8) -> (String, Option<String>)) -> Vec<PacketClass> {
    let mut all: Vec<PacketClass> = Vec::with_capacity(classes.len());
    for class in classes {
        let ((from, from_was), (to, to_was)) = (name(class.pair.from), name(class.pair.to));
        let class = PacketClass { from, from_was, to, to_was, ..class.described(space) };
        let same =
            |known: &&mut PacketClass| PacketClass { families: known.families.clone(), ..class.clone() } == **known;
        match all.iter_mut().find(same) {
            Some(known) => {
                known.families.extend(class.families);
                known.families.dedup();
            }
            None => all.push(class),
        }
    }
    all
}

#[cfg(test)]
#[path = "tests/flips.rs"]
mod tests;
