//! Where a flow lies in its table: in one of two buckets by the hash of its key, and there by a tag that tells most other
//! flows apart.
//!
//! Tags are bytes; eight of them are searched at once, in a word.

use crate::abi::flow::{FlowKey4, FlowKey6, LANES};

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket in which it lies, unless that was nearly full.
    pub first: u32,
    /// The bucket in which it lies otherwise.
    pub second: u32,
    /// Its tag, 1 to 255.
    pub tag: u32,
    /// The lower bits name its lock.
    pub lock: u32,
}

impl Place {
    /// The lane of the first bucket that is the key's home: its flow takes this slot when it is free, and is looked for there first,
    /// so that most flows are found without their tag.
    #[inline(always)]
    #[must_use]
    pub const fn home_lane(&self) -> u32 {
        self.tag % LANES
    }
}

/// Buckets for a table of so many flows: two thirds of their slots are in use when it is full.
#[must_use]
pub const fn buckets_for(max_flows: u32) -> u32 {
    let slots = max_flows as u64 * 3 / 2;
    let buckets = slots.div_ceil(LANES as u64);
    if buckets < 4 { 4 } else { buckets as u32 }
}

/// Free slots below which the other bucket is looked at, too, when a flow opens.
pub const NEARLY_FULL: u32 = 4;

/// Every byte 1.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The lower seven bits of every byte.
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Which bytes of a word are `tag`: the highest bit of each is set, and no other.
#[inline(always)]
#[must_use]
pub const fn lanes_of(word: u64, tag: u32) -> u64 {
    let different = word ^ (tag as u64).wrapping_mul(ONES);
    // No carry leaves a byte: the sum is at most 0xfe.
    !(((different & LOW) + LOW) | different | LOW)
}

/// The lowest of the lanes that [`lanes_of`] found, of which there is one.
#[inline(always)]
#[must_use]
pub const fn lowest_lane(lanes: u64) -> u32 {
    let below = (lanes & lanes.wrapping_neg()).wrapping_sub(1);
    // One for each byte up to the lane's own.
    (((below & ONES).wrapping_mul(ONES) >> 56) as u32).wrapping_sub(1) & 7
}

/// How many bytes of a word are 0.
#[inline(always)]
#[must_use]
pub const fn free_lanes(word: u64) -> u32 {
    ((lanes_of(word, 0) >> 7).wrapping_mul(ONES) >> 56) as u32
}

/// A tag in its lane.
#[inline(always)]
#[must_use]
pub const fn tag_at(tag: u32, lane: u32) -> u64 {
    (tag as u64 & 0xff) << (lane * 8)
}

/// The words of an IPv4 key, as they lie in memory.
#[inline(always)]
#[must_use]
pub const fn words4(key: &FlowKey4) -> [u64; 2] {
    let (low, high) = (u32::from_ne_bytes(key.low_addr), u32::from_ne_bytes(key.high_addr));
    [join(low, high), ports(key.low_port, key.high_port, key.protocol)]
}

/// The words of an IPv6 key, as they lie in memory.
#[inline(always)]
#[must_use]
pub const fn words6(key: &FlowKey6) -> [u64; 5] {
    let ([a, b], [c, d]) = (halves(key.low_addr), halves(key.high_addr));
    [a, b, c, d, ports(key.low_port, key.high_port, key.protocol)]
}

/// The place of a key, given by its words, among `buckets`.
#[inline(always)]
#[must_use]
pub const fn place<const N: usize>(words: &[u64; N], seed: u64, buckets: u32) -> Place {
    let mut hash = seed;
    let mut at = 0;
    while at < N {
        hash = mix(hash, words[at]);
        at += 1;
    }
    place_of(hash, buckets)
}

/// Two words of four bytes as one of eight, as they lie in memory.
#[inline(always)]
pub(crate) const fn join(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}

#[inline(always)]
const fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}

#[inline(always)]
const fn ports(low: [u8; 2], high: [u8; 2], protocol: u8) -> u64 {
    let ([a, b], [c, d]) = (low, high);
    join(u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([protocol, 0, 0, 0]))
}

/// Takes a word into the hash: a multiplication spreads it upwards, the shift brings the upper half down again.
#[inline(always)]
pub(crate) const fn mix(hash: u64, word: u64) -> u64 {
    // The golden ratio, as Knuth advises (The Art of Computer Programming, volume 3, section 6.4).
    let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

#[inline(always)]
const fn place_of(hash: u64, buckets: u32) -> Place {
    let hash = mix(hash, 0xd6e8_feb8_6659_fd93);
    let first = below(hash as u32, buckets);
    let second = below((hash >> 32) as u32, buckets);
    // Two buckets in any case.
    let second = if second != first {
        second
    } else if first + 1 < buckets {
        first + 1
    } else {
        0
    };
    let other = mix(hash, 0);
    Place { first, second, tag: 1 + below(other as u32, 255), lock: (other >> 40) as u32 }
}

/// Maps 32 bits to a number below `limit` without a division.
#[inline(always)]
const fn below(bits: u32, limit: u32) -> u32 {
    ((bits as u64 * limit as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// Puts keys into a table as the program does; how many found no slot.
    fn fill(places: impl Iterator<Item = Place>, buckets: u32) -> usize {
        let mut used = vec![0u32; buckets as usize];
        let free = |used: &Vec<u32>, bucket: u32| LANES - used[bucket as usize];
        let mut refused = 0;
        for place in places {
            let (first, second) = (free(&used, place.first), free(&used, place.second));
            let bucket = if first >= NEARLY_FULL || first >= second { place.first } else { place.second };
            if free(&used, bucket) == 0 {
                refused += 1;
            } else {
                used[bucket as usize] += 1;
            }
        }
        refused
    }

    /// A full table of flows as they come: few addresses, ports that count up.
    #[test]
    fn a_full_table_finds_a_slot_for_every_flow() {
        for (flows, seed) in [(1_000u32, 1), (65_536, 2), (1_000_000, 3), (1_000_000, u64::MAX)] {
            let buckets = buckets_for(flows);
            let places = (0..flows).map(|number| {
                let [a, b, c, d] = number.to_be_bytes();
                let key = FlowKey4 {
                    low_addr: [10, 1, a, b % 4],
                    high_addr: [10, 2, 1, b / 4],
                    low_port: [c, d],
                    high_port: [1, 246],
                    protocol: 6,
                    _pad: [0; 3],
                };
                place(&words4(&key), seed, buckets)
            });
            assert_eq!(fill(places, buckets), 0, "{flows} flows");
            let places = (0..flows).map(|number| {
                let key = FlowKey6 { low_addr: u128::from(number).to_be_bytes(), protocol: 17, ..FlowKey6::default() };
                place(&words6(&key), seed, buckets)
            });
            assert_eq!(fill(places, buckets), 0, "{flows} IPv6 flows");
        }
    }

    /// Of a table that is filled and never emptied; flows that go leave homes behind, so that it is no fewer then.
    #[test]
    fn most_flows_are_at_home() {
        let buckets = buckets_for(1 << 16);
        for (flows, least) in [(1u32 << 12, 0.95), (1 << 15, 0.8), (1 << 16, 0.6)] {
            let mut taken = vec![0u16; buckets as usize];
            let mut at_home = 0;
            for number in 0..flows {
                let key = FlowKey4 { low_addr: number.to_be_bytes(), ..FlowKey4::default() };
                let place = place(&words4(&key), 11, buckets);
                let [first, second] = [place.first, place.second].map(|bucket| taken[bucket as usize].count_zeros());
                let in_first = first >= NEARLY_FULL || first >= second;
                let lanes = &mut taken[if in_first { place.first } else { place.second } as usize];
                let home = 1 << place.home_lane();
                if in_first && *lanes & home == 0 {
                    *lanes |= home;
                    at_home += 1;
                } else {
                    *lanes |= !*lanes & (*lanes + 1);
                }
            }
            let part = f64::from(at_home) / f64::from(flows);
            assert!(part >= least, "{part} of {flows} flows");
        }
    }

    #[test]
    fn tags_differ_evenly() {
        let mut counts = [0u32; 256];
        for port in 0..=u16::MAX {
            let key = FlowKey4 { low_port: port.to_be_bytes(), ..FlowKey4::default() };
            counts[place(&words4(&key), 7, 1000).tag as usize] += 1;
        }
        assert!(counts[1..].iter().all(|count| (150..400).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn words_are_those_in_memory(bytes: [u8; 40], protocol: u8) {
            let low = |range: core::ops::Range<usize>| <[u8; 16]>::try_from(&bytes[range]).unwrap();
            let key = FlowKey6 { low_addr: low(0..16), high_addr: low(16..32), low_port: [bytes[32], bytes[33]], high_port: [bytes[34], bytes[35]], protocol, _pad: [0; 3] };
            let mut memory = Vec::new();
            memory.extend(key.low_addr);
            memory.extend(key.high_addr);
            memory.extend(key.low_port);
            memory.extend(key.high_port);
            memory.extend([protocol, 0, 0, 0]);
            let words: Vec<u8> = words6(&key).iter().flat_map(|word| word.to_ne_bytes()).collect();
            prop_assert_eq!(words, memory);
            let key4 = FlowKey4 { low_addr: [bytes[0], bytes[1], bytes[2], bytes[3]], high_addr: [bytes[4], bytes[5], bytes[6], bytes[7]], low_port: key.low_port, high_port: key.high_port, protocol, _pad: [0; 3] };
            prop_assert_eq!(words4(&key4)[0].to_ne_bytes(), <[u8; 8]>::try_from(&bytes[..8]).unwrap());
            prop_assert_eq!(words4(&key4)[1], words6(&key)[4]);
        }

        #[test]
        fn a_place_is_in_the_table_and_has_two_buckets(low_addr: [u8; 16], ports: [u8; 4], seed: u64, buckets in 4u32..1 << 21) {
            let [a, b, c, d] = ports;
            let key = FlowKey6 { low_addr, low_port: [a, b], high_port: [c, d], ..FlowKey6::default() };
            let found = place(&words6(&key), seed, buckets);
            prop_assert!(found.first < buckets && found.second < buckets && found.first != found.second);
            prop_assert!((1..256).contains(&found.tag));
            let [a, b, c, d, ..] = low_addr;
            let key = FlowKey4 { low_addr: [a, b, c, d], ..FlowKey4::default() };
            let found = place(&words4(&key), seed, buckets);
            prop_assert!(found.first < buckets && found.second < buckets && found.first != found.second);
        }

        #[test]
        fn lanes_are_those_with_the_tag(tags: [u8; 8], tag: u8) {
            let mut lanes = lanes_of(u64::from_le_bytes(tags), u32::from(tag));
            let mut found = Vec::new();
            while lanes != 0 {
                found.push(lowest_lane(lanes));
                lanes &= lanes - 1;
            }
            let expected: Vec<u32> = (0..8).filter(|lane| tags[*lane as usize] == tag).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(free_lanes(u64::from_le_bytes(tags)) as usize, tags.iter().filter(|tag| **tag == 0).count());
        }

        #[test]
        fn a_tag_is_put_where_it_is_found(tag in 1u32..256, lane in 0u32..8) {
            prop_assert_eq!(lowest_lane(lanes_of(tag_at(tag, lane), tag)), lane);
            prop_assert_eq!(free_lanes(tag_at(tag, lane)), 7);
        }
    }
}
