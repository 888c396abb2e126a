//! `cargo xtask demo`: real clients and servers through the firewall, each expectation printed as it is checked.

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{lab, process};

/// What is passed on to `fw-lab demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Leave the lab up for trying things by hand.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let mut command = lab::prepared(workspace)?;
    command.arg("demo").arg("--policies").arg(workspace.policies());
    if arguments.json {
        command.arg("--json");
    }
    if arguments.keep {
        command.arg("--keep");
    }
    process::pass_on(&mut command)
}
