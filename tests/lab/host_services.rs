//! What the firewall's own host needs goes on under a default drop: address resolution in both families, router
//! advertisements, DHCP, instance metadata, and the management station.

use std::io::ErrorKind;
use std::net::Ipv6Addr;
use std::time::Duration;

use fw_testkit::capture::Sender;
use fw_testkit::client;
use fw_testkit::lab::{ENI_MANAGEMENT, ENI_OT, METADATA, Node, OT, link_local_of, mac_of};
use fw_testkit::packet::{Packet, Transport};
use fw_testkit::wait;

use crate::firewall::{Firewall, NEVER, SOON, both};

#[test]
fn a_host_resolves_the_firewall_and_the_firewall_a_host() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let own_addresses = [ENI_OT.ipv4.to_string(), ENI_OT.ipv6.unwrap().to_string()];
    lab.run(Node::Ot, &["ip", "neigh", "flush", "dev", "eth0"]).unwrap().success().unwrap();
    for address in &own_addresses {
        // Whether the ping itself is allowed does not matter: it makes the kernel ask.
        lab.run(Node::Ot, &["ping", "-n", "-c1", "-W1", address]).unwrap();
        wait::until_true("the host resolves the firewall", SOON, || {
            let neighbour = lab.run(Node::Ot, &["ip", "neigh", "show", address]).unwrap().stdout;
            neighbour.contains("lladdr")
        })
        .unwrap();
    }
    lab.run(Node::Fw, &["ip", "neigh", "flush", "dev", "ens7"]).unwrap().success().unwrap();
    for address in both(OT, 5000) {
        wait::until_true("the firewall resolves the host", SOON, || {
            client::udp_exchange(lab.ns(Node::It), address, Duration::from_secs(1)).unwrap().is_ok()
        })
        .unwrap();
    }
}

/// A router solicitation (RFC 4861, 4.1), as the kernel sends it when an interface comes up.
fn solicitation() -> Vec<u8> {
    let mac = mac_of(ENI_OT.ipv4);
    let (own, all_routers): (Ipv6Addr, Ipv6Addr) = (link_local_of(mac), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
    let solicitation = Transport::Icmp { kind: 133, code: 0, rest: [0; 4] };
    Packet::new(own, all_routers, solicitation).ttl(255).macs(mac, [0x33, 0x33, 0, 0, 0, 2]).build()
}

#[test]
fn a_router_is_solicited_and_its_advertisement_arrives() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let line = ["ip", "-6", "route", "del", "default", "dev", "ens7", "proto", "ra"];
    lab.run(Node::Fw, &line).unwrap().success().unwrap();
    Sender::on(lab.ns(Node::Fw), "ens7").unwrap().send(&solicitation()).unwrap();
    wait::until_true("the router's route comes back", SOON, || {
        let routes = lab.run(Node::Fw, &["ip", "-6", "route", "show", "default", "dev", "ens7"]).unwrap().stdout;
        routes.contains("proto ra")
    })
    .unwrap();
}

#[test]
fn the_dhcp_lease_is_renewed() {
    let Some(firewall) = Firewall::up() else { return };
    let client = ["udhcpc", "-n", "-q", "-f", "-i", "ens7", "-s", "/bin/true", "-t", "5", "-T", "1"];
    let outcome = firewall.lab.run(Node::Fw, &client).unwrap();
    assert!(outcome.stderr.contains("lease of 10.1.1.10 obtained"), "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn instance_metadata_answers() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let url = |path: &str| format!("http://{METADATA}/latest/{path}");
    let token = lab.run(Node::Fw, &["curl", "-sS", "-m5", "-X", "PUT", &url("api/token")]).unwrap().success().unwrap();
    let header = format!("X-aws-ec2-metadata-token: {token}");
    for interface in ["ens5", "ens7"] {
        if interface != "ens5" {
            let route = format!("{METADATA}/32");
            lab.run(Node::Fw, &["ip", "route", "replace", &route, "dev", interface]).unwrap().success().unwrap();
        }
        let id = lab.run(Node::Fw, &["curl", "-sS", "-m5", "-H", &header, &url("meta-data/instance-id")]).unwrap();
        assert_eq!(id.success().unwrap(), "i-0f1e2d3c4b5a69788", "by {interface}");
    }
}

#[test]
fn the_management_station_reaches_what_it_may_and_nothing_else() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let station = lab.ns(Node::Management);
    // The metrics server listens on the loopback address only, so an allowed packet is answered by the kernel's reset.
    let allowed = client::connect(station, (ENI_MANAGEMENT.ipv4, 9477).into(), SOON).unwrap().unwrap_err();
    assert_eq!(allowed.kind(), ErrorKind::ConnectionRefused, "{allowed}");
    let forbidden = client::connect(station, (ENI_MANAGEMENT.ipv4, 22).into(), NEVER).unwrap().unwrap_err();
    assert_eq!(forbidden.kind(), ErrorKind::TimedOut, "{forbidden}");
}
