//! `cargo xtask soak`: long runs of what the tests run shortly.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{lab, process};

/// What runs long; each by itself.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Random packets are judged by the firewall and by the reference.
    #[arg(long)]
    oracle: bool,
    /// The same with the kernel's own firewall in place of the reference.
    #[arg(long)]
    nftables: bool,
    /// Policies follow each other under a stream that they allow.
    #[arg(long)]
    swaps: bool,
    /// Connections come and go beside others that must live.
    #[arg(long)]
    collection: bool,
    /// How many packets, policies or connections; without, what the aims name.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The seed of random traffic; without, another one each time. It is printed.
    #[arg(long)]
    seed: Option<u64>,
}

/// How many firewalls the reference judges beside at once: what they wait for goes by together.
const RIGS: &str = "8";

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let count = |aim: u64| arguments.count.unwrap_or(aim).to_string();
    if arguments.collection {
        let mut command = lab::prepared(workspace)?;
        return process::pass_on(command.args(["collection", "--connections", &count(10_000_000)]));
    }
    let (program, filter, variable, aim) = match (arguments.oracle, arguments.nftables, arguments.swaps) {
        (true, _, _) => ("prog_run", "random_traffic_is_judged", "OUTPOST_FW_ORACLE_PACKETS", 10_000_000),
        (_, true, _) => ("prog_run", "own_firewall_decides_alike", "OUTPOST_FW_ORACLE_PACKETS", 1_000_000),
        (_, _, true) => ("lab", "an_allowed_stream_loses_nothing", "OUTPOST_FW_SWAPS", 1_000),
        _ => bail!("say what: --oracle, --nftables, --swaps or --collection"),
    };
    // The programs that the lab runs, and everything that the tests need.
    lab::prepared(workspace)?;
    let mut command = workspace.cargo("test");
    command.args(["--release", "--package", "fw-tests", "--test", program, filter, "--", "--nocapture"]);
    command
        .env("OUTPOST_FW_BIN_DIR", workspace.programs())
        .env(variable, count(aim))
        .env("OUTPOST_FW_ORACLE_RIGS", RIGS);
    if let Some(seed) = arguments.seed {
        command.env("OUTPOST_FW_ORACLE_SEED", seed.to_string());
    }
    process::pass_on(&mut command)
}
