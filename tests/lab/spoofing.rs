//! A host that claims another zone's address.

use fw_testkit::capture::{Capture, Sender};
use fw_testkit::lab::{ENI_OT, IT, Node, OT, PLC, mac_of};
use fw_testkit::packet::Packet;

use crate::firewall::{Firewall, SOON, addresses};

#[test]
fn a_spoofed_source_is_dropped_and_counted() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let arrivals = Capture::on(lab.ns(Node::It), "eth0").unwrap();
    let sender = Sender::on(lab.ns(Node::Ot), "eth0").unwrap();
    let macs = (mac_of(OT.ipv4), mac_of(ENI_OT.ipv4));
    let before = firewall.dropped("spoofed");
    for (claimed, to) in addresses(PLC).into_iter().zip(addresses(IT)) {
        for sequence in 0..10 {
            sender.send(&Packet::echo_request(claimed, to, 77, sequence).macs(macs.0, macs.1).build()).unwrap();
        }
    }
    // Honest pings follow on the same path: once they have arrived, the others would have.
    for (honest, to) in addresses(OT).into_iter().zip(addresses(IT)) {
        sender.send(&Packet::echo_request(honest, to, 78, 1).macs(macs.0, macs.1).build()).unwrap();
        arrivals
            .wait_for("the honest ping", SOON, |frame| {
                assert!(
                    !addresses(PLC).iter().any(|claimed| frame.is_between(*claimed, to)),
                    "a spoofed packet crossed"
                );
                !frame.outgoing && frame.is_between(honest, to)
            })
            .unwrap();
    }
    assert_eq!(firewall.dropped("spoofed") - before, 20);
}
