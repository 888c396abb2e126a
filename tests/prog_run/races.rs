//! Two processors that judge packets of the same flows at the same time.

use std::net::Ipv4Addr;
use std::sync::Barrier;

use fw_agent::dataplane::Dataplane as _;
use fw_testkit::packet::{Packet, Transport, tcp_flags};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::flows::{flows, short_timeouts, wait};
use crate::rig::{IT, MACS, NEIGHBOUR, OT, POLICY, Rig, Setup};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
/// Half-open flows give way after a few hundred, so that who confirms one and who ends it meet.
const SETUP: Setup<'static> =
    Setup { policy: Some(POLICY), max_flows: 4_096, max_half_open: Some(256), handover: true };
const ROUNDS: u16 = 20_000;

/// The packets of a round: a datagram and its answer, a handshake, a reset and another first segment in its place, and a segment that
/// nobody will answer.
fn round(number: u16) -> Vec<(usize, Packet)> {
    use tcp_flags::{ACK, RST, SYN};
    let port = 2_000 + number % 700;
    let segment = |from_client: bool, flags, [sequence, acknowledgement]: [u32; 2]| {
        let (src, dst, src_port, dst_port) =
            if from_client { (CLIENT, SERVER, port, 80) } else { (SERVER, CLIENT, 80, port) };
        let transport = Transport::Tcp { src_port, dst_port, flags, sequence, acknowledgement };
        (if from_client { OT } else { IT }, Packet::new(src, dst, transport))
    };
    let [high, low] = number.to_be_bytes();
    vec![
        (OT, Packet::udp(CLIENT, port, SERVER, 53)),
        (IT, Packet::udp(SERVER, 53, CLIENT, port)),
        segment(true, SYN, [100, 0]),
        segment(false, SYN | ACK, [500, 101]),
        segment(true, ACK, [101, 501]),
        segment(true, RST | ACK, [101, 501]),
        segment(true, SYN, [900, 0]),
        (OT, Packet::tcp(Ipv4Addr::new(10, 1, 2 + high, low), 1_024, SERVER, 80, SYN)),
    ]
}

/// Whatever meets whatever: each flow is counted once while it lives, and not at all when it is over.
#[test]
fn processors_that_race_leave_nothing_behind() {
    let Some(rig) = Rig::with(SETUP) else { return };
    let allowed = sched_getaffinity(None).unwrap();
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number)).take(2).collect();
    if processors.len() < 2 {
        eprintln!("skipped: this machine has one processor");
        return;
    }
    let rounds: Vec<Vec<(usize, Vec<u8>)>> = (0..ROUNDS)
        .map(|number| {
            let build = |(slot, packet): (usize, Packet)| (slot, packet.macs(NEIGHBOUR, MACS[slot]).build());
            round(number).into_iter().map(build).collect()
        })
        .collect();
    let start = Barrier::new(processors.len());
    std::thread::scope(|scope| {
        for processor in processors {
            let (rig, rounds, start) = (&rig, &rounds, &start);
            scope.spawn(move || {
                let judge = || {
                    let mut only = CpuSet::new();
                    only.set(processor);
                    sched_setaffinity(None, &only).unwrap();
                    start.wait();
                    for (slot, frame) in rounds.iter().flatten() {
                        rig.dataplane.run(frame, rig.ifindexes[*slot]).unwrap();
                    }
                };
                rig.netns.within(judge).unwrap();
            });
        }
    });
    let happenings = rig.dataplane.happenings().unwrap();
    assert!(happenings.opened > 1_000 && happenings.evicted > 100, "{happenings:?}");
    let keys = |rig: &Rig| flows(rig).iter().map(|flow| flow.key).collect::<Vec<_>>();
    let mut twice = keys(&rig);
    twice.sort_unstable_by_key(|key| (key.low_addr, key.high_addr, key.low_port, key.high_port, key.protocol));
    let all = twice.len();
    twice.dedup();
    assert_eq!(twice.len(), all, "no key has two flows");
    short_timeouts(&rig, 1);
    wait(5);
    while rig.dataplane.sweep().unwrap() != 0 {}
    let occupancy = rig.dataplane.occupancy().unwrap()[0];
    assert_eq!((occupancy.used, occupancy.half_open, keys(&rig).len()), (0, 0, 0), "{happenings:?}");
}
