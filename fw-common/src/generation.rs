//! Generations of routes, neighbours, interfaces and own addresses: what was looked up in one is good while it lasts.
//!
//! While an agent follows changes, the generation is its count of them. Without one, each second is a generation, which bounds how
//! long a change can go unnoticed. Generations only rise, but for the bits that are cut off: so who is a moment behind can be told.

/// Bits that count.
const NUMBER: u32 = (1 << 30) - 1;
/// Set in each, so that none is 0 or [`crate::abi::flow::NEXT_HOP_BUSY`].
const VALID: u32 = 1 << 30;

/// The generation at `now`, by the agent's `count`, which holds until the second `followed_until` of the monotonic clock.
#[inline(always)]
#[must_use]
pub const fn at(count: u32, followed_until: u32, now: u32) -> u32 {
    (count.wrapping_add(now.saturating_sub(followed_until)) & NUMBER) | VALID
}

/// The count with which an agent goes on at `now`, which had said that it would count until `followed_until`: if that is over, a
/// number behind all that have been used meanwhile.
#[must_use]
pub const fn resumed(count: u32, followed_until: u32, now: u32) -> u32 {
    match now.saturating_sub(followed_until) {
        0 => count,
        silent => count.wrapping_add(silent).wrapping_add(1),
    }
}

/// Whether one generation came before another; 0, which none has, came before all.
#[inline(always)]
#[must_use]
pub const fn is_older(one: u32, other: u32) -> bool {
    let behind = other.wrapping_sub(one) & NUMBER;
    one == 0 || (behind != 0 && behind <= NUMBER / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_an_agent_each_second_is_a_generation() {
        assert_eq!(at(7, 100, 50), at(7, 100, 100));
        assert_ne!(at(7, 100, 100), at(7, 100, 101));
        assert!(is_older(at(7, 100, 101), at(7, 100, 102)));
    }

    proptest! {
        #[test]
        fn generations_rise(count: u32, until in 0u32..1 << 31, silent in 0u32..1 << 20, later in 1u32..1000) {
            let then = until + silent;
            let before = at(count, until, then);
            prop_assert!(before != 0 && before != crate::abi::flow::NEXT_HOP_BUSY);
            // The agent comes back, says that it counts, and counts.
            let back = resumed(count, until, then);
            let after = at(back, then + later, then);
            prop_assert_eq!(before == after, silent == 0, "what was vouched for goes on, and nothing else does");
            prop_assert!(!is_older(after, before));
            prop_assert!(is_older(before, at(back.wrapping_add(1), then + later, then)));
            // Another processor whose clock is a second behind.
            prop_assert!(!is_older(before, at(count, until, then.saturating_sub(1))));
        }
    }
}
