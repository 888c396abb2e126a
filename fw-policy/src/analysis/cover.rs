//! Whether some products of sets cover another one, and if not, what they leave out.
//!
//! In: a product of one set for each field (the query), and other products (the covers). Out: a point of the query that is in none of
//! them, or those that suffice to cover it. Exact, and without building the union, which may have exponentially many parts.
//!
//! The values of one field fall into segments in which the same covers take part. A segment with fewer covers is the more likely to
//! hold a point that is left out, so it is looked at first, with the fields that remain. If it is covered, those that cover it are
//! remembered: every other segment in which all of them take part is covered, too. Most queries end at the first segment, with a point,
//! or at the first cover, which holds everything.

use super::ranges::Ranges;

/// The number of fields: source, destination, service, source port.
pub(super) const FIELDS: usize = 4;

/// A product of one set for each field.
pub(super) type Product<'a> = [&'a Ranges; FIELDS];

/// One value for each field.
pub(super) type Point = [u32; FIELDS];

/// What a query ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A point of the query that no cover holds.
    Left(Point),
    /// These covers, by position, hold all of it; ascending.
    Covered(Vec<u32>),
}

/// More work than there may be: nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuchWork;

/// How much work is left, in comparisons of a cover with a segment, about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work(pub(super) u64);

impl Work {
    pub(super) fn take(&mut self, amount: usize) -> Result<(), TooMuchWork> {
        self.0 = self.0.checked_sub(amount as u64).ok_or(TooMuchWork)?;
        Ok(())
    }
}

/// Looks for a point of `query` that is in none of `covers`; where any value does, the one of `liked`, a point of the query. No set of
/// the query is empty, and each cover overlaps it.
pub(super) fn uncovered(
    query: Product<'_>,
    liked: Point,
    covers: &[Product<'_>],
    work: &mut Work,
) -> Result<Answer, TooMuchWork> {
    let whole_in = |cover: &Product<'_>| {
        (0..FIELDS).filter(|field| query[*field].is_subset(cover[*field])).fold(0u8, |bits, field| bits | 1 << field)
    };
    work.take(covers.len() * FIELDS)?;
    let whole: Vec<u8> = covers.iter().map(whole_in).collect();
    let mut search = Search { query, liked, covers, whole, work };
    let members: Vec<u32> = (0..).take(covers.len()).collect();
    let mut point = liked;
    let covered = search.look(ALL, &members, &mut point)?;
    Ok(covered.map_or(Answer::Left(point), Answer::Covered))
}

/// The bits of all fields.
const ALL: u8 = (1 << FIELDS) - 1;

struct Search<'s, 'a> {
    query: Product<'a>,
    liked: Point,
    covers: &'s [Product<'a>],
    /// For each cover, in which fields it holds all that the query has.
    whole: Vec<u8>,
    work: &'s mut Work,
}

/// Values of a field in which the same covers take part: one of them, and how many covers.
struct Segment {
    value: u32,
    count: usize,
}

impl Search<'_, '_> {
    /// Looks at the fields in `rest`, where the others have the values of `point` and `members` take part. `None` if a point is left,
    /// else covers that suffice.
    fn look(&mut self, rest: u8, members: &[u32], point: &mut Point) -> Result<Option<Vec<u32>>, TooMuchWork> {
        self.work.take(members.len() + 1)?;
        if let Some(cover) = members.iter().find(|cover| self.whole[**cover as usize] & rest == rest) {
            return Ok(Some(vec![*cover]));
        }
        if members.is_empty() {
            for field in (0..FIELDS).filter(|field| rest & 1 << field != 0) {
                point[field] = self.liked[field];
            }
            return Ok(None);
        }
        let (field, mut segments) = self.most_open(rest, members)?;
        segments.sort_by_key(|segment| segment.count);
        let mut learned: Vec<Vec<u32>> = Vec::new();
        for segment in segments {
            self.work.take(1 + learned.iter().map(Vec::len).sum::<usize>())?;
            let takes_part = |cover: &u32| self.covers[*cover as usize][field].contains(segment.value);
            if learned.iter().any(|known| known.iter().all(takes_part)) {
                continue;
            }
            let inner: Vec<u32> = members.iter().copied().filter(takes_part).collect();
            point[field] = segment.value;
            match self.look(rest & !(1 << field), &inner, point)? {
                None => return Ok(None),
                Some(covers) => learned.push(covers),
            }
        }
        let mut all: Vec<u32> = learned.into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        Ok(Some(all))
    }

    /// The field that has the segment with the fewest covers, and its segments.
    fn most_open(&mut self, rest: u8, members: &[u32]) -> Result<(usize, Vec<Segment>), TooMuchWork> {
        let mut best: Option<(usize, usize, Vec<Segment>)> = None;
        for field in (0..FIELDS).filter(|field| rest & 1 << field != 0) {
            let segments = self.segments(field, members)?;
            let fewest = segments.iter().map(|segment| segment.count).min().unwrap_or(0);
            let is_better =
                best.as_ref().is_none_or(|(count, _, others)| (fewest, segments.len()) < (*count, others.len()));
            if is_better {
                best = Some((fewest, field, segments));
            }
            if fewest == 0 {
                break;
            }
        }
        // Without a field left, each member holds everything, which has been asked before.
        Ok(best.map_or((0, Vec::new()), |(_, field, segments)| (field, segments)))
    }

    fn segments(&mut self, field: usize, members: &[u32]) -> Result<Vec<Segment>, TooMuchWork> {
        let query = self.query[field];
        let mut everywhere = 0;
        // Where covers begin and, one behind their ends, cease.
        let mut changes: Vec<(u32, i32)> = Vec::new();
        for cover in members {
            if self.whole[*cover as usize] & 1 << field != 0 {
                everywhere += 1;
                continue;
            }
            for (first, last) in self.covers[*cover as usize][field].common(query) {
                changes.push((first, 1));
                changes.push((last.saturating_add(1), -1));
            }
        }
        self.work.take(changes.len() + query.len())?;
        changes.sort_unstable();
        let mut segments = Vec::with_capacity(changes.len() + query.len());
        let mut changes = changes.into_iter().peekable();
        let mut count = everywhere;
        for (first, last) in query.iter() {
            let mut at = first;
            loop {
                while let Some((_, change)) = changes.next_if(|(position, _)| *position <= at) {
                    count += change;
                }
                segments.push(Segment { value: at, count: usize::try_from(count).unwrap_or(0) });
                match changes.peek() {
                    Some((position, _)) if *position <= last => at = *position,
                    _ => break,
                }
            }
        }
        Ok(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn product() -> impl Strategy<Value = [Ranges; FIELDS]> {
        let set = || prop::collection::btree_set(0u32..4, 1..4).prop_map(|set| Ranges::of(set.into_iter().collect()));
        [set(), set(), set(), set()]
    }

    fn holds(product: &[Ranges; FIELDS], point: Point) -> bool {
        product.iter().zip(point).all(|(set, value)| set.contains(value))
    }

    fn points() -> impl Iterator<Item = Point> {
        (0..256u32).map(|number| [number & 3, number >> 2 & 3, number >> 4 & 3, number >> 6])
    }

    proptest! {
        #[test]
        fn agrees_with_enumeration(query in product(), covers in prop::collection::vec(product(), 0..24)) {
            let overlapping = |cover: &&[Ranges; FIELDS]| cover.iter().zip(&query).all(|(one, other)| one.overlaps(other));
            let covers: Vec<&[Ranges; FIELDS]> = covers.iter().filter(overlapping).collect();
            let products: Vec<Product<'_>> = covers.iter().map(|cover| cover.each_ref()).collect();
            let liked = query.each_ref().map(|set| set.bounds().0);
            match uncovered(query.each_ref(), liked, &products, &mut Work(u64::MAX)).unwrap() {
                Answer::Left(point) => {
                    prop_assert!(holds(&query, point) && !covers.iter().any(|cover| holds(cover, point)));
                }
                Answer::Covered(by) => {
                    let held = |point: &Point| by.iter().any(|cover| holds(covers[*cover as usize], *point));
                    prop_assert!(points().filter(|point| holds(&query, *point)).all(|point| held(&point)));
                }
            }
        }
    }

    #[test]
    fn work_is_bounded() {
        let all = Ranges::one(0, 9);
        let halves = [Ranges::one(0, 4), Ranges::one(5, 9)];
        let covers: Vec<Product<'_>> = halves.iter().map(|half| [half, &all, &all, &all]).collect();
        let query = [&all; FIELDS];
        assert_eq!(uncovered(query, [0; FIELDS], &covers, &mut Work(4)), Err(TooMuchWork));
        assert_eq!(uncovered(query, [0; FIELDS], &covers, &mut Work(1000)), Ok(Answer::Covered(vec![0, 1])));
    }
}
