//! `fwctl drops`.

use std::cmp::Reverse;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::ask;
use super::output::{Format, Grid, print};
use crate::api::answers::Drops;
use crate::api::request::Request;

/// Which reasons.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// In the table, also the reasons for which nothing was dropped.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(socket, &Request::Drops {}, output, "drops", |drops: Drops| show(drops, arguments.all))
}

fn show(mut drops: Drops, all: bool) -> std::io::Result<()> {
    drops.drops.retain(|row| all || row.packets > 0);
    for row in &drops.redirect_errors {
        print(&format!("{}: {} packets to forward were not taken ({})", row.interface, row.packets, row.error))?;
    }
    if drops.drops.is_empty() {
        return print("nothing was dropped");
    }
    drops.drops.sort_by_key(|row| Reverse(row.packets));
    let mut grid = Grid::new(&["REASON", "PACKETS#", "BYTES#", "MEANING"]);
    for row in &drops.drops {
        grid.row([row.reason.clone(), row.packets.to_string(), row.bytes.to_string(), row.explanation.clone()]);
    }
    grid.print()
}
