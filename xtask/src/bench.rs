//! `cargo xtask bench`: what packets cost, side by side with others that forward, all candidates in one run.

use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{lab, process};

/// What is passed on to `fw-lab bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Shorter runs: less exact, for a first look.
    #[arg(long)]
    quick: bool,
    /// Only these benchmarks.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let mut command = lab::prepared(workspace)?;
    command.arg("bench").arg("--output").arg(workspace.target.join("bench"));
    if arguments.quick {
        command.arg("--quick");
    }
    if !arguments.only.is_empty() {
        command.arg("--only").args(&arguments.only);
    }
    process::pass_on(&mut command)
}
