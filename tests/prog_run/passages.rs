//! What is remembered of two hosts for the next flow between them, and what makes the program forget it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_agent::dataplane::{AttachedInterface, Dataplane as _};
use fw_common::DropReason;
use fw_testkit::packet::Packet;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::flows::pairs;
use crate::rig::{IT, OT, Outcome, POLICY, Rig, attachment};

/// A firewall that has opened a flow between each pair of hosts, and whose routes somebody follows, so that it forgets nothing of itself.
fn rig() -> Option<Rig> {
    // Each processor remembers for itself: the packets of a test pass one of them.
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).unwrap();
    let rig = Rig::new()?;
    rig.dataplane.follow_routes_for(3600).unwrap();
    for (ot, it) in pairs() {
        assert_eq!(open(&rig, (ot, it), 4000).reason(), None);
    }
    Some(rig)
}

fn open(rig: &Rig, (ot, it): (IpAddr, IpAddr), port: u16) -> Outcome {
    rig.send(OT, Packet::udp(ot, port, it, 53))
}

#[test]
fn later_flows_leave_as_the_first() {
    let Some(rig) = rig() else { return };
    for pair in pairs() {
        let (known, anew) = (open(&rig, pair, 4001), {
            rig.dataplane.invalidate_next_hops().unwrap();
            open(&rig, pair, 4001)
        });
        assert!(matches!(known, Outcome::Redirected(_)));
        assert_eq!(known, anew);
    }
}

/// What the other tests say is worth something only if something is remembered: here nobody tells of the change.
#[test]
fn without_news_two_hosts_are_remembered() {
    let Some(rig) = rig() else { return };
    rig.ip("route add blackhole 10.2.1.20/32");
    rig.ip("-6 route add blackhole fd00:0:0:201::20/128");
    let [ipv4, ipv6] = pairs();
    for pair in [ipv4, ipv6] {
        assert_eq!(open(&rig, pair, 4001).reason(), None);
    }
    let stranger = "10.1.1.99".parse().unwrap();
    assert_eq!(open(&rig, (stranger, ipv4.1), 4001).reason(), Some(DropReason::UnreachableRoute));
}

#[test]
fn what_was_decided_is_not_remembered() {
    let Some(rig) = rig() else { return };
    for (ot, it) in pairs() {
        for round in 0..2 {
            assert_eq!(rig.send(OT, Packet::udp(ot, 4001, it, 81)).reason(), Some(DropReason::Rejected));
            assert_eq!(rig.send(OT, Packet::udp(ot, 4001, it, 5000)).reason(), Some(DropReason::Policy));
            assert_eq!(open(&rig, (ot, it), 4001 + round).reason(), None);
        }
    }
    rig.apply(&POLICY.replace("\"udp/53\"", "\"udp/54\""));
    for (ot, it) in pairs() {
        assert_eq!(open(&rig, (ot, it), 4003).reason(), Some(DropReason::Policy));
        assert_eq!(rig.send(OT, Packet::udp(ot, 4003, it, 54)).reason(), None);
    }
}

#[test]
fn the_other_way_is_another_question() {
    let Some(rig) = rig() else { return };
    for (ot, it) in pairs() {
        assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, 4001)).reason(), Some(DropReason::Policy));
        // Neither does it help to come from elsewhere.
        assert_eq!(rig.send(IT, Packet::udp(ot, 4001, it, 53)).reason(), Some(DropReason::Spoofed));
    }
}

#[test]
fn an_address_that_becomes_ours_is_noticed() {
    let Some(rig) = rig() else { return };
    for (ot, it) in pairs() {
        rig.dataplane.set_local_addresses(&[it], &[]).unwrap();
        assert_eq!(open(&rig, (ot, it), 4001).reason(), Some(DropReason::Policy), "no rule lets ot in");
        rig.dataplane.set_local_addresses(&[ot], &[]).unwrap();
        assert_eq!(open(&rig, (ot, it), 4002).reason(), Some(DropReason::SourceOwn));
        rig.dataplane.set_local_addresses(&[], &[]).unwrap();
        assert_eq!(open(&rig, (ot, it), 4003).reason(), None);
    }
}

#[test]
fn an_address_that_becomes_ours_is_noticed_also_if_others_find_no_place() {
    let Some(rig) = rig() else { return };
    let [(ot, it), _] = pairs();
    let too_many = (0..2048u128).map(|number| IpAddr::from(Ipv6Addr::from(0xfd77 << 112 | number)));
    let own: Vec<IpAddr> = too_many.chain([it]).collect();
    let refused = rig.dataplane.set_local_addresses(&own, &[]).unwrap_err().to_string();
    assert!(refused.contains("LOCAL6"), "{refused}");
    assert_eq!(open(&rig, (ot, it), 4001).reason(), Some(DropReason::Policy), "no rule lets ot in");
}

#[test]
fn zones_of_another_policy_hold_at_once() {
    let Some(rig) = rig() else { return };
    rig.apply(&POLICY.replace("10.1.0.0/16", "10.1.2.0/24").replace("fd00:0:0:200::/56", "fd00:0:0:2f0::/60"));
    let [ipv4, ipv6] = pairs();
    assert_eq!(open(&rig, ipv4, 4001).reason(), Some(DropReason::Spoofed));
    assert_eq!(open(&rig, ipv6, 4001).reason(), Some(DropReason::DestinationZone));
}

#[test]
fn an_interface_that_becomes_another_is_noticed() {
    let Some(rig) = rig() else { return };
    let attach = |interface: &AttachedInterface| rig.netns.within(|| rig.dataplane.attach(interface)).unwrap().unwrap();
    let ingress = attachment(OT, rig.ifindexes[OT], OT);
    attach(&AttachedInterface { management: true, ..ingress.clone() });
    for pair in pairs() {
        assert_eq!(open(&rig, pair, 4001).reason(), Some(DropReason::ManagementTransit));
    }
    attach(&ingress);
    let egress = attachment(IT, rig.ifindexes[IT], IT);
    attach(&AttachedInterface { management: true, ..egress });
    for pair in pairs() {
        assert_eq!(open(&rig, pair, 4002).reason(), Some(DropReason::ManagementTransit));
    }
}

#[test]
fn a_route_that_goes_is_noticed() {
    let Some(rig) = rig() else { return };
    rig.ip("route add blackhole 10.2.1.20/32");
    rig.ip("-6 route add blackhole fd00:0:0:201::20/128");
    rig.dataplane.invalidate_next_hops().unwrap();
    for pair in pairs() {
        assert_eq!(open(&rig, pair, 4001).reason(), Some(DropReason::UnreachableRoute));
    }
}

/// More pairs of hosts than there are places.
#[test]
fn pairs_that_share_a_place_are_told_apart() {
    let Some(rig) = rig() else { return };
    let hosts = |number: u16| {
        let [high, low] = number.to_be_bytes();
        (Ipv4Addr::new(10, 1, 100 + high, low).into(), IpAddr::from(Ipv4Addr::new(10, 2, 1, 20)))
    };
    for round in 0..2 {
        for number in 0..2048 {
            let (ot, it) = hosts(number);
            let Outcome::Redirected(_) = open(&rig, (ot, it), 4001 + round) else { panic!("pair {number}") };
            // The same hosts, but of a zone that the sender is not in.
            assert_eq!(
                rig.send(IT, Packet::udp(ot, 4001, it, 53)).reason(),
                Some(DropReason::Spoofed),
                "pair {number}"
            );
        }
    }
}
