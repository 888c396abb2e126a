//! Large rule sets: what a new flow costs with 100,000 rules and with ten, how soon a policy and a change of it are in force.

use std::time::Duration;

use anyhow::Result;
use fw_testkit::classbench::measure::{self, Loaded, Steps, TRACES};
use fw_testkit::classbench::{Family, RuleSet, Style, Trace};

use super::chain::core::Core;
use super::outcome::Outcome;
use super::sample::Measured;
use super::session::Session;

pub(super) const NAME: &str = "rule_sets";

const RULES: [usize; 2] = [10, 100_000];
/// Packets of a trace in one round, and as many before them that warm the caches up, which the other set has used.
const PACKETS: usize = 1_000;
const MAX_ROUNDS: usize = 9;
/// Room for the packets of all traces and rounds; a quarter may be half-open.
const MAX_FLOWS: u32 = 1 << 18;
/// Other rules, and prefixes of the list before and after.
const LIST: (usize, (usize, usize)) = (10_000, (100_000, 100_100));

/// Rules that are analysed as `fwctl policy check` does.
const ANALYSED: usize = 10_000;

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    let styles = if session.quick { &Style::ALL[..1] } else { &Style::ALL[..] };
    let columns = vec!["rules", "read", "compile", "load", "one rule changed", "one address", "MiB"];
    let columns = columns.into_iter().chain(TRACES.map(|(name, _)| name)).collect();
    let left_out = if session.quick { "; left out: other styles" } else { "" };
    let title = format!("{NAME}: like ClassBench's, IPv4; milliseconds, and nanoseconds for a new flow{left_out}");
    let mut outcome = Outcome { title, columns, ..Outcome::default() };
    let mut worst = TRACES.map(|_| 0f64);
    for style in styles {
        eprintln!("{NAME}: {}", style.name());
        let [few, many] = RULES.map(|rules| {
            let set = RuleSet::generate(*style, Family::V4, rules - 1, 1).allowing().before_allow_all();
            Loaded::load(set, MAX_FLOWS)
        });
        let mut loaded = [few?, many?];
        let new_flow = TRACES.map(|(name, trace)| {
            alternate(&loaded, trace, session.effort().rounds.min(MAX_ROUNDS), session.core).map(|found| (name, found))
        });
        let new_flow: Vec<_> = new_flow.into_iter().collect::<Result<_>>()?;
        for (place, rules) in RULES.into_iter().enumerate() {
            let costs = new_flow.iter().map(|(trace, found)| (*trace, found[place].cost()));
            add_rules(&mut outcome, *style, rules, &mut loaded[place], &costs.collect::<Vec<_>>())?;
        }
        for (worst, (_, [few, many])) in worst.iter_mut().zip(&new_flow) {
            *worst = worst.max(few.rate_to(many));
        }
    }
    let [locality, spread, uniform] = worst;
    outcome.ratio("new_100k_rules_vs_10", locality);
    outcome.ratio("new_100k_rules_vs_10_spread", spread);
    outcome.ratio("new_100k_rules_vs_10_uniform", uniform);
    let list = measure::measure_list(LIST.0, LIST.1)?;
    outcome.figure(format!("{NAME}/list_change_from_files"), millis(list.from_files.total()), "ms");
    outcome.figure(format!("{NAME}/list_change_in_place"), millis(list.in_place.total()), "ms");
    for style in styles {
        let figures = measure::measure_analysis(*style, Family::V4, ANALYSED)?;
        let name = format!("{NAME}/{}/{ANALYSED}", style.name());
        if let Some(time) = figures.analyse {
            outcome.figure(format!("{name}/analysis"), millis(time), "ms");
        }
        for (what, time, _) in figures.invariants {
            outcome.figure(format!("{name}/invariant/{}", what.replace(' ', "_")), millis(time), "ms");
        }
    }
    Ok(vec![outcome])
}

/// The cost of a packet with few and with many rules, by rounds. The packets are the same, made for the many rules, and all
/// of them are allowed: what differs is only how long it takes to find the rule.
fn alternate(loaded: &[Loaded; 2], trace: Trace, rounds: usize, core: Core) -> Result<[Measured; 2]> {
    let packets = loaded[1].packets(trace, rounds * 2 * PACKETS)?;
    let mut results = RULES.map(|rules| Measured::new(&rules.to_string()));
    for round in 0..rounds {
        for place in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (warm_up, measured) = packets[round * 2 * PACKETS..][..2 * PACKETS].split_at(PACKETS);
            let cost = core.alone_on(|| {
                loaded[place].new_flow(warm_up)?;
                loaded[place].new_flow(measured)
            })??;
            results[place].add(cost, 1.0);
        }
    }
    Ok(results)
}

/// Adds what is known of a rule set, and what changing it costs.
fn add_rules(
    outcome: &mut Outcome,
    style: Style,
    rules: usize,
    loaded: &mut Loaded,
    new_flow: &[(&str, f64)],
) -> Result<()> {
    let (one_rule, one_address) = loaded.change()?;
    let Steps { load, compile, apply } = loaded.first;
    let times =
        [load, compile, apply, one_rule.total(), one_address.total()].map(|time| format!("{:.1}", millis(time)));
    let costs = new_flow.iter().map(|(_, cost)| format!("{cost:.0}"));
    let mebibytes = loaded.memory.1 as f64 / f64::from(1 << 20);
    let name = format!("{} {rules}", style.name());
    outcome.rows.push([name].into_iter().chain(times).chain([format!("{mebibytes:.1}")]).chain(costs).collect());
    let name = format!("{NAME}/{}/{rules}", style.name());
    for (step, steps) in [("first", loaded.first), ("one_rule", one_rule), ("one_address", one_address)] {
        for (part, time) in [("read", steps.load), ("compile", steps.compile), ("load", steps.apply)] {
            outcome.figure(format!("{name}/{step}/{part}"), millis(time), "ms");
        }
        outcome.figure(format!("{name}/{step}"), millis(steps.total()), "ms");
    }
    outcome.figure(format!("{name}/memory"), mebibytes, "MiB");
    for (trace, cost) in new_flow {
        outcome.figure(format!("{name}/new_flow/{trace}"), *cost, "ns");
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
