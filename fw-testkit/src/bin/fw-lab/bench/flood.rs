//! A flood of forged SYNs through the firewall, with connections that exist and new ones beside it.

use std::time::Duration;

use anyhow::{Context, Result};
use fw_testkit::flood::{Arena, Flood, Report};

use super::outcome::{Curve, Outcome};
use super::session::Session;

/// The benchmark.
pub(super) const NAME: &str = "flood";

/// Of which a quarter may be half-open.
const MAX_FLOWS: u32 = 1_000_000;

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    eprintln!("{NAME}");
    let artifacts = &session.artifacts;
    let conntrack = format!("max_flows = {MAX_FLOWS}");
    let arena = Arena::raise(artifacts.programs.clone(), artifacts.object.clone(), &conntrack)
        .context("raise the firewall for the flood")?;
    let flood = Flood {
        packets: if session.quick { 1_000_000 } else { 10_000_000 },
        at_least: if session.quick { Duration::ZERO } else { Duration::from_secs(20) },
        per_second: 600_000,
        call: 500_000,
        processor: Some(session.core.number()),
        established: 1_000,
        new_per_second: 100,
    };
    Ok(vec![outcome(&arena.run(&flood)?)])
}

fn outcome(report: &Report) -> Outcome {
    let Report { transfers, newcomers, .. } = report;
    let mut outcome = Outcome {
        title: format!("{NAME}: {} forged SYNs in {:.1} s", report.sent, report.lasted.as_secs_f64()),
        columns: vec!["what", "value"],
        ..Outcome::default()
    };
    let rate = report.rate() / 1e6;
    let dropped = report.dropped.iter().map(|(reason, packets)| format!("{reason} {packets}"));
    let rows = [
        ("received by the firewall", report.received.to_string()),
        ("flows opened", report.opened.to_string()),
        ("of them in a second, million", format!("{rate:.3}")),
        ("connections before", transfers.connections.to_string()),
        ("of them lost", transfers.lost.to_string()),
        ("their answers", transfers.answered.to_string()),
        ("slowest answer, ms", format!("{:.1}", transfers.slowest.as_secs_f64() * 1e3)),
        ("new connections", newcomers.tried.to_string()),
        ("of them succeeded", newcomers.succeeded.to_string()),
        ("99 % within, ms", format!("{:.1}", newcomers.percentile_99.as_secs_f64() * 1e3)),
        ("half-open flows, at most", report.most_half_open().to_string()),
        ("half-open flows that gave way", report.evicted.to_string()),
        ("dropped", dropped.collect::<Vec<_>>().join(", ")),
    ];
    outcome.rows.extend(rows.map(|(what, value)| vec![what.to_owned(), value]));
    outcome.ratio("flood_established_kept", 1.0 - transfers.lost as f64 / transfers.connections.max(1) as f64);
    outcome.ratio("flood_new_succeeded", newcomers.succeeded as f64 / newcomers.tried.max(1) as f64);
    outcome.figure("flood/rate", rate, "million/s");
    outcome.curves = curves(report);
    outcome.figure("flood/half_open", report.most_half_open() as f64, "flows");
    outcome
}

/// The course of the flood: half-open flows, and flows opened in each second.
fn curves(report: &Report) -> Vec<Curve> {
    /// Opened flows are counted over as long a time.
    const SPAN: Duration = Duration::from_millis(500);
    let course = &report.course;
    let half_open = course.iter().map(|moment| (moment.at.as_secs_f64(), moment.half_open as f64));
    let mut opened = Vec::new();
    let mut last = course.first();
    for moment in course {
        let Some(before) = last else { break };
        let span = moment.at.saturating_sub(before.at);
        if span >= SPAN {
            let rate = moment.opened.saturating_sub(before.opened) as f64 / span.as_secs_f64();
            opened.push((moment.at.as_secs_f64(), rate));
            last = Some(moment);
        }
    }
    [("half-open flows", half_open.collect()), ("flows opened in a second", opened)]
        .map(|(label, points)| Curve { plot: NAME, label: label.to_owned(), points })
        .into()
}
