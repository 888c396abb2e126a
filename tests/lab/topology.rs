//! The lab itself, with the kernel in place of the firewall: what later tests blame on the firewall must work here.

use std::net::IpAddr;

use fw_testkit::lab::{self, EXPOSED, Forwarding, Host, IT, IT2, Lab, LabOptions, MANAGEMENT, Node, OT, OT2, PLC, WS};
use fw_testkit::netns::NetNs;

use crate::firewall::{addresses, raise};

pub(crate) fn kernel_lab() -> Option<Lab> {
    raise(LabOptions { forwarding: Forwarding::Kernel, ..LabOptions::default() })
}

pub(crate) fn pings(lab: &Lab, from: Node, to: IpAddr) -> bool {
    lab.run(from, &["ping", "-n", "-c1", "-W2", &to.to_string()]).unwrap().status.success()
}

#[test]
fn every_host_reaches_every_other_in_both_families() {
    let Some(lab) = kernel_lab() else { return };
    let hosts: [Host; 7] = [PLC, WS, EXPOSED, OT, OT2, IT, IT2];
    for from in hosts {
        for to in hosts.into_iter().filter(|to| *to != from) {
            for address in addresses(to) {
                assert!(pings(&lab, from.node, address), "{} to {address}", from.node);
            }
        }
    }
    assert!(pings(&lab, MANAGEMENT.node, lab::ENI_MANAGEMENT.ipv4.into()));
}

#[test]
fn a_route_from_on_premises_shows_the_transit_router_and_the_firewall() {
    let Some(lab) = kernel_lab() else { return };
    for (target, hops) in
        [(IT.ipv4.to_string(), ["172.31.255.2", "10.0.1.10"]), (IT.ipv6.to_string(), ["fd99::2", "fd00:0:0:1::10"])]
    {
        let route = lab.run(Node::Ws, &["traceroute", "-n", "-q1", "-w2", "-m10", &target]).unwrap().success().unwrap();
        assert!(hops.iter().all(|hop| route.contains(hop)) && route.trim().contains(&target), "{route}");
    }
}

#[test]
fn two_labs_live_at_once_and_leave_nothing_behind() {
    let (Some(first), Some(second)) = (kernel_lab(), kernel_lab()) else { return };
    let names = [first.name().to_owned(), second.name().to_owned()];
    assert_ne!(names[0], names[1]);
    assert!(pings(&first, Node::Ws, IT.ipv4.into()) && pings(&second, Node::Ws, IT.ipv4.into()));
    drop(first);
    assert!(pings(&second, Node::Ws, IT.ipv4.into()), "removing one lab disturbed the other");
    drop(second);
    for name in names {
        assert!(NetNs::names_with_prefix(&format!("{name}-")).is_empty());
        assert!(!lab::names().contains(&name));
    }
}

#[test]
fn an_interface_can_be_unplugged_and_plugged_in_and_a_host_replaced() {
    let Some(lab) = kernel_lab() else { return };
    lab.unplug(lab::ENI_IT).unwrap();
    assert!(!pings(&lab, Node::Ws, IT.ipv4.into()));
    lab.plug(lab::ENI_IT).unwrap();
    assert!(pings(&lab, Node::Ws, IT.ipv4.into()));
    lab.replace_host(OT, [0x02, 0, 0, 0, 0, 0x99]).unwrap();
    let link = lab.run(Node::Ot, &["ip", "link", "show", "eth0"]).unwrap().success().unwrap();
    assert!(link.contains("02:00:00:00:00:99"), "{link}");
}
