//! One TCP connection of iperf3 between real sockets, through each candidate in turn.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fw_testkit::lab::{PairLab, PairNode, SERVER_ADDRESS};
use fw_testkit::process::{self, Running};
use fw_testkit::wait;

use super::outcome::Outcome;
use super::row::Row;
use super::sample::Measured;
use super::session::Session;

/// The benchmark.
pub(super) const NAME: &str = "iperf3-tcp";

pub(super) fn measure(session: &Session, rows: &[Row]) -> Result<Outcome> {
    eprintln!("{NAME}");
    let results = alternate(rows, session.quick)?;
    let mut outcome = Outcome {
        title: format!("{NAME}: one TCP connection, MTU 1500, segments as on the wire"),
        columns: vec!["candidate", "Gbit/s", "of redirect"],
        ..Outcome::default()
    };
    let [redirect, firewall, nftables, _] = &results[..] else { return Ok(outcome) };
    for result in &results {
        let rate = 1.0 / result.cost();
        let of_redirect = format!("{:.3}", result.rate_to(redirect));
        outcome.rows.push(vec![result.label.clone(), format!("{rate:.2}"), of_redirect]);
        outcome.figure(format!("{NAME}/{}", result.label), rate, "Gbit/s");
    }
    outcome.ratio(format!("{NAME}/firewall:redirect"), firewall.rate_to(redirect));
    outcome.ratio(format!("{NAME}/firewall:nftables"), firewall.rate_to(nftables));
    Ok(outcome)
}

/// What a transfer costs in each row, in nanoseconds a bit: the inverse of Gbit/s.
fn alternate(rows: &[Row], quick: bool) -> Result<Vec<Measured>> {
    let (rounds, seconds) = if quick { (2, 1) } else { (5, 3) };
    let mut results: Vec<Measured> = rows.iter().map(|row| Measured::new(row.kind.name())).collect();
    let servers: Vec<Running> = rows.iter().map(|row| start_server(&row.lab)).collect::<Result<_>>()?;
    for _ in 0..rounds {
        for (row, result) in rows.iter().zip(&mut results) {
            let rate = iperf3(&row.lab, seconds).with_context(|| format!("iperf3 through {}", row.kind.name()))?;
            result.add(1e9 / rate, 1.0);
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
