//! `cargo xtask lab`: the reference topology, for trying things by hand.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::setup::Purpose;
use crate::workspace::Workspace;
use crate::{build, process, setup};

/// What is passed on to `fw-lab`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// up, down, or exec NAMESPACE -- COMMAND; see `cargo xtask lab -- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    process::pass_on(prepared(workspace)?.args(&arguments.arguments))
}

/// The lab's program, once everything that it needs is installed and built.
pub(crate) fn prepared(workspace: &Workspace) -> Result<Command> {
    setup::ensure(workspace, Purpose::Run)?;
    build::run(workspace)?;
    let mut command = Command::new(workspace.programs().join("fw-lab"));
    command.env("OUTPOST_FW_BIN_DIR", workspace.programs()).env("OUTPOST_FW_BENCH_EBPF", workspace.bench_object());
    Ok(command)
}
