//! Addresses for prefix lengths: a tree for the sources, and one for the destinations that begins like it.

use super::Rule;
use super::random::Random;
use super::seed::{ScaledTree, Seed};

/// The depth of a tree.
const DEPTH: u8 = 32;
/// How many steps a length may move: the smoothness parameter of the published program, as its own sets use it.
const SMOOTHNESS: u64 = 2;

/// A length near `len`; that of a whole address or of none moves to one side only.
pub(super) fn smoothed(len: u8, random: &mut Random) -> u8 {
    let moved = (0..SMOOTHNESS).filter(|_| random.below(5) == 0).count();
    let moved = u8::try_from(moved).unwrap_or(0);
    if len > DEPTH / 2 || (len > 0 && random.below(2) == 0) { len.saturating_sub(moved) } else { len + moved }
}

/// Gives every rule its addresses.
pub(super) fn assign(rules: &mut [Rule], seed: &Seed, scale: usize, random: &mut Random) {
    let factor = scale as f64 / f64::from(seed.scale);
    let all: Vec<u32> = (0..).take(rules.len()).collect();
    let sources = seed.source.scaled(factor);
    Grower { rules, tree: &sources, side: Side::Source, correlation: &[0; 32], random }.grow(
        0,
        0,
        0,
        all.clone(),
        Vec::new(),
    );
    let destinations = seed.destination.scaled(factor);
    let side = Side::Destination;
    Grower { rules, tree: &destinations, side, correlation: &seed.correlation, random }.grow(0, 0, 0, Vec::new(), all);
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Hands rules down a tree until each has as many bits as its prefix is long.
struct Grower<'a> {
    rules: &'a mut [Rule],
    tree: &'a ScaledTree,
    side: Side,
    correlation: &'a [u32; 32],
    random: &'a mut Random,
}

impl Grower<'_> {
    /// One node. `free` rules branch as the tree does; `following` ones have had the bits of their source so far.
    fn grow(&mut self, depth: u8, first: u128, nesting: u32, mut free: Vec<u32>, mut following: Vec<u32>) {
        let before = free.len() + following.len();
        free.retain(|rule| !self.ends(*rule, depth, first));
        following.retain(|rule| !self.ends(*rule, depth, first));
        let nesting = nesting + u32::from(free.len() + following.len() < before);
        if depth == DEPTH || (free.is_empty() && following.is_empty()) {
            return;
        }
        let mut children = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        self.follow(depth, &following, &mut children);
        self.branch(depth, nesting, free, &mut children);
        for (bit, (free, following)) in (0u128..).zip(children) {
            if !free.is_empty() || !following.is_empty() {
                self.grow(depth + 1, first | bit << (127 - depth), nesting, free, following);
            }
        }
    }

    fn len(&self, rule: u32) -> u8 {
        let rule = &self.rules[rule as usize];
        match self.side {
            Side::Source => rule.source.len,
            Side::Destination => rule.destination.len,
        }
    }

    fn ends(&mut self, rule: u32, depth: u8, first: u128) -> bool {
        let ends = self.len(rule) == depth;
        if ends {
            let rule = &mut self.rules[rule as usize];
            match self.side {
                Side::Source => rule.source.first = first,
                Side::Destination => rule.destination.first = first,
            }
        }
        ends
    }

    /// Destinations that have been like their source: they go on so, or leave it for good.
    fn follow(&mut self, depth: u8, following: &[u32], children: &mut [(Vec<u32>, Vec<u32>); 2]) {
        for index in following {
            let source = self.rules[*index as usize].source;
            if source.len <= depth {
                // The source has no more bits: from here the tree decides.
                let child = usize::from(self.random.below(2) == 1);
                children[child].0.push(*index);
                continue;
            }
            let bit = usize::from((source.first >> (127 - depth)) & 1 == 1);
            let goes_on = self.random.below(10_000) <= u64::from(self.correlation[usize::from(depth)]);
            if goes_on && source.len > depth + 1 {
                children[bit].1.push(*index);
            } else {
                children[1 - bit].0.push(*index);
            }
        }
    }

    /// The others: to one child, or to both as unequally as the skew says.
    fn branch(&mut self, depth: u8, nesting: u32, mut free: Vec<u32>, children: &mut [(Vec<u32>, Vec<u32>); 2]) {
        let heavy = usize::from(self.random.below(2) == 1);
        let level = usize::from(depth);
        let ends_next = free.iter().any(|rule| self.len(*rule) == depth + 1);
        if free.len() > 1 && nesting + 1 >= self.tree.nesting && ends_next && depth < DEPTH - 1 {
            // Nested as deeply as the seed allows: what ends below goes to a side of its own.
            let (ending, going_on): (Vec<u32>, Vec<u32>) =
                free.into_iter().partition(|rule| self.len(*rule) == depth + 1);
            children[heavy].0.extend(going_on);
            children[1 - heavy].0.extend(ending);
            return;
        }
        if free.len() > 1 && self.random.unit() < self.tree.branching[level] {
            let weight = (free.len() as f64 / (2.0 - self.tree.skew[level])) as usize;
            let light = free.split_off(weight.min(free.len()));
            children[1 - heavy].0.extend(light);
        }
        children[heavy].0.extend(free);
    }
}
