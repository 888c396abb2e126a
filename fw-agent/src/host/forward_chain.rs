//! The nftables chain that lets the kernel forward only what the data plane has judged and handed over.
//!
//! It stands before forwarding is on, and nothing takes it away: not the agent's end, not `detach`.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// What `nft -f` is given; the same file is installed for the boot, before networking is up.
pub const RULESET: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nftables/outpost-fw.nft"));

/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the chain could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardChainError {
    /// `nft` could not be run.
    #[error("nft could not be run: {0}; is the package nftables installed?")]
    Run(#[from] std::io::Error),
    /// `nft` refused.
    #[error("nft refused the forward chain: {0}; is this process root (CAP_NET_ADMIN), and has the kernel nf_tables?")]
    Refused(String),
}

/// Loads the chain, in one transaction; a chain that stands already is not interrupted.
pub async fn load() -> Result<(), ForwardChainError> {
    nft(&["-f", "-"], RULESET).await.map(drop)
}

/// The chain stands as [`RULESET`] has it. Somebody may have flushed all rules, or added one that accepts more.
pub async fn stands() -> Result<bool, ForwardChainError> {
    match nft(&["list", "chain", "inet", "outpost_fw", "forward"], "").await {
        Ok(listing) => Ok(is_ours(&listing)),
        Err(ForwardChainError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Compares what `nft list chain` prints, apart from the counters.
fn is_ours(listing: &str) -> bool {
    const LINES: [&str; 3] = [
        "type filter hook forward priority filter; policy drop;",
        "iifname \"ofw-in\" accept comment \"judged by the data plane\"",
        "comment \"uninspected: dropped\"",
    ];
    let lines = listing.lines().map(|line| without_counters(line.trim()));
    let lines = lines.filter(|line| !line.is_empty() && !line.ends_with('{') && line != "}");
    lines.eq(LINES.map(str::to_owned))
}

/// Takes `counter packets N bytes N` out of a rule.
fn without_counters(rule: &str) -> String {
    let mut words: Vec<&str> = rule.split_whitespace().collect();
    while let Some(at) = words.iter().position(|word| *word == "counter") {
        words.drain(at..words.len().min(at + 5));
    }
    words.join(" ")
}

async fn nft(arguments: &[&str], input: &str) -> Result<String, ForwardChainError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_elapsed| std::io::Error::from(ErrorKind::TimedOut))??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ForwardChainError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"table inet outpost_fw {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "ofw-in" counter packets 3 bytes 252 accept comment "judged by the data plane"
		counter packets 0 bytes 0 comment "uninspected: dropped"
	}
}
"#;

    #[test]
    fn the_chain_is_recognised_whatever_it_has_counted() {
        assert!(is_ours(LISTING));
    }

    #[test]
    fn a_chain_that_somebody_has_changed_is_not_ours() {
        assert!(!is_ours(""));
        assert!(!is_ours(&LISTING.replace("policy drop", "policy accept")));
        assert!(!is_ours(&LISTING.replace("iifname \"ofw-in\"", "")));
        assert!(!is_ours(&LISTING.replace("\t\tiifname", "\t\tct state established accept\n\t\tiifname")));
    }
}
