//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Folds a sum of 16-bit words to 16 bits, without the final complement.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    // Four folds bring any 64-bit sum down to 16 bits.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of the 16-bit words of `bytes`, in network byte order; an odd last byte counts as the high half of a word.
#[inline(always)]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0u64;
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        total += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(*last) << 8;
    }
    total
}

/// The same for an IPv4 header without options, up to a factor that [`fold`] takes out: words of four bytes in the order of
/// this machine, which changes nothing of whether the folded sum is 0xffff (RFC 1071, section 2).
#[inline(always)]
#[must_use]
pub const fn sum_of_header(header: &[u8; 20]) -> u64 {
    let mut total = 0;
    let mut at = 0;
    while at < 20 {
        total += u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as u64;
        at += 4;
    }
    total
}

/// The sum of the pseudo-header of RFC 8200, section 8.1, and, with IPv4 addresses, of RFC 9293, section 3.1.
#[inline(always)]
#[must_use]
pub fn pseudo_header(src_addr: &[u8], dst_addr: &[u8], protocol: u8, len: u16) -> u64 {
    sum(src_addr) + sum(dst_addr) + u64::from(protocol) + u64::from(len)
}

/// The checksum to write for data whose words (with a zero checksum field) add up to `sum`.
#[inline(always)]
#[must_use]
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// The checksum after one 16-bit word of the data changed from `old` to `new` (RFC 1624, equation 3).
#[inline(always)]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold((!checksum as u64) + (!old as u64) + new as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    proptest! {
        #[test]
        fn an_updated_checksum_verifies(mut data in proptest::collection::vec(any::<u8>(), 4..64), new: u16) {
            data[2] = 0;
            data[3] = 0;
            // A header never sums to zero in all its words: RFC 1624 relies on that, too.
            data[0] |= 0x40;
            let mut data: Vec<u8> = data;
            if data.len() % 2 == 1 { data.pop(); }
            let checksum = finish(sum(&data));
            let old = u16::from_be_bytes([data[0], data[1]]);
            let new = new | 0x4000;
            let updated = update(checksum, old, new);
            data[..2].copy_from_slice(&new.to_be_bytes());
            data[2..4].copy_from_slice(&updated.to_be_bytes());
            prop_assert_eq!(fold(sum(&data)), 0xffff);
        }
    }
}
