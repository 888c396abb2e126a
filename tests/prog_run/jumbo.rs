//! Frames that come in several buffers, of which the program sees the first.

use fw_agent::dataplane::{AttachedInterface, Dataplane as _, Settings};
use fw_common::DropReason;
use fw_testkit::packet::{Decoded, Packet};

use super::flows::pairs;
use super::rig::{IT, MACS, NEIGHBOUR, OT, Outcome, Rig, attachment, ip, settings};

/// More than a page, so that the kernel makes several buffers of the frame.
const LARGE: usize = 8900;

/// A rig whose interfaces take jumbo frames.
fn large() -> Option<Rig> {
    let rig = Rig::new()?;
    for (place, name) in [(OT, "ot"), (IT, "it")] {
        rig.netns
            .within(|| {
                ip(&format!("link set {name}-far mtu 9001"));
                ip(&format!("link set {name} mtu 9001"));
                let interface = AttachedInterface { mtu: 9001, ..attachment(place, rig.ifindexes[place], place) };
                rig.dataplane.attach(&interface).unwrap();
            })
            .unwrap();
    }
    Some(rig)
}

#[test]
fn jumbo_frames_are_forwarded_whole() {
    let Some(rig) = large() else { return };
    let payload: Vec<u8> = (0..LARGE).map(|at| at as u8).collect();
    for (ot, it) in pairs() {
        let sent = Packet::udp(ot, 4000, it, 53).payload(&payload);
        let outcome = rig.send(OT, sent.clone());
        let Outcome::Redirected(frame) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(frame.len(), sent.build().len());
        assert!(frame.ends_with(&payload));
        let left = Decoded::from_ethernet(frame).unwrap();
        assert!(left.checksums_are_valid);
        assert_eq!(left.ttl, 63);
    }
}

#[test]
fn the_checksum_of_a_jumbo_frame_is_verified_to_its_end() {
    let Some(rig) = large() else { return };
    rig.dataplane.set_settings(&Settings { verify_checksums: true, ..settings() }).unwrap();
    for len in [LARGE, LARGE - 1, LARGE - 2, LARGE - 3] {
        let (ot, it) = pairs()[0];
        let frame = Packet::udp(ot, 4000, it, 53).payload(&vec![0x5a; len]).macs(NEIGHBOUR, MACS[OT]).build();
        assert!(matches!(rig.receive(OT, &frame), Outcome::Redirected(_)));
        for at in [frame.len() - 1, frame.len() - 2, 5000, 3000] {
            let mut spoilt = frame.clone();
            spoilt[at] ^= 1;
            assert_eq!(rig.receive(OT, &spoilt), Outcome::Dropped(DropReason::TransportChecksum), "byte {at}");
        }
    }
}

#[test]
fn a_jumbo_frame_that_does_not_fit_is_answered() {
    let Some(rig) = large() else { return };
    let interface = AttachedInterface { mtu: 1500, ..attachment(IT, rig.ifindexes[IT], IT) };
    rig.netns
        .within(|| {
            ip("link set it mtu 1500");
            rig.dataplane.attach(&interface).unwrap();
        })
        .unwrap();
    rig.dataplane.invalidate_next_hops().unwrap();
    for (ot, it) in pairs() {
        let outcome = rig.send(OT, Packet::udp(ot, 4000, it, 53).payload(&[7; LARGE]).ipv4_fragment(0, 0x4000));
        let Outcome::Answered(DropReason::TooBig, frame) = outcome else { panic!("{outcome:?}") };
        let answer = Decoded::from_ethernet(&frame).unwrap();
        assert!(answer.checksums_are_valid);
        assert_eq!(answer.dst_addr, ot);
    }
}

#[test]
fn a_frame_that_is_shorter_than_it_says_is_dropped_whatever_its_buffers() {
    let Some(rig) = large() else { return };
    let (ot, it) = pairs()[0];
    let mut frame = Packet::udp(ot, 4000, it, 53).payload(&[7; LARGE]).macs(NEIGHBOUR, MACS[OT]).build();
    frame.pop();
    assert_eq!(rig.receive(OT, &frame), Outcome::Dropped(DropReason::IpLength));
}
