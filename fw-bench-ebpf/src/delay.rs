//! Delays in buckets whose width grows with them, so that a small array holds every delay with the same relative error.

/// Logarithm of the number of buckets between a number and its double: a bucket is at most 1/32 of its delays wide.
const FINE_BITS: u32 = 5;
/// Buckets of the map `DELAYS`: for delays of less than 2^36 ns, some 68 s.
pub const DELAY_BUCKETS: usize = (36 - FINE_BITS as usize + 1) << FINE_BITS;

/// The bucket of a delay in nanoseconds; the last one also takes longer ones.
#[inline(always)]
#[must_use]
pub const fn bucket_of(nanoseconds: u64) -> u32 {
    if nanoseconds < 1 << FINE_BITS {
        return nanoseconds as u32;
    }
    let exponent = 63 - nanoseconds.leading_zeros();
    let fine = (nanoseconds >> (exponent - FINE_BITS)) as u32 & ((1 << FINE_BITS) - 1);
    let bucket = ((exponent - FINE_BITS + 1) << FINE_BITS) | fine;
    if bucket < DELAY_BUCKETS as u32 { bucket } else { DELAY_BUCKETS as u32 - 1 }
}

/// The longest delay of a bucket, in nanoseconds.
#[must_use]
pub const fn longest_in(bucket: u32) -> u64 {
    let (double, fine) = (bucket >> FINE_BITS, bucket as u64 & ((1 << FINE_BITS) - 1));
    match double {
        0 => fine,
        _ => ((fine + (1 << FINE_BITS) + 1) << (double - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_delays_and_is_narrow() {
        for shift in 0..36 {
            for delay in [1u64 << shift, (1 << shift) + (1 << shift) / 3, (2 << shift) - 1] {
                let bucket = bucket_of(delay);
                let longest = longest_in(bucket);
                assert!(delay <= longest && longest - delay <= delay / 32, "{delay} in {bucket}, up to {longest}");
                assert!(bucket == 0 || longest_in(bucket - 1) < delay, "{delay} in {bucket}");
            }
        }
    }

    #[test]
    fn the_last_bucket_takes_what_is_longer() {
        assert_eq!(bucket_of(u64::MAX), DELAY_BUCKETS as u32 - 1);
        assert_eq!(bucket_of((1 << 36) - 1), DELAY_BUCKETS as u32 - 1);
        assert_eq!(longest_in(DELAY_BUCKETS as u32 - 1), (1 << 36) - 1);
    }
}
