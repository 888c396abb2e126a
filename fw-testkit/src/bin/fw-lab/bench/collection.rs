//! What sweeping a full table of flows costs, what a flow takes of memory, and that no living flow is collected.

use anyhow::{Result, ensure};
use fw_testkit::collection;

use super::outcome::Outcome;
use super::session::Session;

pub(super) const NAME: &str = "collection";

/// Flows of the table that is swept.
const SWEPT: u32 = 1_000_000;
/// Flows that live, in a table of so many.
const LIVING: u32 = 1_000;
const MAX_FLOWS: u32 = 1_048_576;

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    eprintln!("{NAME}");
    let (swept, connections) = if session.quick { (SWEPT / 10, 100_000) } else { (SWEPT, 2_000_000) };
    let cost = collection::sweep_cost(swept)?;
    let survival = collection::survive(connections, LIVING, MAX_FLOWS)?;
    ensure!(survival.killed == 0, "living flows were collected: {survival:?}");
    let million = f64::from(SWEPT) / f64::from(cost.flows.max(1));
    let mut outcome = Outcome {
        title: format!(
            "{NAME}: a sweep of {} flows; {} connections beside {LIVING} living ones",
            cost.flows, survival.passed
        ),
        columns: vec!["", "value"],
        ..Outcome::default()
    };
    for (name, value, unit) in [
        ("sweep", cost.round.as_secs_f64() * 1e3, "ms"),
        ("bytes_per_flow", cost.bytes_per_flow, "bytes"),
        ("collected", survival.collected as f64, "flows"),
        ("refused", survival.refused as f64, "flows"),
        ("killed", f64::from(survival.killed), "flows"),
    ] {
        outcome.rows.push(vec![name.to_owned(), format!("{value:.1} {unit}")]);
        outcome.figure(format!("{NAME}/{name}"), value, unit);
    }
    outcome.ratio("sweep_share_of_core_1m", cost.share * million);
    Ok(vec![outcome])
}
