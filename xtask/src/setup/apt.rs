//! Packages of the distribution.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Installs packages after one update of the package lists. Does nothing when there is nothing to install.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let wanted = packages.join(" ");
    if process::find("apt-get").is_none() {
        bail!("there is no apt-get here; install what these Debian packages hold by other means: {wanted}");
    }
    if !process::is_root() {
        bail!("installing packages needs root; run `sudo apt-get update && sudo apt-get install -y {wanted}`");
    }
    process::run(apt_get().arg("update")).context("the package lists could not be updated")?;
    process::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages)).with_context(|| {
        format!("one of these packages could not be installed: {wanted}\n(LLVM's are also at https://apt.llvm.org)")
    })
}

/// Waits for another package manager's lock instead of failing: fresh machines update themselves after boot.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
