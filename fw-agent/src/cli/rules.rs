//! `fwctl rules`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::output::{Format, Grid, or_dash, print};
use super::{ask, rule_hits};
use crate::api::answers::Rules;
use crate::api::request::Request;

/// What to show of the rules; without a command, the rules and what the data plane has counted.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<rule_hits::Command>,
}

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    if let Some(command) = &arguments.command {
        return rule_hits::run(command, socket, output);
    }
    ask(socket, &Request::Rules {}, output, "rules", |rules: Rules| show(&rules))
}

fn show(rules: &Rules) -> std::io::Result<()> {
    let mut grid = Grid::new(&[
        "RULE", "ACTION", "FROM", "TO", "PACKETS#", "BYTES#", "FLOWS#", "LIMITED#", "LIMITS", "LAST HIT", "PLACE",
    ]);
    for rule in &rules.rules {
        let action = match (rule.current, rule.active) {
            (true, true) if rule.mode.as_deref() == Some("observe") => {
                format!("(would {})", or_dash(rule.action.as_ref()))
            }
            (true, true) => or_dash(rule.action.as_ref()),
            (true, false) => format!("({}, not now)", or_dash(rule.action.as_ref())),
            (false, _) => "(of an older policy)".to_owned(),
        };
        grid.row([
            rule.id.clone(),
            action,
            or_dash(rule.from.as_ref()),
            or_dash(rule.to.as_ref()),
            rule.packets.to_string(),
            rule.bytes.to_string(),
            rule.flows.to_string(),
            rule.limited.to_string(),
            or_dash(rule.limits.as_ref()),
            or_dash(rule.last_hit_at.as_ref()),
            or_dash(rule.place.as_ref()),
        ]);
    }
    grid.print()?;
    print(&format!("policy epoch {}", rules.epoch))
}
