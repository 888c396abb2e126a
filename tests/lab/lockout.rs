//! The access to the firewall itself: what would cut it is refused, unless `agent.toml` says otherwise.

use std::fs;

use fw_testkit::client;
use fw_testkit::lab::{ENI_MANAGEMENT, Node};
use fw_testkit::service::{Endpoint, Protocol, Service};

use crate::firewall::{Firewall, NEVER, SOON};

/// A port that `agent.toml` lets the management station reach in this test.
const PORT: u16 = 502;

#[test]
fn a_setting_that_would_cut_a_connection_to_the_firewall_is_refused_unless_it_is_meant() {
    let Some(firewall) = Firewall::up() else { return };
    let usual = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let _server = Service::start(firewall.lab.ns(Node::Fw), &[Endpoint::any(Protocol::Modbus, PORT)]).unwrap();
    let station = firewall.lab.ns(Node::Management);
    let connect = |within| client::connect(station, (ENI_MANAGEMENT.ipv4, PORT).into(), within).unwrap();
    let reload = |text: &str| {
        firewall.agent.write_configuration(text).unwrap();
        firewall.agent.fwctl(&["reload"]).unwrap()
    };
    let entry = "\"tcp/9477 from 10.3.0.0/16\"";
    reload(&usual.replace(entry, &format!("{entry}, \"tcp/{PORT} from 10.3.0.0/16\""))).success().unwrap();
    let mut session = connect(SOON).unwrap();
    client::modbus_read(&mut session, 100, 2).unwrap();

    let refused = reload(&usual).success().unwrap_err().to_string();
    let server = ENI_MANAGEMENT.ipv4;
    assert!(
        refused.contains(&format!("to {server}:{PORT} by the management interface would be cut by `default`")),
        "{refused}"
    );
    client::modbus_read(&mut session, 100, 2).unwrap();
    assert!(connect(SOON).is_ok(), "what was in force still is");

    // A promise that the same file breaks.
    let broken = usual
        .replace("source = \"directory\"", "source = \"directory\"\ndisabled_system_rules = [\"system-management-1\"]");
    let refused = reload(&broken).success().unwrap_err().to_string();
    assert!(refused.contains("enable `system-management-1`"), "{refused}");

    reload(&usual.replace("[management]\n", "[management]\nkeep_access = false\n")).success().unwrap();
    assert!(connect(NEVER).is_err(), "it was meant");
    // Its flow is cut. For two minutes after the start, its next segment may be picked up as one of a connection of the host's own.
    let _picked_up_or_not = client::modbus_read(&mut session, 100, 2);
    assert!(firewall.agent.dropped("policy_changed").unwrap() > 0);
}
