//! Which flows were denied a while ago, so that it can be asked which of them another policy would let pass.
//!
//! In: what is taken out of the data plane's table of denied flows, every few seconds, on its way to the flow log. Kept is what a policy has
//! decided, by tuple; attempts of a client from one source port after the other are one. A flood pushes the oldest out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fw_common::DropReason;
use fw_common::abi::event::{Denied, DeniedKey};

/// The most tuples: a hundred bytes each.
const MOST: usize = 16_384;

/// For so long after its last packet a tuple is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(15 * 60);

/// What was denied.
#[derive(Debug, Default)]
pub struct RecentlyDenied {
    /// By tuple without its source port; the last one that there was stands with it.
    tuples: Mutex<HashMap<DeniedKey, ([u8; 2], Denied)>>,
}

impl RecentlyDenied {
    fn tuples(&self) -> MutexGuard<'_, HashMap<DeniedKey, ([u8; 2], Denied)>> {
        self.tuples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what has been denied until now, in nanoseconds of `CLOCK_MONOTONIC`, and forgets what is old.
    pub fn add(&self, denied: &[(DeniedKey, Denied)], now: u64) {
        let mut tuples = self.tuples();
        for (key, record) in denied.iter().filter(|(key, _)| is_decided(key)) {
            let (port, known) = tuples.entry(DeniedKey { src_port: [0; 2], ..*key }).or_insert((key.src_port, *record));
            if known != record {
                known.packets = known.packets.saturating_add(record.packets);
                known.bytes = known.bytes.saturating_add(record.bytes);
                known.last_at = known.last_at.max(record.last_at);
                *port = key.src_port;
            }
        }
        let oldest = now.saturating_sub(u64::try_from(KEPT_FOR.as_nanos()).unwrap_or(u64::MAX));
        tuples.retain(|_, (_, record)| record.last_at >= oldest);
        if tuples.len() > MOST {
            let mut times: Vec<u64> = tuples.values().map(|(_, record)| record.last_at).collect();
            times.sort_unstable();
            let first_kept = times[times.len() - MOST];
            tuples.retain(|_, (_, record)| record.last_at >= first_kept);
        }
    }

    /// The tuples, those with the most packets first.
    #[must_use]
    pub fn list(&self) -> Vec<(DeniedKey, Denied)> {
        let known = self.tuples();
        let mut list: Vec<(DeniedKey, Denied)> =
            known.iter().map(|(key, (port, record))| (DeniedKey { src_port: *port, ..*key }, *record)).collect();
        drop(known);
        list.sort_by_key(|(key, record)| {
            let DeniedKey { src_addr, dst_addr, src_port, dst_port, protocol, .. } = *key;
            (std::cmp::Reverse(record.packets), src_addr, dst_addr, protocol, dst_port, src_port)
        });
        list
    }
}

/// Whether a policy has denied it, so that another one may decide otherwise.
fn is_decided(key: &DeniedKey) -> bool {
    let reason = DropReason::from_number(key.reason);
    matches!(key.family, 4 | 6)
        && matches!(reason, Some(DropReason::Policy | DropReason::Rejected | DropReason::PolicyChanged))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key(host: u8, src_port: u16, reason: DropReason) -> DeniedKey {
        let mut key = DeniedKey { family: 4, protocol: 6, reason: reason as u8, ..DeniedKey::default() };
        key.src_addr[..4].copy_from_slice(&[10, 0, 0, host]);
        key.src_port = src_port.to_be_bytes();
        key
    }

    fn denied(packets: u64, last_at: u64) -> Denied {
        Denied { packets, bytes: 60 * packets, first_at: last_at, last_at }
    }

    #[test]
    fn attempts_from_several_ports_are_one_and_only_decisions_of_a_policy_are_kept() {
        let recent = RecentlyDenied::default();
        let (policy, spoofed) = (DropReason::Policy, DropReason::Spoofed);
        recent.add(&[(key(1, 1_000, policy), denied(2, 5)), (key(2, 7, spoofed), denied(9, 5))], 10);
        recent.add(&[(key(1, 1_001, policy), denied(3, 8)), (key(3, 7, DropReason::Rejected), denied(7, 8))], 10);
        let list = recent.list();
        assert_eq!(list.iter().map(|(_, record)| record.packets).collect::<Vec<_>>(), [7, 5]);
        assert_eq!(list[1].0.src_port, 1_001u16.to_be_bytes(), "that of the last attempt");
    }

    #[test]
    fn what_is_old_is_forgotten_and_a_flood_pushes_the_oldest_out() {
        let recent = RecentlyDenied::default();
        recent.add(&[(key(1, 1, DropReason::Policy), denied(1, SECOND))], SECOND);
        recent.add(&[(key(2, 1, DropReason::Policy), denied(1, 800 * SECOND))], 902 * SECOND);
        assert_eq!(recent.list().len(), 1, "the first was a quarter of an hour ago");
        let flood: Vec<(DeniedKey, Denied)> = (0..20_000u32)
            .map(|number| {
                let mut key = key(9, 1, DropReason::Policy);
                key.dst_addr[..4].copy_from_slice(&number.to_be_bytes());
                (key, denied(1, 900 * SECOND + u64::from(number)))
            })
            .collect();
        recent.add(&flood, 902 * SECOND);
        let list = recent.list();
        assert_eq!(list.len(), MOST);
        assert!(list.iter().all(|(_, record)| record.last_at >= 900 * SECOND + 20_000 - MOST as u64));
    }
}
