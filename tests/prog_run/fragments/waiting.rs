//! Fragments that come before the first one of their datagram: they wait in the agent, and are given back.

use std::sync::mpsc;
use std::time::Duration;

use fw_agent::dataplane::Dataplane as _;
use fw_agent::dataplane::kernel::{FragmentRecord, HeldFragments};
use fw_common::DropReason;
use fw_testkit::packet::Packet;

use super::{IT_HOSTS, OT_HOSTS, assert_dropped, assert_forwarded, datagram, datagrams, given_back, kept};
use crate::rig::{EXPOSED, MACS, NEIGHBOUR, OT, Outcome, Rig, XDP_REDIRECT};

/// How long a fragment may take that waits for nobody, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(20);

/// What the agent is told: frames, and `None` for each datagram that was judged.
fn told(held: &mut HeldFragments) -> Vec<Option<Vec<u8>>> {
    let mut records = Vec::new();
    loop {
        let before = records.len();
        held.poll(&mut |record| {
            records.push(match record {
                FragmentRecord::Waits { frame, .. } => Some(frame.to_vec()),
                FragmentRecord::Judged(_) => None,
            });
        });
        // A batch at a time.
        if records.len() == before {
            return records;
        }
    }
}

#[test]
fn fragments_that_come_too_early_wait_in_the_agent() {
    let Some(rig) = Rig::new() else { return };
    let mut held = rig.dataplane.held_fragments().unwrap();
    rig.dataplane.follow_routes_for(60).unwrap();
    for datagram in datagrams(4000) {
        let fragments = datagram.fragments(7, 1200);
        for early in [3, 1] {
            assert_eq!(rig.receive(OT, &fragments[early]), Outcome::Held);
        }
        assert_eq!(told(&mut held), [Some(fragments[3].clone()), Some(fragments[1].clone())]);
        assert_forwarded(&rig.receive(OT, &fragments[0]));
        assert_eq!(told(&mut held), [None], "the agent is told when the first has been judged");
        for waited in [3, 1] {
            let outcome = given_back(&rig, &fragments[waited]);
            let Outcome::Redirected(left) = outcome else { panic!("{outcome:?}") };
            assert_eq!(kept(&left), kept(&fragments[waited]));
        }
        assert_forwarded(&rig.receive(OT, &fragments[2]));
        assert!(told(&mut held).is_empty());
    }
}

#[test]
fn what_waits_is_judged_like_what_comes_in_order() {
    let Some(rig) = Rig::new() else { return };
    let mut held = rig.dataplane.held_fragments().unwrap();
    rig.dataplane.follow_routes_for(60).unwrap();
    for (from, to) in OT_HOSTS.into_iter().zip(IT_HOSTS) {
        let forbidden = Packet::udp(from, 4000, to, 54).payload(&[0; 2000]).macs(NEIGHBOUR, MACS[OT]);
        let late = forbidden.fragment(7, 1200..2008, false);
        assert_eq!(rig.receive(OT, &late), Outcome::Held);
        assert_dropped(&rig.receive(OT, &forbidden.fragment(7, 0..1200, true)), DropReason::Policy);
        assert_eq!(told(&mut held).len(), 2);
        assert_dropped(&given_back(&rig, &late), DropReason::FragmentOfDropped);
        // By another interface it is of another datagram.
        let spoofed = Packet::udp(from, 4000, to, 53).payload(&[0; 2000]).macs(NEIGHBOUR, MACS[EXPOSED]);
        assert_dropped(&rig.receive(EXPOSED, &spoofed.fragment(9, 0..1200, true)), DropReason::Spoofed);
    }
}

#[test]
fn what_is_given_back_does_not_wait_for_who_reads_the_tables() {
    let Some(rig) = Rig::new() else { return };
    let datagram = datagram();
    assert_forwarded(&rig.receive(OT, &datagram.fragment(7, 0..1200, true)));
    let rest = datagram.fragment(7, 1200..2008, false);
    let mut given_back = Vec::new();
    std::thread::scope(|scope| {
        let walked = rig.dataplane.visit_flows(&mut |_| {
            // The walk goes on when this returns.
            let (given, told) = mpsc::channel();
            scope.spawn({
                let (rig, rest) = (&rig, &rest);
                let run = || rig.dataplane.run_given_back(rest, rig.ifindexes[OT]).unwrap().0;
                move || given.send(rig.netns.within(run).unwrap())
            });
            given_back.push(told.recv_timeout(AT_ONCE));
            true
        });
        walked.unwrap();
    });
    assert_eq!(given_back, [Ok(XDP_REDIRECT)], "it waits for the walk");
}

#[test]
fn without_an_agent_nothing_waits() {
    let Some(rig) = Rig::new() else { return };
    for datagram in datagrams(4000) {
        let fragments = datagram.fragments(7, 1200);
        assert_dropped(&rig.receive(OT, &fragments[1]), DropReason::FragmentNotHeld);
        assert_forwarded(&rig.receive(OT, &fragments[0]));
        assert_forwarded(&rig.receive(OT, &fragments[2]));
        // The sender, or the network, repeats it.
        assert_forwarded(&rig.receive(OT, &fragments[1]));
        assert_forwarded(&rig.receive(OT, &fragments[3]));
    }
}

#[test]
fn the_ring_to_the_agent_is_bounded_and_its_losses_are_counted() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.follow_routes_for(600).unwrap();
    let datagram = datagram();
    let mut waiting = 0u32;
    let mut last = Outcome::Held;
    while last == Outcome::Held {
        last = rig.receive(OT, &datagram.fragment(waiting, 1200..2000, true));
        waiting += u32::from(last == Outcome::Held);
        assert!(waiting < 10_000, "the ring has no end");
    }
    assert_dropped(&last, DropReason::FragmentNotHeld);
    // What passes is not affected.
    for fragment in datagram.fragments(60_000, 1200) {
        assert_forwarded(&rig.receive(OT, &fragment));
    }
    let held = told(&mut rig.dataplane.held_fragments().unwrap());
    assert_eq!(held.len(), waiting as usize);
}
