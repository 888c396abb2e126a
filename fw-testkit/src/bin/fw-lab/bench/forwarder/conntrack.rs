//! Room in the kernel's connection tracking, whose limits are the machine's and not those of a name space.

use anyhow::Result;

use crate::bench::setting::Setting;

/// The number of connections, of all name spaces together, and of hash buckets.
const LIMITS: [&str; 2] = ["/proc/sys/net/netfilter/nf_conntrack_max", "/sys/module/nf_conntrack/parameters/hashsize"];

/// Raised limits; dropping it puts them back.
pub(in crate::bench) struct Room(#[expect(dead_code, reason = "held for its Drop only")] Vec<Setting>);

impl Room {
    /// Makes room for this many connections, with a bucket for each.
    pub(in crate::bench) fn for_connections(number: u64) -> Result<Self> {
        let enough = |limit: &str| limit.parse::<u64>().is_ok_and(|limit| limit >= number);
        LIMITS
            .into_iter()
            .map(|path| Setting::change(path, &number.to_string(), enough))
            .collect::<Result<_>>()
            .map(Self)
    }
}
