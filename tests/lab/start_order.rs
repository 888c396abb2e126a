//! From before the agent starts until after it is ready, hosts send without a pause: nothing crosses before the programs are
//! attached, and nothing that the policy forbids crosses ever.

use std::net::IpAddr;
use std::time::Duration;

use fw_testkit::capture::Capture;
use fw_testkit::lab::{IT, Lab, Node, OT, PLC};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;

use crate::firewall::{Firewall, SOON, addresses, both};

/// Many packets fall into even a short gap.
const INTERVAL: Duration = Duration::from_micros(500);

fn arrivals(capture: &Capture, sources: [IpAddr; 2]) -> usize {
    let from_there = |frame: &fw_testkit::capture::Frame| {
        !frame.outgoing && frame.decode().is_some_and(|packet| sources.contains(&packet.src_addr))
    };
    capture.drain().unwrap().iter().filter(|frame| from_there(frame)).count()
}

fn streams(lab: &Lab, from: Node, to: [std::net::SocketAddr; 2]) -> [NumberedStream; 2] {
    to.map(|to| NumberedStream::start(lab.ns(from), to, INTERVAL).unwrap())
}

#[test]
fn no_packet_crosses_uninspected_at_the_start() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let lab = &firewall.lab;
    let at_ot = Capture::on(lab.ns(Node::Ot), "eth0").unwrap();
    let at_plc = Capture::on(lab.ns(Node::Plc), "eth0").unwrap();
    let allowed = streams(lab, Node::It, both(OT, 5000));
    let forbidden = streams(lab, Node::Ot, both(PLC, 5000));
    let everyone_sent = |many: u64| allowed.iter().chain(&forbidden).all(|stream| stream.sent() >= many);
    wait::until_true("every stream has begun", SOON, || everyone_sent(100)).unwrap();
    assert_eq!(arrivals(&at_ot, addresses(IT)), 0, "crossed before any agent was started");

    firewall.agent.start().unwrap();
    wait::until_true("allowed packets are answered", SOON, || allowed.iter().all(|stream| stream.answered() > 0))
        .unwrap();
    let sent = forbidden.iter().map(NumberedStream::sent).max().unwrap();
    wait::until_true("forbidden packets go on", SOON, || everyone_sent(sent + 100)).unwrap();

    // While it crosses: what the host itself has sent since the beginning may have filled the socket, which then takes no more.
    wait::until_true("the capture sees what crosses", SOON, || arrivals(&at_ot, addresses(IT)) > 0).unwrap();
    drop((allowed, forbidden));
    assert_eq!(arrivals(&at_plc, addresses(OT)), 0, "forbidden packets crossed");
}

#[test]
fn forwarding_is_off_until_the_programs_are_attached() {
    let Some(firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let forwards = firewall.lab.run(Node::Fw, &["cat", "/proc/sys/net/ipv4/ip_forward"]).unwrap().success().unwrap();
    assert_eq!(forwards.trim(), "0", "the lab must not forward by itself, or this file tests nothing");
}
