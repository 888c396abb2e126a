//! The TCP segment size that a SYN may announce.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fw_agent::dataplane::Dataplane as _;
use fw_testkit::packet::tcp_flags::{ACK, SYN};
use fw_testkit::packet::{Decoded, Packet, Transport};

use super::flows::pairs;
use super::rig::{IT, OT, Outcome, Rig};

/// Limits of 1,300 bytes for both families of IT.
fn limited() -> Option<Rig> {
    let rig = Rig::new()?;
    limit(&rig, &[("10.2.0.0/16", 1300), ("fd00:0:0:200::/56", 1300)]);
    Some(rig)
}

fn limit(rig: &Rig, limits: &[(&str, u16)]) {
    let limits: BTreeMap<_, _> = limits.iter().map(|(net, mss)| (net.parse().unwrap(), *mss)).collect();
    rig.dataplane.set_segment_limits(&limits).unwrap();
}

fn segment(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8, options: &[u8]) -> Packet {
    let transport = Transport::Tcp { src_port: from.1, dst_port: to.1, flags, sequence: 7, acknowledgement: 8 };
    Packet::new(from.0, to.0, transport).tcp_options(options)
}

/// The options of a segment that was let through, with all checksums right.
#[track_caller]
fn options(outcome: &Outcome) -> Vec<u8> {
    let Outcome::Redirected(frame) = outcome else { panic!("{outcome:?}") };
    assert!(Decoded::from_ethernet(frame).unwrap().checksums_are_valid);
    let headers = if frame[14] >> 4 == 4 { 34 } else { 54 };
    frame[headers + 20..headers + usize::from(frame[headers + 12] >> 4) * 4].to_vec()
}

/// An announcement of `mss` behind options of an even and of an odd length.
fn announcing(mss: u16) -> [Vec<u8>; 2] {
    let [high, low] = mss.to_be_bytes();
    [vec![2, 4, high, low], vec![3, 3, 2, 2, 4, high, low, 1]]
}

#[test]
fn what_a_syn_announces_is_limited() {
    let Some(rig) = limited() else { return };
    for (port, (ot, it)) in (4000..).zip(pairs()) {
        let (client, server) = ((ot, port), (it, 80));
        // By either end: what one announces is what the other sends.
        for (mss, expected) in [(1460, 1300), (1301, 1300), (1300, 1300), (800, 800), (65_535, 1300), (0, 0)] {
            for (sent, left) in announcing(mss).iter().zip(announcing(expected)) {
                assert_eq!(options(&rig.send(OT, segment(client, server, SYN, sent))), left, "{mss}");
            }
        }
        for (sent, left) in announcing(1460).iter().zip(announcing(1300)) {
            assert_eq!(options(&rig.send(IT, segment(server, client, SYN | ACK, sent))), left);
        }
    }
}

#[test]
fn other_segments_and_other_destinations_keep_what_they_have() {
    let Some(rig) = limited() else { return };
    let (ot, it) = pairs()[0];
    let [sent, _] = announcing(1460);
    assert_eq!(
        options(&rig.send(OT, segment((ot, 4000), (it, 80), SYN, &[1, 1, 1, 1]))),
        [1, 1, 1, 1],
        "nothing announced"
    );
    let exposed = ("10.0.1.1".parse().unwrap(), 80);
    assert_eq!(options(&rig.send(OT, segment((ot, 4001), exposed, SYN, &sent))), sent);
    // Longer prefixes come first, and what is no longer configured does not count.
    limit(&rig, &[("10.2.0.0/16", 1300), ("10.2.1.20/32", 1400)]);
    assert_eq!(options(&rig.send(OT, segment((ot, 4002), (it, 80), SYN, &sent))), announcing(1400)[0]);
    limit(&rig, &[("10.1.1.0/24", 900)]);
    assert_eq!(options(&rig.send(OT, segment((ot, 4003), (it, 80), SYN, &sent))), announcing(900)[0]);
    limit(&rig, &[]);
    assert_eq!(options(&rig.send(OT, segment((ot, 4004), (it, 80), SYN, &sent))), sent);
}
