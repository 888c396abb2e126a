//! How many TCP connections are open at the same time: as many as the table is made for, each judged right, and no more.

use anyhow::{Result, ensure};
use fw_agent::dataplane::kernel::RESERVED_SHARE;

use super::candidate::Candidate;
use super::chain::core::Core;
use super::chain::ends::Load;
use super::chain::traffic::Traffic;
use super::forwarder::Kind;
use super::outcome::Outcome;
use super::policy::Policy;
use super::session::Session;

pub(super) const NAME: &str = "concurrent";

/// Connections that are tried when the table is full.
const BEYOND: u32 = 10_000;

/// What became of the packets.
struct Judged {
    /// Connections that the table takes: all but the reserve for the host.
    capacity: u32,
    /// Connections that it held when all were open.
    held: u64,
    /// Segments that passed, one of each open connection.
    passed: u64,
    /// SYNs of further connections that passed.
    opened_beyond: u64,
    /// Segments that passed after these, one of each open connection.
    passed_after: u64,
}

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    eprintln!("{NAME}");
    let max_flows = if session.quick { 1 << 17 } else { 1 << 20 };
    let mut candidates = session.raise(&[Kind::Firewall], &Policy::new(10).with_max_flows(max_flows))?;
    let judged = fill(&mut candidates[0], max_flows, session.core)?;
    let mut outcome = Outcome {
        title: format!("{NAME}: TCP/IPv4 connections that are open at once, max_flows = {max_flows}"),
        columns: vec!["", "value"],
        ..Outcome::default()
    };
    let Judged { capacity, held, passed, opened_beyond, passed_after } = judged;
    for (name, value) in [
        ("capacity", u64::from(capacity)),
        ("held", held),
        ("passed", passed),
        ("opened_beyond", opened_beyond),
        ("passed_after", passed_after),
    ] {
        outcome.rows.push(vec![name.to_owned(), value.to_string()]);
        outcome.figure(format!("{NAME}/{name}"), value as f64, "connections");
    }
    let right = passed.min(passed_after).min(capacity.into()) as f64 / f64::from(capacity);
    let wrong = opened_beyond as f64 / f64::from(BEYOND);
    outcome.ratio("concurrent_judged_right", right * (1.0 - wrong));
    outcome.ratio("concurrent_of_max_flows", held as f64 / f64::from(max_flows));
    Ok(vec![outcome])
}

/// Opens connections until the table is full, sends a segment in each, tries further ones, and sends a segment in each again.
fn fill(candidate: &mut Candidate, max_flows: u32, core: Core) -> Result<Judged> {
    let capacity = max_flows - max_flows / RESERVED_SHARE;
    let traffic = Traffic { flows: capacity, ..Traffic::TCP };
    candidate.ends.set_plan(traffic.opening(), traffic.frame_len)?;
    candidate.ends.send(core, Load::exactly(traffic.opening_packets()))?;
    let held = candidate.status("/flows/ipv4")?;
    ensure!(held <= u64::from(max_flows), "the table holds {held} flows, more than it may");
    let passed = one_segment_of_each(candidate, &traffic, core)?;
    candidate.ends.set_plan(traffic.first_segments(), traffic.frame_len)?;
    candidate.ends.rewind(capacity.into())?;
    let opened_beyond = candidate.ends.send(core, Load::exactly(BEYOND.into()))?.arrived;
    let passed_after = one_segment_of_each(candidate, &traffic, core)?;
    Ok(Judged { capacity, held, passed, opened_beyond, passed_after })
}

fn one_segment_of_each(candidate: &mut Candidate, traffic: &Traffic, core: Core) -> Result<u64> {
    candidate.ends.set_plan(traffic.new_flows(), traffic.frame_len)?;
    candidate.ends.rewind(0)?;
    Ok(candidate.ends.send(core, Load::exactly(traffic.flows.into()))?.arrived)
}
