//! Lowers the maximum segment size that a SYN announces, for paths whose MTU its sender cannot learn.

use crate::wire::checksum;

/// What a SYN says after the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The maximum segment size.
    pub mss: u16,
    /// The checksum of the segment.
    pub checksum: u16,
}

/// The maximum segment size and the checksum of a SYN that may announce no more than `limit`; `None` if it announces no more.
///
/// `is_odd`: the value begins at an odd offset of the segment, behind an option of odd length.
#[inline(always)]
#[must_use]
pub const fn lower(announced: u16, limit: u16, checksum: u16, is_odd: bool) -> Option<Lowered> {
    if announced <= limit {
        return None;
    }
    // Both halves lie in different words then, each in the other's place; sums of words do not care which word it is.
    let (old, new) = if is_odd { (announced.swap_bytes(), limit.swap_bytes()) } else { (announced, limit) };
    Some(Lowered { mss: limit, checksum: checksum::update(checksum, old, new) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn a_lowered_segment_verifies(mut data: Vec<u16>, at in 2usize..20, announced: u16, limit: u16) {
            data.resize(16, 0x4000);
            let mut bytes: Vec<u8> = data.iter().flat_map(|word| word.to_be_bytes()).collect();
            // The ports of a segment, so that it never sums to zero.
            bytes[0] |= 0x40;
            bytes[30..32].fill(0);
            bytes[at..at + 2].copy_from_slice(&announced.to_be_bytes());
            let checksum = checksum::finish(checksum::sum(&bytes));
            match lower(announced, limit, checksum, at % 2 == 1) {
                None => prop_assert!(announced <= limit),
                Some(lowered) => {
                    prop_assert!(announced > limit && lowered.mss == limit);
                    bytes[at..at + 2].copy_from_slice(&lowered.mss.to_be_bytes());
                    bytes[30..32].copy_from_slice(&lowered.checksum.to_be_bytes());
                    prop_assert_eq!(checksum::fold(checksum::sum(&bytes)), 0xffff);
                }
            }
        }
    }
}
