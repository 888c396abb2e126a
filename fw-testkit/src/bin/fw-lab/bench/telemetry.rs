//! What it costs to be watched: packets with everything that operators can switch on, beside packets that nobody sees.

use std::time::Duration;

use anyhow::{Context, Result};
use fw_testkit::process::Running;
use fw_testkit::wait;

use super::candidate::Candidate;
use super::chain::ends::Load;
use super::chain::measure::{self, Effort, Lane};
use super::chain::sink::Watch;
use super::chain::traffic::Traffic;
use super::forwarder::Kind;
use super::outcome::Outcome;
use super::policy::Policy;
use super::sample::Measured;
use super::session::{Raised, Session};

pub(super) const NAME: &str = "telemetry";

/// How closely packets are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watching {
    /// No log, no observer, no capture.
    Off,
    /// A log record for each flow, and an observer of all events: what may go on all the time.
    Flows,
    /// The same, and a capture whose filter no packet matches.
    All,
    /// The same with a capture of the headers of every packet.
    Headers,
}

const WAYS: [(&str, Watching); 4] =
    [("off", Watching::Off), ("flows", Watching::Flows), ("all", Watching::All), ("headers", Watching::Headers)];

const FLOWS: u32 = 1_000;
/// So many flows are half-open before the measurement, so that each further one that opens ends one: telemetry tells of both.
/// No fewer, because their slots rest for some milliseconds (`docs/adr/0013-half-open-flows.md`).
const HALF_OPEN: u32 = 1 << 17;
const POLICY: Policy = Policy::new(10).with_max_flows(2 * HALF_OPEN).with_max_half_open(HALF_OPEN);
/// Flows that a candidate opens in one round, at most.
const OPENED: u64 = 16_384;
/// Bytes that a capture of headers keeps: Ethernet, IPv6 and TCP with options.
const SNAPLEN: &str = "114";
/// Nobody sends from or to it.
const UNUSED_PORT: &str = "9";

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    eprintln!("{NAME}");
    let traffic = Traffic { flows: FLOWS, ..Traffic::UDP };
    let effort = session.effort();
    // Instances differ by where their memory lies, so there are several.
    let instances = if session.quick { 1 } else { 2 };
    let share = Effort { rounds: effort.rounds.div_ceil(instances), ..effort };
    let mut results: Vec<Measured> = Vec::new();
    for _ in 0..instances {
        let (mut candidates, watchers) = raise(session, &traffic)?;
        let found = measure::alternate(&mut candidates, &lanes(&traffic, effort), share)?;
        if results.is_empty() {
            results = found;
        } else {
            results.iter_mut().zip(&found).for_each(|(all, found)| all.extend(found));
        }
        drop(watchers);
    }
    Ok(vec![outcome(&traffic, &results)])
}

/// The chain without a forwarder, then a firewall for each way of watching, with who watches.
fn raise(session: &Session, traffic: &Traffic) -> Result<(Raised, Vec<Running>)> {
    let policy = |watching| if watching == Watching::Off { POLICY.without_log() } else { POLICY };
    let firewalls = WAYS.map(|(_, watching)| (Kind::Firewall, policy(watching)));
    let mut candidates = session.raise_each(&[&[(Kind::Drop, POLICY)], &firewalls[..]].concat(), Watch::Number)?;
    let mut watchers = Vec::new();
    for (candidate, (way, watching)) in candidates.iter_mut().skip(1).zip(WAYS) {
        measure::open(candidate, traffic, session.core)?;
        candidate.ends.set_plan(traffic.new_flows(), traffic.frame_len)?;
        candidate.ends.send(session.core, Load::exactly(HALF_OPEN.into()))?;
        watchers.extend(watch(candidate, watching).with_context(|| format!("start who watches: {way}"))?);
    }
    Ok((candidates, watchers))
}

/// Starts who watches, and waits until the firewall shows something.
fn watch(candidate: &Candidate, watching: Watching) -> Result<Vec<Running>> {
    let filter: Option<&[&str]> = match watching {
        Watching::Off => return Ok(Vec::new()),
        Watching::Flows => None,
        Watching::All => Some(&["--port", UNUSED_PORT]),
        Watching::Headers => Some(&["--snaplen", SNAPLEN]),
    };
    let agent = candidate.agent()?;
    let mut watchers = vec![agent.fwctl_in_background("observe", &["observe", "--follow"])?];
    if let Some(filter) = filter {
        let capture = ["capture", "--seconds", "3600", "--write", "/dev/null"];
        watchers.push(agent.fwctl_in_background("capture", &[&capture, filter].concat())?);
    }
    for watcher in &watchers {
        // Both say so when the firewall has granted what they asked for.
        wait::until_true("fwctl watches", Duration::from_secs(10), || !watcher.output().is_empty())?;
    }
    Ok(watchers)
}

/// Packets of established flows, and packets that open flows, to each candidate.
fn lanes(traffic: &Traffic, effort: Effort) -> Vec<Lane> {
    let labels = ["drop".to_owned()].into_iter().chain(WAYS.map(|(name, _)| format!("firewall, {name}")));
    let labels: Vec<String> = labels.collect();
    let established = (0..)
        .zip(&labels)
        .map(|(place, label)| Lane::new(place, label, traffic.established(), traffic.frame_len, effort.slot));
    let new = (0..).zip(&labels).skip(1).map(|(place, label)| {
        let load = Load { packets: OPENED, ..Load::during(effort.slot) };
        let label = format!("{label}, new");
        let plan = traffic.new_flows();
        let warm_up = Load { packets: OPENED / 4, ..load };
        Lane { load, warm_up, ..Lane::new(place, &label, plan, traffic.frame_len, effort.slot) }
    });
    established.chain(new).collect()
}

fn outcome(traffic: &Traffic, results: &[Measured]) -> Outcome {
    let title = format!("{NAME}: {traffic}; a new flow also ends one; {} rules", POLICY.rules);
    let mut outcome = Outcome::of_chain(NAME, "packets", title, results);
    let [drop, established @ ..] = results else { return outcome };
    let (established, new) = established.split_at(WAYS.len());
    for (place, (way, watching)) in WAYS.iter().enumerate().skip(1) {
        let [established, new] = [established, new].map(|lanes| lanes[place].cost_to(&lanes[0], drop));
        outcome.ratio(format!("telemetry_{way}_vs_off_established"), established);
        outcome.ratio(format!("telemetry_{way}_vs_off_new"), new);
        if *watching == Watching::All {
            outcome.ratio("telemetry_on_vs_off", established.max(new));
        }
    }
    outcome
}
