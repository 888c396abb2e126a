//! How long packets were on their way: their numbers by bucket, and what is read off them.

use anyhow::Result;
use aya::maps::{Map, PerCpuArray};
use fw_bench_ebpf::{DELAY_BUCKETS, longest_in};

/// Numbers of packets by bucket of their delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Delays(Vec<u64>);

impl Delays {
    pub(in crate::bench) fn none() -> Self {
        Self(vec![0; DELAY_BUCKETS])
    }

    /// Reads the map `DELAYS`.
    pub(super) fn read(map: &Map) -> Result<Self> {
        let buckets = PerCpuArray::<_, u64>::try_from(map)?;
        let count = |bucket| Ok(buckets.get(&bucket, 0)?.iter().sum());
        (0..DELAY_BUCKETS as u32).map(count).collect::<Result<_>>().map(Self)
    }

    /// Adds what came between two readings.
    pub(in crate::bench) fn add(&mut self, before: &Self, after: &Self) {
        for ((sum, before), after) in self.0.iter_mut().zip(&before.0).zip(&after.0) {
            *sum += after - before;
        }
    }

    /// Number of packets.
    pub(in crate::bench) fn packets(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The delay that this part of the packets do not exceed, in nanoseconds, rounded up by 1/32 at most; 1: the longest.
    pub(in crate::bench) fn percentile(&self, part: f64) -> u64 {
        let wanted = ((self.packets() as f64 * part).ceil() as u64).max(1);
        let mut packets = 0;
        let bucket = self.0.iter().position(|in_bucket| {
            packets += in_bucket;
            packets >= wanted
        });
        bucket.map_or(0, |bucket| longest_in(bucket as u32))
    }

    /// What part of the packets took no longer than so many nanoseconds, at each bucket that has some.
    pub(in crate::bench) fn distribution(&self) -> Vec<(f64, f64)> {
        let (all, mut packets) = (self.packets() as f64, 0);
        let buckets = (0..).zip(&self.0).filter(|(_, in_bucket)| **in_bucket != 0);
        buckets
            .map(|(bucket, in_bucket)| {
                packets += in_bucket;
                (longest_in(bucket) as f64, packets as f64 / all)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use fw_bench_ebpf::bucket_of;

    use super::*;

    fn of(delays: &[u64]) -> Delays {
        let (before, mut after) = (Delays::none(), Delays::none());
        delays.iter().for_each(|delay| after.0[bucket_of(*delay) as usize] += 1);
        let mut sum = Delays::none();
        sum.add(&before, &after);
        sum
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_delays() {
        let delays = of(&(1..=1000).map(|number| number * 100).collect::<Vec<_>>());
        for (part, delay) in [(0.5, 50_000), (0.99, 99_000), (0.999, 99_900), (1.0, 100_000)] {
            let found = delays.percentile(part);
            assert!(delay <= found && found <= delay + delay / 32 + 1, "{part}: {found}");
        }
        assert_eq!(delays.packets(), 1000);
        assert_eq!(Delays::none().percentile(0.5), 0);
    }

    #[test]
    fn a_distribution_ends_with_all_packets() {
        assert_eq!(of(&[3, 3, 3, 20]).distribution(), [(3.0, 0.75), (20.0, 1.0)]);
    }
}
