//! Pseudo-random numbers (Marsaglia, Xorshift RNGs, 2003), the same for the same seed.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Not zero, from which no other number comes, and not near to that of the next seed.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| random.step());
        random
    }

    const fn step(&mut self) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.step();
        usize::try_from((self.0 >> 8) % bound.max(1) as u64).unwrap_or(0)
    }

    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}
