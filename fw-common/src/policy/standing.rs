//! Whether a flow that one policy has allowed goes on under another one.
//!
//! In: the zones in which its ends are under the new policy, and what that decides about the packet that opened the flow. The data plane
//! asks so when the first packet of the flow comes after the change (`rejudge`), and `fwctl policy plan` before the change.

use crate::abi::policy::{Action, zone};

/// Whether the flow goes on: both ends are in a zone, and the policy would let the originator open it again.
///
/// Limits are not asked: a flow that is open is taken over by the rule's limits, not turned away by them.
#[inline(always)]
#[must_use]
pub const fn goes_on(from_zone: u8, to_zone: u8, action: Action) -> bool {
    from_zone != zone::NONE && to_zone != zone::NONE && matches!(action, Action::Allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_goes_on_if_it_is_allowed_between_zones() {
        assert!(goes_on(1, zone::LOCAL, Action::Allow));
        for action in [Action::Drop, Action::Reject] {
            assert!(!goes_on(1, 2, action));
        }
        assert!(!goes_on(zone::NONE, 2, Action::Allow) && !goes_on(1, zone::NONE, Action::Allow));
    }
}
