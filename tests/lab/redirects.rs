//! Redirects that fail after the program has asked for them: counted by interface and error.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use fw_testkit::client;
use fw_testkit::lab::{ENI_OT, Node, OT};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;
use rustix::process::Signal;
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};

/// What `fwctl drops` says of packets that egress interfaces did not take.
fn errors(firewall: &Firewall) -> Vec<Value> {
    firewall.agent.fwctl_json(&["drops"]).unwrap()["redirect_errors"].as_array().unwrap().clone()
}

/// Waits until packets that this interface did not take are counted under one error, and returns how many.
fn counted(firewall: &Firewall, error: &str) -> u64 {
    let mut rows = Vec::new();
    wait::until_true("the failure is counted", SOON, || {
        rows = errors(firewall);
        !rows.is_empty()
    })
    .unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["interface"], &rows[0]["error"]), (&Value::from(ENI_OT.name), &Value::from(error)));
    rows[0]["packets"].as_u64().unwrap()
}

#[test]
fn packets_that_the_egress_interface_does_not_take_are_counted() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let to = both(OT, 5000)[0];
    client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
    assert_eq!(errors(&firewall), Vec::<Value>::new());
    // Without NAPI at its other end, a veth device says that it takes no redirected frames (`veth_set_xdp_features` in
    // drivers/net/veth.c, since Linux 6.3).
    lab.run(Node::OtRouter, &["ethtool", "-K", "fw", "gro", "off"]).unwrap().success().unwrap();
    assert!(client::udp_exchange(lab.ns(Node::It), to, NEVER).unwrap().is_err(), "the packet crossed");
    let packets = counted(&firewall, "eopnotsupp");
    assert!(packets >= 1);
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    let interfaces = status["interfaces"].as_array().unwrap();
    let at_ot = interfaces.iter().find(|interface| interface["device"] == ENI_OT.name).unwrap();
    assert!(at_ot["redirect_errors"].as_u64().unwrap() >= packets);
    let probe = (std::net::Ipv4Addr::LOCALHOST, 9477).into();
    let mut metrics = client::connect(lab.ns(Node::Fw), probe, SOON).unwrap().unwrap();
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    metrics.read_to_string(&mut text).unwrap();
    let line = format!("outpost_fw_redirect_errors_total{{interface=\"{}\",error=\"eopnotsupp\"}}", ENI_OT.name);
    assert!(text.lines().any(|found| found.starts_with(&line)), "{text}");
    // With NAPI again, packets cross, and nothing more is counted.
    lab.run(Node::OtRouter, &["ethtool", "-K", "fw", "gro", "on"]).unwrap().success().unwrap();
    client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
    let now = errors(&firewall);
    client::udp_exchange(lab.ns(Node::It), to, SOON).unwrap().unwrap();
    assert_eq!(errors(&firewall), now);
}

#[test]
fn packets_that_the_device_drops_as_it_sends_are_counted() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let stream = NumberedStream::start(lab.ns(Node::It), both(OT, 5000)[0], Duration::from_millis(5)).unwrap();
    wait::until_true("the stream is answered", SOON, || stream.answered() >= 10).unwrap();
    // The agent stands still, so that the flow keeps the next hop that it has when the other end goes down, and the device accepts
    // frames that it cannot deliver.
    firewall.agent.signal(Signal::STOP).unwrap();
    lab.run(Node::OtRouter, &["ip", "link", "set", "fw", "down"]).unwrap().success().unwrap();
    let sent = stream.sent();
    wait::until_true("the stream goes on", SOON, || stream.sent() >= sent + 10).unwrap();
    firewall.agent.signal(Signal::CONT).unwrap();
    assert!(counted(&firewall, "enxio") >= 1);
    assert!(!stream.finish().missing.is_empty());
}
