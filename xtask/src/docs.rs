//! `cargo xtask docs`: the reference documents that are generated, so that they can't go stale.
//!
//! The agent's example `reference_docs` prints them from the tables that the programs themselves use.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// The generated documents under `docs/`, by the name that the generator knows them by.
const DOCUMENTS: [&str; 2] = ["drop-reasons", "maps"];

/// What to do with the documents.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only say which are stale; exit with 1 when one is.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.check {
        let stale = stale(workspace)?;
        if !stale.is_empty() {
            bail!("{}", stale.join("\n"));
        }
        return Ok(());
    }
    for name in DOCUMENTS {
        let path = workspace.root.join(path(name));
        fs::write(&path, generate(workspace, name)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// One complaint for each document that is not what the generator writes now.
pub(crate) fn stale(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for name in DOCUMENTS {
        let path = path(name);
        let present = fs::read_to_string(workspace.root.join(&path)).unwrap_or_default();
        if present != generate(workspace, name)? {
            complaints.push(format!("{path} is stale; run `cargo xtask docs`"));
        }
    }
    Ok(complaints)
}

fn path(name: &str) -> String {
    format!("docs/{name}.md")
}

fn generate(workspace: &Workspace, name: &str) -> Result<String> {
    let mut command = workspace.cargo("run");
    command.args(["--quiet", "--package", "fw-agent", "--example", "reference_docs", "--", name]);
    process::output(&mut command)
}
