//! Runs iperf3 through each candidate in turn, round after round, so that what disturbs the machine disturbs all alike.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fw_testkit::lab::{PairLab, PairNode, SERVER_ADDRESS};
use fw_testkit::process::{self, Running};
use fw_testkit::wait;

use super::candidate::{Candidate, Kind};

/// What one candidate reached: bits per second, one value a round.
pub(super) struct Measured {
    pub(super) kind: Kind,
    pub(super) rounds: Vec<f64>,
}

impl Measured {
    pub(super) fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// The median of the rounds' ratios to another candidate: what slows a whole round down cancels out.
    pub(super) fn ratio_to(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, other)| own / other).collect())
    }
}

/// The middle value, which one disturbed round does not move.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

pub(super) fn alternate(candidates: &[Candidate], quick: bool) -> Result<Vec<Measured>> {
    let (rounds, seconds) = if quick { (5, 2) } else { (11, 5) };
    let servers: Vec<Running> =
        candidates.iter().map(|candidate| start_server(&candidate.lab)).collect::<Result<_>>()?;
    let mut results: Vec<Measured> =
        candidates.iter().map(|candidate| Measured { kind: candidate.kind, rounds: Vec::new() }).collect();
    for round in 1..=rounds {
        for (candidate, result) in candidates.iter().zip(&mut results) {
            let rate =
                iperf3(&candidate.lab, seconds).with_context(|| format!("iperf3 through {}", candidate.kind.name()))?;
            eprintln!("round {round} of {rounds}: {:<9} {:6.2} Gbit/s", candidate.kind.name(), rate / 1e9);
            result.rounds.push(rate);
        }
    }
    drop(servers);
    Ok(results)
}

fn start_server(lab: &PairLab) -> Result<Running> {
    let log = lab.directory().join("iperf3-server.log");
    let server = Running::start(&mut lab.command(PairNode::Server, &["iperf3", "--server", "--forceflush"])?, log)?;
    wait::until_true("the iperf3 server listens", Duration::from_secs(5), || server.output().contains("listening"))?;
    Ok(server)
}

/// One run from the client to the server; what the receiver counted, in bits per second.
fn iperf3(lab: &PairLab, seconds: u32) -> Result<f64> {
    let line = [
        "iperf3",
        "--json",
        "--connect-timeout",
        "3000",
        "--client",
        &SERVER_ADDRESS.to_string(),
        "--time",
        &seconds.to_string(),
    ];
    let printed = process::run(&mut lab.command(PairNode::Client, &line)?)?;
    let report: serde_json::Value = serde_json::from_str(&printed.stdout).context("iperf3 printed no JSON")?;
    if let Some(error) = report["error"].as_str() {
        bail!("{error}");
    }
    report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reported no rate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_undisturbed_rounds() {
        let measured = |kind, rounds: [f64; 3]| Measured { kind, rounds: rounds.to_vec() };
        let floor = measured(Kind::Redirect, [10.0, 4.0, 8.0]);
        let firewall = measured(Kind::Firewall, [8.0, 3.2, 1.0]);
        assert!((firewall.ratio_to(&floor) - 0.8).abs() < 1e-9);
        assert!((floor.median() - 8.0).abs() < 1e-9);
        assert!((median(vec![1.0, 3.0]) - 2.0).abs() < 1e-9);
    }
}
