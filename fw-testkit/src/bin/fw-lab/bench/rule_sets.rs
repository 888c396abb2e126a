//! Large rule sets: what a new flow costs with 100,000 rules and with ten, how soon a policy and a change of it are in force.

use std::time::Duration;

use anyhow::Result;
use fw_testkit::classbench::measure::{self, Steps};
use fw_testkit::classbench::{Family, Style};

use super::outcome::Outcome;
use super::session::Session;

pub(super) const NAME: &str = "rule_sets";

const RULES: [usize; 2] = [10, 100_000];
/// Packets of a trace.
const FLOWS: usize = 10_000;
/// Other rules, and prefixes of the list before and after.
const LIST: (usize, (usize, usize)) = (10_000, (100_000, 100_100));

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    let styles = if session.quick { &Style::ALL[..1] } else { &Style::ALL[..] };
    let columns = vec!["rules", "read", "compile", "load", "one rule changed", "new flow", "spread", "uniform"];
    let title = format!("{NAME}: like ClassBench's, IPv4; milliseconds, and nanoseconds for a new flow");
    let mut outcome = Outcome { title, columns, ..Outcome::default() };
    let (mut locality, mut uniform) = (0f64, 0f64);
    for style in styles {
        eprintln!("{NAME}: {}", style.name());
        let [few, many] = RULES.map(|rules| measure::measure(*style, Family::V4, rules, FLOWS));
        let (few, many) = (few?, many?);
        for (rules, figures) in RULES.iter().zip([&few, &many]) {
            let Steps { load, compile, apply } = figures.first;
            let times = [load, compile, apply, figures.one_rule.total()].map(|time| format!("{:.1}", millis(time)));
            let costs = figures.new_flow.iter().map(|(_, cost)| format!("{cost:.0}"));
            let name = format!("{} {rules}", style.name());
            outcome.rows.push(std::iter::once(name).chain(times).chain(costs).collect());
        }
        for (name, steps) in [("first", &many.first), ("one_rule", &many.one_rule), ("one_address", &many.one_address)]
        {
            let figure = format!("{NAME}/{}/{name}", style.name());
            outcome.figure(format!("{figure}/compile"), millis(steps.compile), "ms");
            outcome.figure(figure, millis(steps.total()), "ms");
        }
        let ratio = |trace: usize| many.new_flow[trace].1 / few.new_flow[trace].1;
        (locality, uniform) = (locality.max(ratio(0)), uniform.max(ratio(2)));
    }
    outcome.ratio("new_100k_rules_vs_10", locality);
    outcome.ratio("new_100k_rules_vs_10_uniform", uniform);
    let list = measure::measure_list(LIST.0, LIST.1)?;
    outcome.figure(format!("{NAME}/list_change_from_files"), millis(list.from_files.total()), "ms");
    outcome.figure(format!("{NAME}/list_change_in_place"), millis(list.in_place.total()), "ms");
    Ok(vec![outcome])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
