//! The instruments of the other tests, with the kernel in place of the firewall: a capture sees what is sent, and a numbered
//! stream knows what was lost.

use std::time::Duration;

use fw_testkit::capture::{Capture, Sender};
use fw_testkit::lab::{self, IT, Node, OT, mac_of};
use fw_testkit::packet::Packet;
use fw_testkit::service::{Endpoint, Protocol};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;

use crate::firewall::{SOON, both};
use crate::topology::kernel_lab;

#[test]
fn a_raw_frame_arrives_as_it_was_sent() {
    let Some(lab) = kernel_lab() else { return };
    let arrivals = Capture::on(lab.ns(Node::It), "eth0").unwrap();
    let frame = Packet::udp(OT.ipv4, 4000, IT.ipv4, 4001)
        .payload(b"raw")
        .macs(mac_of(OT.ipv4), mac_of(lab::ENI_OT.ipv4))
        .build();
    Sender::on(lab.ns(Node::Ot), "eth0").unwrap().send(&frame).unwrap();
    let seen = arrivals
        .wait_for("the datagram", SOON, |frame| frame.is_between(OT.ipv4.into(), IT.ipv4.into()))
        .unwrap()
        .decode()
        .unwrap();
    assert_eq!((seen.ttl, seen.dst_port, seen.payload.as_slice()), (63, Some(4001), b"raw".as_slice()));
    assert!(seen.checksums_are_valid);
}

#[test]
fn a_numbered_stream_knows_what_was_lost() {
    let Some(lab) = kernel_lab() else { return };
    let _server = lab.serve(Node::Ot, &[Endpoint::any(Protocol::Echo, 5000)]).unwrap();
    for to in both(OT, 5000) {
        let whole = NumberedStream::start(lab.ns(Node::It), to, Duration::from_millis(1)).unwrap();
        wait::until_true("the first stream is answered", SOON, || whole.answered() >= 200).unwrap();
        let report = whole.finish();
        assert!(report.sent >= 200 && report.missing.is_empty() && report.repeated == 0, "{report:?}");
    }
    let broken = NumberedStream::start(lab.ns(Node::It), both(OT, 5000)[0], Duration::from_millis(1)).unwrap();
    wait::until_true("the second stream is answered", SOON, || broken.answered() >= 50).unwrap();
    lab.unplug(lab::ENI_OT).unwrap();
    let sent = broken.sent();
    wait::until_true("the second stream goes on", SOON, || broken.sent() >= sent + 50).unwrap();
    let report = broken.finish();
    assert!(report.missing.len() >= 40, "{} of {} are missing", report.missing.len(), report.sent);
    assert_eq!(report.missing.last(), Some(&(report.sent - 1)));
}
