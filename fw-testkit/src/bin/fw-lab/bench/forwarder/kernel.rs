//! The kernel's own forwarding without any rule.

use anyhow::{Context, Result};
use fw_testkit::lab::PairLab;

pub(super) fn start(lab: &PairLab) -> Result<()> {
    lab.forward_by_kernel().context("let the kernel forward")
}
