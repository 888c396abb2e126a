//! What has kept its order: the longest common subsequence of two lists in which each element is once.

/// The elements of a longest ascending subsequence of distinct numbers, in their order: the positions.
///
/// Patience sorting: `ends[n]` is where the best subsequence of `n + 1` elements so far ends, that with the lowest last number.
pub(crate) fn longest_ascending(numbers: &[usize]) -> Vec<usize> {
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (position, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers[*end] < *number);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = position,
            None => ends.push(position),
        }
    }
    let mut kept: Vec<usize> = std::iter::successors(ends.last().copied(), |position| before[*position]).collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_element_that_moves_is_the_only_one_that_has_moved() {
        assert_eq!(longest_ascending(&[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(longest_ascending(&[3, 0, 1, 2]), [1, 2, 3]);
        assert_eq!(longest_ascending(&[0, 2, 3, 1]), [0, 1, 2]);
        assert_eq!(longest_ascending(&[]), [0usize; 0]);
    }

    proptest! {
        #[test]
        fn it_ascends_and_none_is_longer(order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle()) {
            let kept = longest_ascending(&order);
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1] && order[pair[0]] < order[pair[1]]));
            let ascends = |chosen: &u32| {
                let numbers = order.iter().enumerate().filter(|(position, _)| chosen & 1 << position != 0);
                let numbers: Vec<usize> = numbers.map(|(_, number)| *number).collect();
                numbers.windows(2).all(|pair| pair[0] < pair[1])
            };
            let longest = (0..1u32 << 9).filter(ascends).map(u32::count_ones).max();
            prop_assert_eq!(longest, Some(kept.len() as u32));
        }
    }
}
