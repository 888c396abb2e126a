//! The nftables chain that lets the kernel forward only what the data plane has judged and handed over.
//!
//! It stands before forwarding is on, and nothing takes it away: not the agent's end, not `detach`.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What `nft -f` is given; the same file is installed for the boot, before networking is up.
pub const RULESET: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nftables/outpost-fw.nft"));

/// Why the chain could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardChainError {
    /// `nft` could not be run.
    #[error("nft could not be run: {0}; is the package nftables installed?")]
    Run(#[from] std::io::Error),
    /// `nft` refused.
    #[error("nft refused the forward chain: {0}")]
    Refused(String),
}

/// Loads the chain, in one transaction; a chain that stands already is not interrupted.
pub async fn load() -> Result<(), ForwardChainError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(RULESET.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(ForwardChainError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
