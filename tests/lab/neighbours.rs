//! Hosts on the firewall's own links: one is replaced by another with the same address, another is not there.

use std::net::IpAddr;
use std::time::Duration;

use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT};
use fw_testkit::wait;

use crate::firewall::{Firewall, SOON, both};

/// How long the hardware address of a replaced host may be a black hole.
const REDISCOVERY: Duration = Duration::from_secs(10);

#[test]
fn a_replaced_host_is_reached_again() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let answers = |to| client::udp_exchange(lab.ns(Node::Ws), to, Duration::from_millis(300)).unwrap().is_ok();
    for to in both(IT, 5000) {
        assert!(answers(to), "{to}");
    }
    lab.replace_host(IT, [0x02, 0, 0, 0, 0x0b, 0xad]).unwrap();
    for to in both(IT, 5000) {
        wait::until_true(&format!("{to} answers with its new hardware address"), REDISCOVERY, || answers(to)).unwrap();
    }
}

#[test]
fn an_unreachable_host_is_answered_for() {
    let Some(firewall) = Firewall::up() else { return };
    let absent: [IpAddr; 2] = ["10.1.1.77".parse().unwrap(), "fd00:0:0:101::77".parse().unwrap()];
    for (address, said) in absent.into_iter().zip(["Destination Host Unreachable", "Address unreachable"]) {
        // A UDP socket would not tell: these errors are not fatal to it.
        let ping = firewall.lab.run(Node::It, &["ping", "-n", "-c1", "-W8", &address.to_string()]).unwrap();
        assert!(ping.stdout.contains(said), "{address}: {}", ping.stdout);
        let router = if address.is_ipv4() { "From 10.2.1.10 " } else { "From fd00:0:0:201::10 " };
        assert!(ping.stdout.contains(router), "{}", ping.stdout);
    }
    for to in both(OT, 5000) {
        assert!(client::udp_exchange(firewall.lab.ns(Node::It), to, SOON).unwrap().is_ok(), "the others are reached");
    }
}
