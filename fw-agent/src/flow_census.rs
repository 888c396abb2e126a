//! Counts of live flows.

use std::collections::BTreeMap;

use fw_common::abi::flow::Flow;
use fw_common::abi::policy::zone;
use fw_common::conntrack::State;

use crate::dataplane::{Dataplane, DataplaneError};

/// What a flow may claim of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Forwarded, and both ends have been heard: it stays until it is over.
    Confirmed,
    /// Half-open: it may give way to others.
    HalfOpen,
    /// From or to the host, for which room is kept.
    Host,
}

impl Class {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Confirmed, Self::HalfOpen, Self::Host];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::HalfOpen => "half-open",
            Self::Host => "host",
        }
    }

    /// The class of a flow.
    #[must_use]
    pub const fn of(flow: &Flow) -> Self {
        if flow.half_open != 0 {
            Self::HalfOpen
        } else if flow.from_zone == zone::LOCAL || flow.to_zone == zone::LOCAL {
            Self::Host
        } else {
            Self::Confirmed
        }
    }
}

/// Live flows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// IPv4 flows.
    pub ipv4: u64,
    /// IPv6 flows.
    pub ipv6: u64,
    /// By state, in the order of [`State::ALL`].
    pub by_state: [u64; State::ALL.len()],
    /// By family, IPv4 first, and by [`Class`].
    pub by_class: [[u64; Class::ALL.len()]; 2],
    /// By IP protocol number.
    pub by_protocol: BTreeMap<u8, u64>,
}

impl Census {
    /// Walks the flow tables.
    pub fn take(dataplane: &dyn Dataplane) -> Result<Self, DataplaneError> {
        let mut census = Self::default();
        dataplane.visit_flows(&mut |record| {
            let state = State::from_number(record.flow.state);
            // Ended, by a policy or to make room: nothing belongs to it any more.
            let Some(of_state) = census.by_state.get_mut(state as usize) else { return true };
            *of_state += 1;
            if record.family == 6 {
                census.ipv6 += 1;
            } else {
                census.ipv4 += 1;
            }
            let class = Class::of(&record.flow);
            census.by_class[usize::from(record.family == 6)][class as usize] += 1;
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
