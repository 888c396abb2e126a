//! Counts of live flows.

use std::collections::BTreeMap;

use fw_common::conntrack::State;

use crate::dataplane::{Dataplane, DataplaneError};

/// Live flows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// IPv4 flows.
    pub ipv4: u64,
    /// IPv6 flows.
    pub ipv6: u64,
    /// By state, in the order of [`State::ALL`].
    pub by_state: [u64; State::ALL.len()],
    /// By IP protocol number.
    pub by_protocol: BTreeMap<u8, u64>,
}

impl Census {
    /// Walks the flow tables.
    pub fn take(dataplane: &dyn Dataplane) -> Result<Self, DataplaneError> {
        let mut census = Self::default();
        dataplane.visit_flows(&mut |record| {
            if record.family == 6 {
                census.ipv6 += 1;
            } else {
                census.ipv4 += 1;
            }
            census.by_state[State::from_number(record.flow.state) as usize] += 1;
            *census.by_protocol.entry(record.key.protocol).or_default() += 1;
            true
        })?;
        Ok(census)
    }
}
