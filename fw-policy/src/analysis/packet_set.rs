//! Sets of packets, to be united, cut and looked into.

use std::sync::Arc;

use super::cover::FIELDS;
use super::packet::ExamplePacket;
use super::space::{Cube, Part, Space, intersection};

/// A set of packets that open a flow, by all that a rule can say of them: zones, family, addresses, protocol, ports, ICMP type and code.
///
/// The sets of one [`Verdicts`](crate::Verdicts) can be combined. All operations are exact. A set is a list of products, which
/// [`PacketSet::difference`] may make long: sets of a few rules are meant, not of thousands.
///
/// Packets that the data plane drops before it asks for a rule are in no set: spoofed sources, ports of zero, ICMP errors.
#[derive(Clone, Debug)]
pub struct PacketSet {
    pub(super) space: Arc<Space>,
    /// They may overlap, and hold packets that there cannot be.
    pub(super) cubes: Vec<Cube>,
}

impl PacketSet {
    pub(super) fn new(space: &Arc<Space>, cubes: Vec<Cube>) -> Self {
        Self { space: Arc::clone(space), cubes }
    }

    /// Whether there is no packet in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts().next().is_none()
    }

    /// A packet of it, if there is one.
    #[must_use]
    pub fn example(&self) -> Option<ExamplePacket> {
        let part = self.parts().next()?;
        Some(self.space.example(part.pair, self.space.liked(part.pair.family, &part.product())))
    }

    /// The packets that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(&self.space, [self.cubes.as_slice(), other.cubes.as_slice()].concat())
    }

    /// The packets that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let pairs = self.cubes.iter().flat_map(|one| other.cubes.iter().map(move |another| (one, another)));
        Self::new(&self.space, pairs.filter_map(|(one, another)| common(one, another)).collect())
    }

    /// The packets that are in this one alone.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = self.cubes.clone();
        for cut in &other.cubes {
            rest = rest.into_iter().flat_map(|cube| without(cube, cut)).collect();
        }
        Self::new(&self.space, rest)
    }

    /// The packets that there can be, pair of zones by pair of zones.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.cubes.iter().flat_map(|cube| self.space.parts(cube))
    }
}

/// What two cubes have in common.
pub(super) fn common(one: &Cube, other: &Cube) -> Option<Cube> {
    let (from, to) = (one.from & other.from, one.to & other.to);
    if one.family != other.family || from == 0 || to == 0 {
        return None;
    }
    let mut sets = one.sets.clone();
    for (set, other) in sets.iter_mut().zip(&other.sets) {
        *set = intersection(set, other)?;
    }
    Some(Cube { from, to, sets, ..*one })
}

/// What is in one cube and not in another, as disjoint cubes.
pub(super) fn without(cube: Cube, cut: &Cube) -> Vec<Cube> {
    let Some(inner) = common(&cube, cut) else { return vec![cube] };
    let mut rest = Vec::new();
    // Each field in turn: what lies outside of the cut there, and within it in the fields before.
    let (mut from, mut to, mut sets) = (cube.from, cube.to, cube.sets.clone());
    let mut add = |from, to, sets: &[Arc<_>; FIELDS]| rest.push(Cube { from, to, sets: sets.clone(), ..cube });
    if from & !inner.from != 0 {
        add(from & !inner.from, to, &sets);
        from = inner.from;
    }
    if to & !inner.to != 0 {
        add(from, to & !inner.to, &sets);
        to = inner.to;
    }
    for field in 0..FIELDS {
        let outside = sets[field].subtract(&inner.sets[field]);
        if !outside.is_empty() {
            sets[field] = Arc::new(outside);
            add(from, to, &sets);
        }
        sets[field] = Arc::clone(&inner.sets[field]);
    }
    rest
}
