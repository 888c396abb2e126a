//! The data plane without its agent: it opens new flows, and ages old ones by itself.

use std::thread;
use std::time::{Duration, Instant};

use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT};

use crate::firewall::{Firewall, NEVER, SOON, both};

/// Flows that the table holds.
const MAX_FLOWS: usize = 1024;

/// A table that is full twice over during the test, unless old flows make room.
const CONNTRACK: &str = r#"max_flows = 1024
[conntrack.timeouts]
udp-new = "1s"
udp-replied = "1s""#;

/// Flows are aged in whole seconds, and a dead one keeps its place for a grace period, so five seconds pass until it may make
/// room. At this pace the flows of that time fit into the table twice, and the sweep, which looks at
/// three places for each new flow, keeps up.
const PACE: Duration = Duration::from_millis(12);

#[test]
fn twice_as_many_flows_as_fit_open_one_after_the_other_without_the_agent() {
    let Some(mut firewall) = Firewall::with_conntrack(CONNTRACK) else { return };
    firewall.agent.kill().unwrap();
    for number in 0..2 * MAX_FLOWS {
        let next = Instant::now() + PACE;
        for address in both(OT, 5000) {
            let answer = client::udp_exchange(firewall.lab.ns(Node::It), address, NEVER).unwrap();
            assert!(answer.is_ok(), "flow {number} to {address}: {answer:?}");
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    firewall.agent.start().unwrap();
    assert_eq!(firewall.dropped("table_full"), 0);
}

#[test]
fn the_policy_holds_without_the_agent() {
    let Some(mut firewall) = Firewall::up() else { return };
    firewall.agent.kill().unwrap();
    let lab = &firewall.lab;
    for address in both(IT, 80) {
        assert_eq!(client::http_get(lab.ns(Node::Ws), address, "/", SOON).unwrap().unwrap().status, 200);
        assert!(client::connect(lab.ns(Node::Ot), address, NEVER).unwrap().is_err(), "ot to {address}");
    }
}
