//! Clauses by the address sets that they share.

use super::hash::IdMap;
use super::operands::FamilyClause;

/// The clauses that share both address sets, together: they are in the same lists.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    pub(super) sets: Vec<(u32, u32)>,
    /// Where the clauses of each bundle begin, and where those of the last one end.
    starts: Vec<u32>,
    /// Positions of the clauses by bundle; those of a bundle ascend.
    clauses: Vec<u32>,
}

impl Bundles {
    pub(super) fn new(clauses: &[FamilyClause]) -> Self {
        let mut sets: Vec<(u32, u32)> = Vec::new();
        let mut known: IdMap<(u32, u32), u32> = IdMap::default();
        let mut by_bundle: Vec<(u32, u32)> = Vec::with_capacity(clauses.len());
        for (clause, position) in clauses.iter().zip(0..) {
            let next = u32::try_from(sets.len()).unwrap_or(u32::MAX);
            let bundle = *known.entry(clause.addresses()).or_insert(next);
            if bundle == next {
                sets.push(clause.addresses());
            }
            by_bundle.push((bundle, position));
        }
        by_bundle.sort_unstable();
        let starts = by_bundle
            .chunk_by(|(one, _), (other, _)| one == other)
            .scan(0, |start, bundle| Some(std::mem::replace(start, *start + u32::try_from(bundle.len()).unwrap_or(0))));
        let end = u32::try_from(by_bundle.len()).unwrap_or(u32::MAX);
        let starts = starts.chain([end]).collect();
        Self { sets, starts, clauses: by_bundle.into_iter().map(|(_, position)| position).collect() }
    }

    /// Number of bundles.
    pub(super) const fn len(&self) -> usize {
        self.sets.len()
    }

    /// Positions of the clauses of a bundle, ascending.
    pub(super) fn clauses(&self, bundle: u32) -> &[u32] {
        let bundle = bundle as usize;
        &self.clauses[self.starts[bundle] as usize..self.starts[bundle + 1] as usize]
    }

    /// The bundles of each set of one side.
    pub(super) fn by_set(&self, sets: usize, side: impl Fn((u32, u32)) -> u32) -> Vec<Vec<u32>> {
        let mut by_set = vec![Vec::new(); sets];
        for (bundle, sets) in (0..).zip(&self.sets) {
            by_set[side(*sets) as usize].push(bundle);
        }
        by_set
    }
}
