//! `cargo xtask tidy`: checks what the compiler does not. One file a check; each returns its complaints.

mod abi;
mod length;
mod links;
mod test_names;

use anyhow::{Result, bail};

use crate::docs;
use crate::workspace::Workspace;

/// What to do besides checking.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write `fw-common/abi.lock` anew, after `ABI_VERSION` was raised.
    #[arg(long)]
    lock_abi: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.lock_abi {
        abi::lock(workspace)?;
    }
    check(workspace)
}

/// Makes every check, and fails with all complaints.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut complaints = abi::check(workspace)?;
    complaints.extend(length::check(workspace)?);
    complaints.extend(links::check(workspace)?);
    complaints.extend(test_names::check(workspace)?);
    complaints.extend(docs::stale(workspace).unwrap_or_else(|error| vec![format!("{error:#}")]));
    if !complaints.is_empty() {
        bail!("{} complaints:\n  {}", complaints.len(), complaints.join("\n  "));
    }
    Ok(())
}
