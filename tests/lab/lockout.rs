//! The access to the firewall itself: what would cut it is refused, unless `agent.toml` says otherwise.

use std::fs;
use std::time::Duration;

use fw_testkit::client;
use fw_testkit::lab::{ENI_MANAGEMENT, Node};
use fw_testkit::service::{Endpoint, Protocol, Service};
use fw_testkit::wait;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// How long an agent may take that is not ready, and so is not waited for.
const START: Duration = Duration::from_secs(30);

#[test]
fn a_setting_that_was_refused_does_not_come_into_force_when_a_rule_expires() {
    let Some(firewall) = Firewall::up() else { return };
    let usual = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let _server = Service::start(firewall.lab.ns(Node::Fw), &[Endpoint::any(Protocol::Modbus, PORT)]).unwrap();
    let connect = |within| {
        client::connect(firewall.lab.ns(Node::Management), (ENI_MANAGEMENT.ipv4, PORT).into(), within).unwrap()
    };
    let entry = "\"tcp/9477 from 10.3.0.0/16\"";
    let generous = usual.replace(entry, &format!("{entry}, \"tcp/{PORT} from 10.3.0.0/16\""));
    // Late enough that both reloads are over.
    let expires = (OffsetDateTime::now_utc() + Duration::from_secs(10)).replace_nanosecond(0).unwrap();
    let expires = expires.format(&Rfc3339).unwrap();
    let rule = format!(
        "version = 1\n[[rule]]\nid = \"short\"\nfrom = [\"it\"]\nto = [\"ot\"]\nservices = [\"tcp/9\"]\naction = \"allow\"\nexpires = {expires}\n"
    );
    fs::write(firewall.lab.directory().join("policies/30-short.toml"), rule).unwrap();
    firewall.agent.write_configuration(&generous).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    let mut session = connect(SOON).unwrap();
    client::modbus_read(&mut session, 100, 2).unwrap();
    let epoch = || firewall.agent.fwctl_json(&["status"]).unwrap()["policy"]["epoch"].as_u64().unwrap();
    let before = epoch();
    firewall.agent.write_configuration(&usual).unwrap();
    let refused = firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap_err().to_string();
    assert!(refused.contains("would be cut by `default`"), "{refused}");
    assert_eq!(epoch(), before, "the rule has not expired yet");

    wait::until_true("the rule expires", START, || epoch() > before).unwrap();
    client::modbus_read(&mut session, 100, 2).unwrap();
    assert!(connect(SOON).is_ok(), "what was in force still is");
}

#[test]
fn a_management_interface_that_is_gone_from_the_configuration_stays_while_it_is_used() {
    let Some(mut firewall) = Firewall::up() else { return };
    let usual = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let _server = Service::start(firewall.lab.ns(Node::Fw), &[Endpoint::any(Protocol::Modbus, PORT)]).unwrap();
    let entry = "\"tcp/9477 from 10.3.0.0/16\"";
    let generous = usual.replace(entry, &format!("{entry}, \"tcp/{PORT} from 10.3.0.0/16\""));
    firewall.agent.write_configuration(&generous).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    let mut session =
        client::connect(firewall.lab.ns(Node::Management), (ENI_MANAGEMENT.ipv4, PORT).into(), SOON).unwrap().unwrap();
    client::modbus_read(&mut session, 100, 2).unwrap();

    let (before, rest) = generous.split_once("[management]").unwrap();
    let (_, after) = rest.split_once("[policy]").unwrap();
    for management in ["", "[management]\ninterface = \"ens9\"\n\n"] {
        firewall.agent.terminate().unwrap();
        firewall.agent.write_configuration(&format!("{before}{management}[policy]{after}")).unwrap();
        firewall.agent.start_unready().unwrap();
        let problem = || Some(firewall.agent.fwctl_json(&["status"]).ok()?["policy"]["problem"].as_str()?.to_owned());
        let problem = wait::until("the agent says why it is not ready", START, problem).unwrap();
        assert!(problem.contains("would no longer be the management interface"), "{problem}");
        client::modbus_read(&mut session, 100, 2).unwrap();
    }
}
