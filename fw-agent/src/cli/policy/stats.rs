//! `fwctl policy stats`: how large a policy is, who answers for it, and what of it ends soon.

use std::process::ExitCode;

use fw_policy::{SetSize, Stats};
use serde_json::json;

use super::{Arguments, Checked, compile};
use crate::cli::output::{Format, Grid, print};

/// How many sets are shown; all of them are in JSON.
const SHOWN: usize = 10;

/// How many services of a pair of zones are shown.
const SERVICES: usize = 6;

pub(super) fn run(arguments: &Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let Checked { policy, compiled, now, .. } = match compile(arguments, output, "stats")? {
        Ok(checked) => checked,
        Err(code) => return Ok(code),
    };
    let stats = policy.stats(&compiled, now);
    let mut answer = serde_json::to_value(&stats)?;
    answer["schema"] = json!("fwctl.policy-stats/1");
    if !output.json(&answer, "")? {
        show(&stats)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(stats: &Stats) -> anyhow::Result<()> {
    let Stats { rules, zones, zone_pairs, tests, invariants, prefixes, .. } = stats;
    print(&format!(
        "{} rules: {} allow, {} drop, {} reject; {} active, {} not started, {} expired; {} with limits, {} that observe",
        rules.total,
        rules.allow,
        rules.drop,
        rules.reject,
        rules.active,
        rules.pending,
        rules.expired,
        rules.limited,
        rules.observing
    ))?;
    print(&format!("{zones} zones, {zone_pairs} defaults of zone pairs, {tests} tests, {invariants} invariants"))?;
    print(&format!(
        "{} address sets with {prefixes} prefixes, {} service sets",
        stats.address_sets.len(),
        stats.service_sets.len()
    ))?;
    print(&format!("{} tickets, {} rules without one", stats.tickets, stats.without_ticket))?;
    show_sets("ADDRESS SET", "PREFIXES#", &stats.address_sets)?;
    show_sets("SERVICE SET", "RANGES#", &stats.service_sets)?;
    let pairs = stats
        .services
        .iter()
        .map(|pair| [pair.from.clone(), pair.to.clone(), pair.rules.to_string(), shortened(&pair.services)]);
    table(&["FROM", "TO", "RULES#", "MAY OPEN"], pairs)?;
    let owners = stats.owners.iter().map(|owner| {
        [if owner.name.is_empty() { "(none)".to_owned() } else { owner.name.clone() }, owner.rules.to_string()]
    });
    table(&["OWNER", "RULES#"], owners)?;
    let expiring = stats.expiring.iter().map(|rule| [rule.rule.clone(), rule.expires.clone(), rule.owner.clone()]);
    table(&["EXPIRING RULE", "EXPIRES", "OWNER"], expiring)?;
    let memory = stats.memory.iter().map(|table| [table.table.to_owned(), kib(table.bytes)]);
    table(&["TABLE", "KIB#"], memory.chain([["total".to_owned(), kib(stats.memory_total)]]))
}

fn show_sets(kind: &str, unit: &str, sets: &[SetSize]) -> anyhow::Result<()> {
    table(&[kind, unit], sets.iter().take(SHOWN).map(|set| [set.name.clone(), set.size.to_string()]))
}

/// A table with a blank line in front of it; nothing if it has no rows.
fn table<const N: usize>(headings: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> anyhow::Result<()> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    print("")?;
    let mut grid = Grid::new(headings);
    rows.for_each(|row| grid.row(row));
    Ok(grid.print()?)
}

fn shortened(services: &[String]) -> String {
    let shown = services.iter().take(SERVICES).cloned().collect::<Vec<_>>().join(", ");
    match services.len().checked_sub(SERVICES) {
        Some(more @ 1..) => format!("{shown} … and {more} more"),
        _ => shown,
    }
}

fn kib(bytes: u64) -> String {
    bytes.div_ceil(1024).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_say_how_much_is_left_out() {
        let services: Vec<String> = (1..=8).map(|port| format!("tcp/{port}")).collect();
        assert_eq!(shortened(&services[..6]), "tcp/1, tcp/2, tcp/3, tcp/4, tcp/5, tcp/6");
        assert_eq!(shortened(&services), "tcp/1, tcp/2, tcp/3, tcp/4, tcp/5, tcp/6 … and 2 more");
    }
}
