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
            let state = State::from_number(record.flow.state);
            // What a new policy has ended waits for the sweep.
            let Some(of_state) = census.by_state.get_mut(state as usize) else { return true };
            *of_state += 1;
            if record.family == 6 {
                census.ipv6 += 1;
            } else {
                census.ipv4 += 1;
            }
            *census.by_protocol.entry(record.key.protocol).or_default() += 1;
            true
        })?;
        Ok(census)
    }
}

#[cfg(test)]
mod tests {
    use fw_common::abi::flow::{Flow, FlowKey6};

    use super::*;
    use crate::dataplane::FlowRecord;
    use crate::dataplane::fake::FakeDataplane;

    #[test]
    fn a_flow_that_a_new_policy_has_ended_is_not_counted() {
        let dataplane = FakeDataplane::default();
        let of_state = |state: State| FlowRecord {
            key: FlowKey6 { protocol: 17, ..FlowKey6::default() },
            family: 4,
            flow: Flow { state: state as u8, ..Flow::default() },
            timeout: 30,
        };
        dataplane.state().flows = vec![of_state(State::UdpNew), of_state(State::Ended)];
        let census = Census::take(&dataplane).unwrap();
        assert_eq!((census.ipv4, census.by_state[State::UdpNew as usize]), (1, 1));
        assert_eq!(census.by_protocol, BTreeMap::from([(17, 1)]));
    }
}
