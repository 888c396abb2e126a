//! `fw-lab demo`: the firewall at work in the reference topology, each expectation printed as it is checked.

mod attempt;
mod live;
mod report;
mod stage;
mod tour;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use report::Report;
use stage::Stage;

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The directory of policies that the firewall runs.
    #[arg(long, default_value = "policies")]
    policies: PathBuf,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Leave the lab, the agent and the servers up.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(arguments: &Demo) -> anyhow::Result<ExitCode> {
    let mut report = Report::new();
    let outcome = show(arguments, &mut report);
    if let Err(error) = &outcome {
        report.abandon(&format!("{error:#}"));
    }
    Ok(report.close(arguments.json))
}

fn show(arguments: &Demo, report: &mut Report) -> anyhow::Result<()> {
    report.section("The lab, the servers and the agent");
    let mut stage = Stage::raise(&arguments.policies, report)?;
    report.section("What the policy allows works");
    tour::allowed(&stage, report)?;
    report.section("What the policy forbids does not");
    tour::forbidden(&stage, report)?;
    live::spoofed_source(&stage, report)?;
    report.section("The policy changes while the firewall runs");
    live::policy_edit(&stage, report)?;
    report.section("The agent is killed while a transfer runs");
    live::agent_killed(&mut stage, report)?;
    stage.show_counters(report)?;
    if arguments.keep {
        stage.keep();
    }
    Ok(())
}
