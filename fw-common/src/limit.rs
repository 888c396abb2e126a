//! Limits of a rule: how many flows it may open in a time, and how many there may be at once; for the rule, for each source, or
//! for each pair of source and destination.
//!
//! A *subject* is what a limit counts for. Rates are token buckets, kept as the one moment at which the bucket will be full
//! again ("virtual scheduling", ITU-T I.371, annex A), so that nobody has to refill them.

use crate::abi::limit::{SubjectKey, per};
use crate::wire::Address;

/// Takes a token out of a bucket that is full again at `full_at`, gains a token each `interval`, and is filled within `capacity`;
/// the moment at which it is full again then, or `None` if it is empty. All times are in nanoseconds of one clock.
#[inline(always)]
#[must_use]
pub const fn take(full_at: u64, now: u64, interval: u64, capacity: u64) -> Option<u64> {
    let from = if full_at > now { full_at } else { now };
    let then = from.saturating_add(interval);
    if then - now > capacity { None } else { Some(then) }
}

/// Whether nothing is lost if a subject is forgotten: nothing is open, and the bucket is full.
#[inline(always)]
#[must_use]
pub const fn is_idle(flows: u32, full_at: u64, now: u64) -> bool {
    flows == 0 && full_at <= now
}

/// What the packets of an originator and a responder count for. An IPv6 source is its /64, the least that one host is
/// given (RFC 4291, section 2.5.4).
#[inline(always)]
#[must_use]
pub fn subject(rule: u32, what: u8, of: u8, src_addr: &Address, dst_addr: &Address) -> SubjectKey {
    let nobody = [0; 4];
    let mut source = src_addr.words();
    let mut destination = dst_addr.words();
    if src_addr.is_ipv4() {
        [source[1], source[2], source[3]] = [0; 3];
        [destination[1], destination[2], destination[3]] = [0; 3];
    } else {
        [source[2], source[3]] = [0; 2];
    }
    if of == per::RULE {
        source = nobody;
    }
    if of != per::SOURCE_DESTINATION {
        destination = nobody;
    }
    // A limit of a rule counts both families together.
    let family = if of == per::RULE { 0 } else { src_addr.family };
    SubjectKey { rule, kind: what, family, per: of, _pad: 0, source, destination }
}

/// The words of a subject's key, as they lie in memory.
#[inline(always)]
#[must_use]
pub const fn words(key: &SubjectKey) -> [u64; 5] {
    let head = key.rule as u64 | (key.kind as u64) << 32 | (key.family as u64) << 40 | (key.per as u64) << 48;
    let [a, b, c, d] = key.source;
    let [e, f, g, h] = key.destination;
    [head, join(a, b), join(c, d), join(e, f), join(g, h)]
}

#[inline(always)]
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::limit::kind;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of the moments at which somebody asks are granted.
    fn granted(moments: &[u64], interval: u64, burst: u32) -> std::vec::Vec<u64> {
        let mut full_at = 0;
        let mut granted = std::vec::Vec::new();
        for now in moments {
            if let Some(then) = take(full_at, *now, interval, interval * u64::from(burst)) {
                full_at = then;
                granted.push(*now);
            }
        }
        granted
    }

    #[test]
    fn a_full_bucket_holds_its_burst_and_no_more() {
        let at_once = [7 * SECOND; 100];
        assert_eq!(granted(&at_once, SECOND, 1).len(), 1);
        assert_eq!(granted(&at_once, SECOND, 20).len(), 20);
        assert_eq!(granted(&at_once, SECOND, 0).len(), 0);
    }

    #[test]
    fn an_ipv6_source_is_its_network_and_an_ipv4_source_itself() {
        let v6 = |last| Address::v6([0xfd, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, last]);
        let of = |per, source: &Address, destination: &Address| subject(3, kind::RATE, per, source, destination);
        assert_eq!(of(per::SOURCE, &v6(1), &v6(2)), of(per::SOURCE, &v6(200), &v6(3)));
        assert_ne!(of(per::SOURCE_DESTINATION, &v6(1), &v6(2)), of(per::SOURCE_DESTINATION, &v6(1), &v6(3)));
        let (one, other) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        assert_ne!(of(per::SOURCE, &one, &other), of(per::SOURCE, &other, &one));
        assert_eq!(of(per::RULE, &one, &other), of(per::RULE, &v6(1), &v6(2)));
    }

    proptest! {
        #[test]
        fn no_time_grants_more_than_its_tokens_and_the_burst(
            steps in prop::collection::vec(0u64..3 * SECOND, 1..200), interval in 1u64..SECOND, burst in 1u32..50,
        ) {
            let moments: std::vec::Vec<u64> =
                steps.iter().scan(SECOND, |now, step| { *now += step; Some(*now) }).collect();
            let granted = granted(&moments, interval, burst);
            for (first, from) in granted.iter().enumerate() {
                for (count, to) in granted[first..].iter().enumerate() {
                    prop_assert!((count as u64) < u64::from(burst) + (to - from) / interval);
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(
            extra in prop::collection::vec(0u64..SECOND, 1..200), interval in 1u64..SECOND, burst in 1u32..50,
        ) {
            let moments: std::vec::Vec<u64> =
                extra.iter().scan(SECOND, |now, extra| { *now += interval + extra; Some(*now) }).collect();
            prop_assert_eq!(granted(&moments, interval, burst).len(), moments.len());
        }

        #[test]
        fn a_bucket_is_full_again_when_it_says(full_at in 0u64..SECOND, interval in 1u64..SECOND, burst in 1u32..50) {
            let mut state = full_at;
            while let Some(then) = take(state, SECOND, interval, interval * u64::from(burst)) {
                state = then;
            }
            prop_assert!(!is_idle(0, state, SECOND) && is_idle(0, state, state) && !is_idle(1, state, state));
            prop_assert_eq!(granted(&[state; 60], interval, burst).len(), burst as usize);
        }

        #[test]
        fn subjects_that_differ_have_other_words(a: [u32; 4], b: [u32; 4], rule: u32, what in 0u8..2, of in 0u8..3) {
            let key = SubjectKey { rule, kind: what, family: 4, per: of, _pad: 0, source: a, destination: b };
            let other = SubjectKey { kind: 1 - what, ..key };
            prop_assert_ne!(words(&key), words(&other));
            prop_assert_eq!(words(&key), words(&key));
        }
    }
}
