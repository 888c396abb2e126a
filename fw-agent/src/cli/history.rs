//! `fwctl history` and `fwctl show`: what was applied, and what it was.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::ask;
use super::output::{Format, Grid, or_dash, print};
use crate::api::change::{History, Shown};
use crate::api::request::Request;

/// What to show.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The revision; what is in force without.
    #[arg(long = "rev", value_name = "N")]
    revision: Option<u64>,
}

pub(super) fn history(socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(socket, &Request::History {}, output, "revisions", |history: History| list(&history))
}

fn list(history: &History) -> std::io::Result<()> {
    let mut grid = Grid::new(&["REVISION#", "STATE", "APPLIED", "BY", "TESTS#", "DIGEST", "FILES#"]);
    for row in &history.revisions {
        grid.row([
            row.revision.to_string(),
            if row.state.is_empty() { "-".to_owned() } else { row.state.clone() },
            row.applied_at.clone(),
            row.who.to_string(),
            row.tests_passed.to_string(),
            row.digest[..12.min(row.digest.len())].to_owned(),
            row.files.len().to_string(),
        ]);
    }
    grid.print()?;
    if let Some(by) = &history.confirm_by {
        print(&format!("revision {} is in force again at {by}, without `fwctl confirm`", or_dash(history.previous)))?;
    }
    history.held.iter().try_for_each(|held| print(held))
}

pub(super) fn show(arguments: &Show, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(socket, &Request::Show { revision: arguments.revision }, output, "texts", |shown: Shown| files(&shown))
}

/// Comments before and between the files, so that the whole is readable as the policy that it was.
fn files(shown: &Shown) -> std::io::Result<()> {
    let row = &shown.row;
    let state = if row.state.is_empty() { String::new() } else { format!(", {}", row.state) };
    print(&format!(
        "# revision {}{state}: applied {} by {}, digest {}",
        row.revision, row.applied_at, row.who, row.digest
    ))?;
    shown.texts.iter().try_for_each(|file| print(&format!("\n# {}\n{}", file.name, file.text.trim_end())))
}
