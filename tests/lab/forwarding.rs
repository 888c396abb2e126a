//! What the policy allows works, what it forbids does not, in both families, with the sockets of real programs.

use std::io::ErrorKind;

use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT, OT2, PLC, WS};

use crate::firewall::{Firewall, NEVER, SOON, addresses, both};
use crate::topology::pings;

#[test]
fn allowed_services_work() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    for address in both(IT, 80) {
        let page = client::http_get(lab.ns(Node::Ws), address, "/", SOON).unwrap().unwrap();
        assert_eq!(page.status, 200, "{address}");
        assert!(page.start.contains("192.168.20.20") || page.start.contains("fd00:0:0:a20::20"), "{}", page.start);
    }
    for address in [both(OT, 502), both(OT2, 502)].concat() {
        assert_eq!(client::modbus(lab.ns(Node::It), address, SOON).unwrap().unwrap(), [100, 101], "{address}");
    }
    for (from, address) in [(Node::Ws, both(IT, 5000)), (Node::It, both(OT, 5000)), (Node::It, both(OT2, 5000))] {
        for address in address {
            let answer = client::udp_exchange(lab.ns(from), address, SOON).unwrap().unwrap();
            assert_eq!(answer, b"are you there?", "{from} to {address}");
        }
    }
    for (from, to) in [(Node::Ws, IT), (Node::Plc, OT2), (Node::It, OT), (Node::Ot, IT)] {
        for address in addresses(to) {
            assert!(pings(lab, from, address), "{from} pings {address}");
        }
    }
}

#[test]
fn a_large_transfer_arrives_whole() {
    let Some(firewall) = Firewall::up() else { return };
    const LENGTH: u64 = 50_000_000;
    for address in both(IT, 80) {
        let path = format!("/bytes/{LENGTH}");
        let page = client::http_get(firewall.lab.ns(Node::Ws), address, &path, SOON).unwrap().unwrap();
        assert_eq!((page.status, page.length), (200, LENGTH));
        assert_eq!(page.digest, client::expected_digest(LENGTH), "{address}");
    }
}

#[test]
fn what_no_rule_allows_is_dropped_and_counted() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let before = firewall.dropped("policy");
    for (from, address) in [(Node::Ot, both(PLC, 502)), (Node::Ws, both(OT, 80)), (Node::Plc, both(IT, 502))] {
        for address in address {
            let error = client::connect(lab.ns(from), address, NEVER).unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{from} to {address}: {error}");
        }
    }
    assert!(firewall.dropped("policy") >= before + 6, "each first SYN is counted");
}

#[test]
fn what_a_zone_pair_rejects_is_answered() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let before = firewall.dropped("rejected");
    for address in both(PLC, 502) {
        let error = client::connect(lab.ns(Node::It), address, SOON).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "TCP to {address}: {error}");
    }
    for address in both(WS, 5000) {
        let error = client::udp_exchange(lab.ns(Node::It), address, SOON).unwrap().unwrap_err();
        let unanswered = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!unanswered, "UDP to {address} was not answered by an ICMP error: {error}");
    }
    assert!(firewall.dropped("rejected") >= before + 4);
}
