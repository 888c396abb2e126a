//! Redirects that fail after the program has asked for them: counted by interface and error.

use std::io::{Read as _, Write as _};

use fw_testkit::client;
use fw_testkit::lab::{ENI_OT, Node, OT};
use fw_testkit::wait;
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};

/// What `fwctl drops` says of packets that egress interfaces did not take.
fn errors(firewall: &Firewall) -> Vec<Value> {
    firewall.agent.fwctl_json(&["drops"]).unwrap()["redirect_errors"].as_array().unwrap().clone()
}

#[test]
fn packets_that_the_egress_interface_does_not_take_are_counted() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let to = both(OT, 5000)[0];
    client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
    assert_eq!(errors(&firewall), Vec::<Value>::new());
    // Without NAPI at its other end, a veth device takes no redirected frames (`veth_xdp_xmit` in drivers/net/veth.c).
    lab.run(Node::OtRouter, &["ethtool", "-K", "fw", "gro", "off"]).unwrap().success().unwrap();
    assert!(client::udp_exchange(lab.ns(Node::It), to, NEVER).unwrap().is_err(), "the packet crossed");
    let mut counted = Vec::new();
    wait::until_true("the failure is counted", SOON, || {
        counted = errors(&firewall);
        !counted.is_empty()
    })
    .unwrap();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!((&counted[0]["interface"], &counted[0]["error"]), (&Value::from(ENI_OT.name), &Value::from("enxio")));
    let packets = counted[0]["packets"].as_u64().unwrap();
    assert!(packets >= 1, "{counted:?}");
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    let interfaces = status["interfaces"].as_array().unwrap();
    let at_ot = interfaces.iter().find(|interface| interface["device"] == ENI_OT.name).unwrap();
    assert!(at_ot["redirect_errors"].as_u64().unwrap() >= packets);
    let probe = (std::net::Ipv4Addr::LOCALHOST, 9477).into();
    let mut metrics = client::connect(lab.ns(Node::Fw), probe, SOON).unwrap().unwrap();
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    metrics.read_to_string(&mut text).unwrap();
    let line = format!("outpost_fw_redirect_errors_total{{interface=\"{}\",error=\"enxio\"}}", ENI_OT.name);
    assert!(text.lines().any(|found| found.starts_with(&line)), "{text}");
    // With NAPI again, packets cross, and nothing more is counted.
    lab.run(Node::OtRouter, &["ethtool", "-K", "fw", "gro", "on"]).unwrap().success().unwrap();
    client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
    let now = errors(&firewall);
    client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
    assert_eq!(errors(&firewall), now);
}
