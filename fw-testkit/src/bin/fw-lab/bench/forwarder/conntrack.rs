//! Room in the kernel's connection tracking, whose limits are the machine's and not those of a name space.

use std::fs;
use std::sync::Mutex;

use anyhow::{Context, Result};

/// The number of connections, of all name spaces together, and of hash buckets.
const LIMITS: [&str; 2] = ["/proc/sys/net/netfilter/nf_conntrack_max", "/sys/module/nf_conntrack/parameters/hashsize"];

/// What to write back, which a signal must find as well.
static BEFORE: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

/// Raised limits; dropping it puts them back.
pub(in crate::bench) struct Room;

impl Room {
    /// Makes room for this many connections, with a bucket for each.
    pub(in crate::bench) fn for_connections(number: u64) -> Result<Self> {
        let room = Self;
        for path in LIMITS {
            let old = fs::read_to_string(path).with_context(|| format!("read {path}"))?.trim().to_owned();
            if old.parse::<u64>().is_ok_and(|old| old < number) {
                if let Ok(mut before) = BEFORE.lock() {
                    before.push((path, old));
                }
                fs::write(path, number.to_string()).with_context(|| format!("raise {path} to {number}"))?;
            }
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the limits back that were raised.
pub(in crate::bench) fn restore() {
    let Ok(mut before) = BEFORE.lock() else { return };
    for (path, old) in before.drain(..) {
        if let Err(error) = fs::write(path, &old) {
            eprintln!("fw-lab: {path} could not be set back to {old}: {error}");
        }
    }
}
