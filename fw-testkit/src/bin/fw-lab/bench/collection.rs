//! What sweeping a full table of flows costs, what a flow takes of memory, that no living flow is collected, and how soon
//! the real agent collects dead ones.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fw_common::conntrack::REMOVAL_GRACE;
use fw_testkit::collection;
use fw_testkit::wait;

use super::chain::ends::Load;
use super::chain::traffic::Traffic;
use super::forwarder::Kind;
use super::outcome::Outcome;
use super::policy::Policy;
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
    let cost = session.core.alone_on(|| collection::sweep_cost(swept))??;
    let survival = collection::survive(connections, LIVING, MAX_FLOWS)?;
    ensure!(survival.killed == 0, "living flows were collected: {survival:?}");
    let million = f64::from(SWEPT) / f64::from(cost.flows.max(1));
    let mut figures = vec![
        ("sweep", cost.round.as_secs_f64() * 1e3, "ms"),
        ("bytes_per_flow", cost.bytes_per_flow, "bytes"),
        ("collected", survival.collected as f64, "flows"),
        ("refused", survival.refused as f64, "flows"),
        ("killed", f64::from(survival.killed), "flows"),
    ];
    let patience = if session.quick { None } else { Some(patience(session)?) };
    if let Some(patience) = &patience {
        figures.push(("dead_flows_gone_within", patience.overdue.as_secs_f64(), "s"));
        figures.push(("agent_share_of_core_1m", patience.share, "of a processor"));
    }
    let left_out = if patience.is_none() { "; left out: dead flows and the real agent" } else { "" };
    let mut outcome = Outcome {
        title: format!(
            "{NAME}: a sweep of {} flows; {} connections beside {LIVING} living ones{left_out}",
            cost.flows, survival.passed
        ),
        columns: vec!["", "value", ""],
        ..Outcome::default()
    };
    for (name, value, unit) in figures {
        outcome.rows.push(vec![name.to_owned(), format!("{value:.3}"), unit.to_owned()]);
        outcome.figure(format!("{NAME}/{name}"), value, unit);
    }
    outcome.ratio("sweep_share_of_core_1m", cost.share * million);
    if let Some(patience) = &patience {
        outcome.ratio("dead_flows_gone_within_10s_1m", patience.overdue.as_secs_f64() / 10.0);
    }
    Ok(vec![outcome])
}

/// What the real agent did with a table of a million flows.
struct Patience {
    /// How long after it was due the last of all dead flows was collected: the longest time between two looks at a flow.
    overdue: Duration,
    /// What part of a processor the agent took while all of them lived.
    share: f64,
}

/// Opens a million flows within some seconds, lets them live, and waits until the agent has collected the last one.
fn patience(session: &Session) -> Result<Patience> {
    /// Seconds that a flow lives: longer than it takes to open all of them.
    const LIFE: u32 = 20;
    /// How long the agent is watched while all of them live.
    const WATCHED: Duration = Duration::from_secs(10);
    let policy = Policy::new(10).with_max_flows(MAX_FLOWS).with_max_half_open(MAX_FLOWS).with_udp_timeout(LIFE);
    let mut candidates = session.raise(&[Kind::Firewall], &policy)?;
    let candidate = &mut candidates[0];
    candidate.ends.set_plan(Traffic::UDP.new_flows(), Traffic::UDP.frame_len)?;
    candidate.ends.send(session.core, Load::exactly(SWEPT.into()))?;
    let opened = Instant::now();
    let process = candidate.status("/pid")?;
    let held = candidate.status("/flows/ipv4")?;
    ensure!(held * 1_000 >= u64::from(SWEPT) * 999, "only {held} of {SWEPT} flows were opened in time");
    let (before, start) = (processor_time(process)?, Instant::now());
    // The interval that is measured: asking the agent meanwhile would cost it time.
    thread::sleep(WATCHED);
    let share = (processor_time(process)? - before).as_secs_f64() / start.elapsed().as_secs_f64();
    wait::until("the agent has collected all flows", Duration::from_secs(120), || {
        (!matches!(candidate.status("/flows/ipv4"), Ok(1..))).then_some(())
    })?;
    ensure!(candidate.status("/flows/ipv4")? == 0, "the agent has not collected all flows");
    let due = Duration::from_secs(u64::from(LIFE + REMOVAL_GRACE));
    Ok(Patience { overdue: opened.elapsed().saturating_sub(due), share })
}

/// For how long a process has used processors: fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
fn processor_time(process: u64) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("read the agent's processor time")?;
    // The name in field 2 may hold anything but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').context("no name in the agent's state")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
