//! What was measured, round by round, and what is made of it.

/// What calls of the kernel wait for other processors, in nanoseconds for each packet of 65,536 in a call, on the quiet
/// machine where the aims were set: the chain `drop` took 372 by the clock there, of which packets took 152. It is a
/// constant here, because today's wait says how busy the other processors are, and nothing about who forwards.
const CALLS_WAIT: f64 = 220.0;

/// What one lane cost: one value a round.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) label: String,
    /// Nanoseconds that the processor works on a packet, or another cost of which less is better.
    pub(super) costs: Vec<f64>,
    /// The smallest part of the packets that arrived in a round.
    pub(super) arrived: f64,
}

impl Measured {
    pub(super) fn new(label: &str) -> Self {
        Self { label: label.to_owned(), costs: Vec::new(), arrived: 1.0 }
    }

    pub(super) fn add(&mut self, cost: f64, arrived: f64) {
        self.costs.push(cost);
        self.arrived = self.arrived.min(arrived);
    }

    /// Adds the rounds of the same lane on another instance.
    pub(super) fn extend(&mut self, other: &Self) {
        self.costs.extend(&other.costs);
        self.arrived = self.arrived.min(other.arrived);
    }

    /// The cost.
    pub(super) fn cost(&self) -> f64 {
        median(self.costs.clone())
    }

    /// This lane's rate as a part of another's, as it was on the clock when the aims were set. Costs are in nanoseconds.
    pub(super) fn rate_on_the_clock_to(&self, other: &Self) -> f64 {
        by_round(&self.costs, &other.costs, |own, theirs| (theirs + CALLS_WAIT) / (own + CALLS_WAIT))
    }

    /// This lane's rate as a part of another's: only the work on packets takes time.
    pub(super) fn rate_to(&self, other: &Self) -> f64 {
        by_round(&self.costs, &other.costs, |own, other| other / own)
    }

    /// What this lane costs above a base, in the same unit.
    pub(super) fn above(&self, base: &Self) -> f64 {
        by_round(&self.costs, &base.costs, |own, base| own - base)
    }

    /// What this lane costs above a base, as a part of what another costs above it.
    pub(super) fn cost_to(&self, other: &Self, base: &Self) -> f64 {
        let rounds = self.costs.iter().zip(&other.costs).zip(&base.costs);
        median(rounds.map(|((own, other), base)| (own - base) / (other - base)).collect())
    }
}

/// The median of the rounds' values of a formula: what slows a whole round down cancels out.
fn by_round(own: &[f64], other: &[f64], formula: impl Fn(f64, f64) -> f64) -> f64 {
    median(own.iter().zip(other).map(|(own, other)| formula(*own, *other)).collect())
}

/// The middle value, which one disturbed round does not move.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(costs: [f64; 3]) -> Measured {
        Measured { label: String::new(), costs: costs.to_vec(), arrived: 1.0 }
    }

    #[test]
    fn the_ratio_is_that_of_the_undisturbed_rounds() {
        let floor = measured([8.0, 4.0, 8.0]);
        let firewall = measured([10.0, 5.0, 100.0]);
        assert!((firewall.rate_to(&floor) - 0.8).abs() < 1e-9);
        assert!((floor.cost() - 8.0).abs() < 1e-9);
        assert!((median(vec![1.0, 3.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_cost_of_the_measurement_is_taken_off_both() {
        let base = measured([100.0, 200.0, 100.0]);
        let own = measured([150.0, 300.0, 150.0]);
        let other = measured([300.0, 600.0, 300.0]);
        assert!((own.cost_to(&other, &base) - 0.25).abs() < 1e-9);
        assert!((own.above(&base) - 50.0).abs() < 1e-9);
    }
}
