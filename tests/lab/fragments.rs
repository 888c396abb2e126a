//! Datagrams that are larger than the links: with real sockets, out of order, under a flood, and without the agent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuArray};
use fw_common::DropReason;
use fw_common::abi::counters::Counter;
use fw_testkit::capture::Sender;
use fw_testkit::lab::{ENI_IT, IT, Node, OT, mac_of};
use fw_testkit::packet::Packet;
use fw_testkit::traffic::NumberedStream;
use fw_testkit::{client, wait};

use crate::firewall::{Firewall, NEVER, SOON, both};

/// Bytes of a datagram: six packets on links of 1,500 bytes.
const LEN: usize = 8_000;

/// How long the agent's word that it follows routes and fragments is good for, and some more.
const SILENCE: Duration = Duration::from_secs(30);

/// Datagrams of each family in a flood.
const FLOOD: u32 = 20_000;

/// A payload by which a mistake in the order of its parts shows.
fn payload(seed: u8) -> Vec<u8> {
    (0..LEN).map(|at| (at / 8) as u8 ^ (at as u8).wrapping_mul(31) ^ seed).collect()
}

/// A socket of a host, and what it is sent back.
fn socket(firewall: &Firewall, node: Node, to: SocketAddr, within: Duration) -> UdpSocket {
    client::udp(firewall.lab.ns(node), to, within).unwrap().unwrap()
}

fn answer(socket: &UdpSocket) -> std::io::Result<Vec<u8>> {
    let mut answer = vec![0; 65_536];
    let len = socket.recv(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}

/// A datagram from a port of the IT host.
fn packet(port: u16, to: SocketAddr) -> Packet {
    let from: IpAddr = if to.is_ipv4() { IT.ipv4.into() } else { IT.ipv6.into() };
    Packet::udp(from, port, to.ip(), to.port()).macs(mac_of(IT.ipv4), mac_of(ENI_IT.ipv4))
}

/// The fragments of a datagram, as the socket would have sent them.
fn fragments(socket: &UdpSocket, to: SocketAddr, id: u32, payload: &[u8]) -> Vec<Vec<u8>> {
    let port = socket.local_addr().unwrap().port();
    packet(port, to).payload(payload).fragments(id, 1400)
}

/// Sends a datagram and expects it back.
#[track_caller]
fn exchange(firewall: &Firewall, node: Node, to: SocketAddr) {
    let socket = socket(firewall, node, to, SOON);
    let sent = payload(1);
    socket.send(&sent).unwrap();
    assert_eq!(answer(&socket).unwrap(), sent, "{to}");
}

/// Packets dropped so far because of fragments.
fn dropped(firewall: &Firewall) -> u64 {
    let reasons = DropReason::ALL.iter().filter(|reason| reason.name().starts_with("fragment"));
    reasons.map(|reason| firewall.dropped(reason.name())).sum()
}

#[test]
fn large_datagrams_cross_in_both_directions() {
    let Some(firewall) = Firewall::up() else { return };
    for to in both(OT, 5000) {
        exchange(&firewall, Node::It, to);
        assert!(socket_is_refused(&firewall, to.ip()));
    }
    assert_eq!(dropped(&firewall), 2 * 5, "the rest of what the policy forbids");
}

/// Whether a large datagram to a port that the policy does not allow stays without an answer.
fn socket_is_refused(firewall: &Firewall, to: IpAddr) -> bool {
    let socket = socket(firewall, Node::It, (to, 5001).into(), NEVER);
    socket.send(&payload(2)).unwrap();
    answer(&socket).is_err()
}

#[test]
fn the_host_sends_and_receives_large_datagrams() {
    let Some(firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let mut firewall = firewall;
    let rules =
        Firewall::first_rules().replace("from = [\"it\"]\nto = [\"ot\"]", "from = [\"it\", \"local\"]\nto = [\"ot\"]");
    assert_ne!(rules, Firewall::first_rules());
    std::fs::write(firewall.rules_file(), rules).unwrap();
    firewall.agent.start().unwrap();
    for to in both(OT, 5000) {
        exchange(&firewall, Node::Fw, to);
    }
    assert_eq!(dropped(&firewall), 0);
}

#[test]
fn fragments_out_of_order_are_put_in_order() {
    let Some(firewall) = Firewall::up() else { return };
    let sender = Sender::on(firewall.lab.ns(Node::It), "eth0").unwrap();
    for (number, to) in (1u32..).zip(both(OT, 5000)) {
        let socket = socket(&firewall, Node::It, to, SOON);
        // The neighbours of both ends are known afterwards.
        socket.send(b"first").unwrap();
        assert_eq!(answer(&socket).unwrap(), b"first");
        for (round, order) in [[5, 4, 3, 2, 1, 0], [1, 0, 2, 3, 4, 5], [3, 5, 0, 1, 4, 2]].into_iter().enumerate() {
            let sent = payload(round as u8);
            let fragments = fragments(&socket, to, 100 * number + round as u32, &sent);
            assert_eq!(fragments.len(), order.len());
            for place in order {
                sender.send(&fragments[place]).unwrap();
            }
            let answer = answer(&socket).unwrap_or_else(|error| panic!("{to} in the order {order:?}: {error}"));
            assert_eq!(answer, sent, "{to} in the order {order:?}");
        }
    }
    assert_eq!(dropped(&firewall), 0);
}

#[test]
fn a_flood_of_fragments_is_bounded_and_disturbs_nobody() {
    let Some(firewall) = Firewall::up() else { return };
    let sender = Sender::on(firewall.lab.ns(Node::It), "eth0").unwrap();
    let streams = both(OT, 5000)
        .map(|to| NumberedStream::start(firewall.lab.ns(Node::It), to, Duration::from_millis(5)).unwrap());
    wait::until_true("both streams run", SOON, || streams.iter().all(|stream| stream.answered() > 10)).unwrap();
    // Each of a datagram of its own, whose first fragment never comes: more than the table, the ring and the agent hold.
    for id in 0..FLOOD {
        for to in both(OT, 5000) {
            sender.send(&packet(4000, to).fragment(id, 1400..2800, true)).unwrap();
        }
    }
    for stream in streams {
        let report = stream.finish();
        assert!(report.missing.is_empty(), "{report:?}");
    }
    for to in both(OT, 5000) {
        exchange(&firewall, Node::It, to);
    }
}

#[test]
fn without_the_agent_fragments_cross_in_order_and_others_are_counted() {
    let Some(mut firewall) = Firewall::up() else { return };
    exchange(&firewall, Node::It, both(OT, 5000)[0]);
    firewall.agent.kill().unwrap();
    let sender = Sender::on(firewall.lab.ns(Node::It), "eth0").unwrap();
    for (number, to) in (1u32..).zip(both(OT, 5000)) {
        exchange(&firewall, Node::It, to);
        let socket = socket(&firewall, Node::It, to, SOON);
        let before = counted(&firewall, DropReason::FragmentNotHeld);
        let mut id = 10_000 * number;
        wait::until_true("fragments that would have to wait are dropped", SILENCE, || {
            id += 1;
            sender.send(&fragments(&socket, to, id, &payload(4))[1]).unwrap();
            counted(&firewall, DropReason::FragmentNotHeld) > before
        })
        .unwrap();
        exchange(&firewall, Node::It, to);
    }
    firewall.agent.start().unwrap();
    let to = both(OT, 5000)[0];
    let socket = socket(&firewall, Node::It, to, SOON);
    let sent = payload(5);
    for fragment in fragments(&socket, to, 9, &sent).iter().rev() {
        sender.send(fragment).unwrap();
    }
    assert_eq!(answer(&socket).unwrap(), sent, "the next agent takes over");
}

/// Packets that the data plane has dropped for a reason, by its own counters: the agent need not run.
fn counted(firewall: &Firewall, reason: DropReason) -> u64 {
    let pin = firewall.agent.pins().join(format!("abi-{}/DROPS", fw_common::ABI_VERSION));
    let drops = PerCpuArray::<_, Counter>::try_from(Map::PerCpuArray(MapData::from_pin(pin).unwrap())).unwrap();
    drops.get(&(reason as u32), 0).unwrap().iter().map(|counter| counter.packets).sum()
}
