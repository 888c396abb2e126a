//! The kernel's forwarding with a stateful ruleset of nftables.

use anyhow::{Context, Result};
use fw_testkit::lab::{PairLab, PairNode};
use fw_testkit::process;

/// Settings of connection tracking in the middle's name space. Checksums were verified by the network card where there is
/// one, so connection tracking need not do it.
const SETTINGS: [(&str, &str); 3] = [
    ("netfilter/nf_conntrack_checksum", "0"),
    ("netfilter/nf_conntrack_udp_timeout", "600"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "600"),
];

pub(super) fn start(lab: &PairLab, ruleset: &str) -> Result<()> {
    lab.forward_by_kernel().context("let the kernel forward")?;
    let middle = lab.ns(PairNode::Middle)?;
    process::feed(middle.command("nft")?.args(["-f", "-"]), ruleset)?.success()?;
    for (key, value) in SETTINGS {
        middle.set_sysctl(key, value)?;
    }
    Ok(())
}
