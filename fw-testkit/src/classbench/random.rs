//! Random numbers that are the same on every run.

/// SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A port, both ends included.
    pub fn port(&mut self, (first, last): (u16, u16)) -> u16 {
        first + u16::try_from(self.below(u64::from(last - first) + 1)).unwrap_or(0)
    }

    /// One of the values, as often as its weight says.
    pub(super) fn pick<T: Copy>(&mut self, weighted: &[(T, u32)]) -> Option<T> {
        let total: u64 = weighted.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = if total == 0 { return None } else { self.below(total) };
        for (value, weight) in weighted {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return Some(*value),
            }
        }
        None
    }
}
