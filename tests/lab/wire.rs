//! What the firewall does to a packet, seen on both sides: the TTL is one less, the checksums are right, the hardware
//! addresses are those of the egress interface and of the next hop, and nothing else is different.

use fw_testkit::capture::{Capture, Frame};
use fw_testkit::client;
use fw_testkit::lab::{ENI_IT, ENI_OT, IT, Node, OT, mac_of};
use fw_testkit::packet::Decoded;

use crate::firewall::{Firewall, SOON, addresses};

/// The packet as it left one host and as it arrived at the other. A capture is read in the order of the frames, so the
/// request has to be asked for before its answer.
fn both_sides(left: &Capture, arrived: &Capture, wanted: impl Fn(&Frame) -> bool) -> (Decoded, Decoded) {
    let wanted = |outgoing: bool| {
        let wanted = &wanted;
        move |frame: &Frame| frame.outgoing == outgoing && wanted(frame)
    };
    let sent = left.wait_for("the packet as it was sent", SOON, wanted(true)).unwrap();
    let received = arrived.wait_for("the packet as it arrived", SOON, wanted(false)).unwrap();
    (sent.decode().unwrap(), received.decode().unwrap())
}

fn assert_forwarded(sent: &Decoded, received: &Decoded) {
    assert_eq!(received.ttl, sent.ttl - 1);
    assert!(sent.checksums_are_valid && received.checksums_are_valid);
    let unchanged = Decoded { ttl: sent.ttl, src_mac: sent.src_mac, dst_mac: sent.dst_mac, ..received.clone() };
    assert_eq!(unchanged, *sent);
}

#[test]
fn request_and_answer_are_rewritten_as_a_router_does() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let (it_mac, ot_mac) = (mac_of(IT.ipv4), mac_of(OT.ipv4));
    let (eni_it_mac, eni_ot_mac) = (mac_of(ENI_IT.ipv4), mac_of(ENI_OT.ipv4));
    for (it_address, ot_address) in addresses(IT).into_iter().zip(addresses(OT)) {
        let at_it = Capture::on(lab.ns(Node::It), "eth0").unwrap();
        let at_ot = Capture::on(lab.ns(Node::Ot), "eth0").unwrap();
        client::udp_exchange(lab.ns(Node::It), (ot_address, 5000).into(), SOON).unwrap().unwrap();

        let is_request = |frame: &Frame| frame.is_between(it_address, ot_address) && is_echo(frame);
        let (sent, received) = both_sides(&at_it, &at_ot, is_request);
        assert_forwarded(&sent, &received);
        assert_eq!((sent.src_mac, sent.dst_mac), (it_mac, eni_it_mac), "the request before the firewall");
        assert_eq!((received.src_mac, received.dst_mac), (eni_ot_mac, ot_mac), "the request after the firewall");

        let is_answer = |frame: &Frame| frame.is_between(ot_address, it_address) && is_echo(frame);
        let (sent, received) = both_sides(&at_ot, &at_it, is_answer);
        assert_forwarded(&sent, &received);
        assert_eq!((sent.src_mac, sent.dst_mac), (ot_mac, eni_ot_mac), "the answer before the firewall");
        assert_eq!((received.src_mac, received.dst_mac), (eni_it_mac, it_mac), "the answer after the firewall");
    }
}

fn is_echo(frame: &Frame) -> bool {
    frame.decode().is_some_and(|packet| packet.src_port == Some(5000) || packet.dst_port == Some(5000))
}
