//! TCP connections: states, windows, and what an attacker who does not see the connection cannot do.

use std::net::IpAddr;

use fw_agent::dataplane::{Dataplane as _, PickUp, Settings};
use fw_common::DropReason;
use fw_common::conntrack::State;
use fw_testkit::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN};
use fw_testkit::packet::{Packet, Transport};

use super::flows::{pairs, state};
use super::rig::{IT, OT, Rig, settings};

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}
use End::{Client, Server};

/// A connection whose ends know their numbers.
struct Connection<'r> {
    rig: &'r Rig,
    client: (IpAddr, u16),
    server: (IpAddr, u16),
    /// The next sequence number of the client and of the server.
    next: [u32; 2],
}

/// Initial sequence numbers, near the end of their circle.
const CLIENT_ISN: u32 = u32::MAX - 10;
const SERVER_ISN: u32 = u32::MAX - 2000;

impl<'r> Connection<'r> {
    fn new(rig: &'r Rig, family: usize, port: u16) -> Self {
        let (client, server) = pairs()[family];
        Self { rig, client: (client, port), server: (server, 80), next: [CLIENT_ISN, SERVER_ISN] }
    }

    /// A segment with numbers of one's own choice.
    fn segment(&self, from: End, flags: u8, sequence: u32, acknowledgement: u32) -> Packet {
        let ((src_addr, src_port), (dst_addr, dst_port)) = match from {
            Client => (self.client, self.server),
            Server => (self.server, self.client),
        };
        Packet::new(src_addr, dst_addr, Transport::Tcp { src_port, dst_port, flags, sequence, acknowledgement })
    }

    fn deliver(&self, from: End, packet: Packet) -> Option<DropReason> {
        self.rig.send(if from == Client { OT } else { IT }, packet).reason()
    }

    /// Sends what this end would send next, with `len` bytes of data.
    fn send(&mut self, from: End, flags: u8, len: usize) -> Option<DropReason> {
        let (own, other) = (self.next[from as usize], self.next[1 - from as usize]);
        let acknowledgement = if flags & ACK == 0 { 0 } else { other };
        let packet = self.segment(from, flags, own, acknowledgement).payload(&vec![0; len]);
        let occupied = len as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[from as usize] = own.wrapping_add(occupied);
        self.deliver(from, packet)
    }

    /// Sends a segment with numbers relative to the next ones of both ends.
    fn forge(&self, from: End, flags: u8, sequence: i32, acknowledgement: i32) -> Option<DropReason> {
        let (own, other) = (self.next[from as usize], self.next[1 - from as usize]);
        let sequence = own.wrapping_add_signed(sequence);
        self.deliver(from, self.segment(from, flags, sequence, other.wrapping_add_signed(acknowledgement)))
    }

    /// The three steps of the handshake.
    fn open(&mut self) {
        assert_eq!(self.send(Client, SYN, 0), None);
        assert_eq!(self.send(Server, SYN | ACK, 0), None);
        assert_eq!(self.send(Client, ACK, 0), None);
        assert_eq!(state(self.rig), State::Established);
    }
}

#[test]
fn tcp_goes_through_its_states() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let mut connection = Connection::new(&rig, family, 4000);
        assert_eq!(connection.send(Client, SYN, 0), None);
        assert_eq!(state(&rig), State::SynSent);
        assert_eq!(connection.send(Server, SYN | ACK, 0), None);
        assert_eq!(state(&rig), State::SynReceived);
        assert_eq!(connection.send(Client, ACK, 0), None);
        assert_eq!(state(&rig), State::Established);
        assert_eq!(connection.send(Client, PSH | ACK, 100), None);
        assert_eq!(connection.send(Server, FIN | ACK, 1000), None);
        assert_eq!(state(&rig), State::FinWait);
        assert_eq!(connection.send(Client, ACK, 0), None);
        assert_eq!(state(&rig), State::FinWait, "one side may still send");
        assert_eq!(connection.send(Client, FIN | ACK, 10), None);
        assert_eq!(connection.send(Server, ACK, 0), None);
        assert_eq!(state(&rig), State::TimeWait);
        // The tuple is used again, by the policy's leave.
        assert_eq!(connection.send(Client, SYN, 0), None);
        assert_eq!(state(&rig), State::SynSent);
    }
}

#[test]
fn both_ends_may_open_at_once() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    assert_eq!(connection.send(Client, SYN, 0), None);
    assert_eq!(connection.send(Server, SYN, 0), None);
    assert_eq!(connection.forge(Client, SYN | ACK, -1, 0), None);
    assert_eq!(connection.forge(Server, SYN | ACK, -1, 0), None);
    assert_eq!(connection.send(Client, ACK, 0), None);
    assert_eq!(state(&rig), State::Established);
    assert_eq!(connection.send(Server, PSH | ACK, 100), None);
}

#[test]
fn a_refused_connection_is_closed_and_the_responder_may_not_reopen_it() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    connection.send(Client, SYN, 0);
    assert_eq!(connection.deliver(Server, connection.segment(Server, RST, 0, 0)), Some(DropReason::TcpWindow), "blind");
    assert_eq!(connection.deliver(Server, connection.segment(Server, RST | ACK, 0, CLIENT_ISN.wrapping_add(1))), None);
    assert_eq!(state(&rig), State::Closed);
    assert_eq!(connection.send(Client, ACK, 0), Some(DropReason::TcpState));
    let reopened = connection.deliver(Server, connection.segment(Server, SYN, 7, 0));
    assert_eq!(reopened, Some(DropReason::Policy), "it to ot is not allowed");
}

#[test]
fn both_ends_may_forget_their_connection() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let mut connection = Connection::new(&rig, family, 4000);
        connection.open();
        // Both hosts have restarted, and the client takes the same port.
        connection.next = [0x1234_5678, 0x8765_4321];
        assert_eq!(connection.send(Client, SYN, 0), None, "for its receiver to challenge");
        assert_eq!(state(&rig), State::Established);
        assert_eq!(connection.send(Server, SYN | ACK, 0), None, "there is nothing left to challenge it");
        assert_eq!(state(&rig), State::SynReceived);
        assert_eq!(connection.send(Client, ACK, 0), None);
        assert_eq!(connection.send(Client, PSH | ACK, 100), None);
        assert_eq!(connection.send(Server, PSH | ACK, 100), None);
        assert_eq!(state(&rig), State::Established);
    }
}

#[test]
fn a_segment_that_changes_nothing_does_not_keep_a_flow_alive() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    connection.open();
    let before = super::flows::change_flow4(&rig, |flow| flow.last_seen -= 3).last_seen;
    let last_seen = || super::flows::flows(&rig)[0].flow.last_seen;
    assert_eq!(connection.deliver(Client, connection.segment(Client, SYN, 7, 0)), None);
    assert_eq!(connection.forge(Client, RST, 10, 0), None, "in the window, but not in its place");
    assert_eq!(last_seen(), before);
    assert_eq!(connection.send(Client, ACK, 0), None);
    assert!(last_seen() > before);
    assert_eq!(connection.send(Client, RST, 0), None);
    let closed = super::flows::change_flow4(&rig, |flow| flow.last_seen -= 3).last_seen;
    assert_eq!(connection.send(Server, PSH | ACK, 100), None, "it has not got the reset");
    assert_eq!(connection.send(Client, RST, 0), None, "so it gets another");
    assert_eq!(last_seen(), closed);
    assert_eq!(state(&rig), State::Closed);
}

#[test]
fn segments_outside_the_window_are_dropped() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let mut connection = Connection::new(&rig, family, 4000);
        connection.open();
        let window = i32::from(u16::MAX);
        for from in [Client, Server] {
            assert_eq!(connection.forge(from, ACK, window, 0), None, "at the right edge: a probe of a closed window");
            assert_eq!(connection.forge(from, ACK, 2 * window + 2, 0), Some(DropReason::TcpWindow), "beyond it");
            assert_eq!(connection.forge(from, ACK, 0, 2 * window), Some(DropReason::TcpWindow), "never sent");
            assert_eq!(connection.forge(from, ACK, 0, -100_000), Some(DropReason::TcpWindow), "too old");
            assert_eq!(connection.forge(from, ACK, -200_000, 0), Some(DropReason::TcpWindow), "too old");
        }
        assert_eq!(connection.send(Client, PSH | ACK, 100), None, "the connection goes on");
        assert_eq!(connection.send(Server, ACK, 0), None);
        assert_eq!(connection.forge(Client, ACK, -1, 0), None, "keep-alive: the last byte once more");
        assert_eq!(connection.forge(Client, PSH | ACK, -100, 0), None, "retransmission");
    }
}

#[test]
fn windows_are_scaled_when_both_ends_say_so() {
    let Some(rig) = Rig::new() else { return };
    let scale = [3, 3, 7, 0];
    for (port, both) in [(4000, true), (4001, false)] {
        let mut connection = Connection::new(&rig, 0, port);
        let syn = connection.segment(Client, SYN, CLIENT_ISN, 0).tcp_options(&scale);
        assert_eq!(connection.deliver(Client, syn), None);
        let syn_ack = connection.segment(Server, SYN | ACK, SERVER_ISN, CLIENT_ISN.wrapping_add(1));
        let syn_ack = if both { syn_ack.tcp_options(&[1, 3, 3, 7]) } else { syn_ack };
        assert_eq!(connection.deliver(Server, syn_ack), None);
        connection.next = [CLIENT_ISN.wrapping_add(1), SERVER_ISN.wrapping_add(1)];
        assert_eq!(connection.send(Client, ACK, 0), None);
        assert_eq!(connection.send(Server, ACK, 0), None, "announces 65,535 units of 128 bytes, or of one");
        let expected = if both { None } else { Some(DropReason::TcpWindow) };
        assert_eq!(connection.forge(Client, ACK, 4_000_000, 0), expected, "both scale: {both}");
        assert_eq!(connection.forge(Client, ACK, 9_000_000, 0), Some(DropReason::TcpWindow));
    }
}

#[test]
fn what_was_never_sent_is_not_acknowledged_selectively() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    let permitted = [4, 2];
    let syn = connection.segment(Client, SYN, CLIENT_ISN, 0).tcp_options(&permitted);
    assert_eq!(connection.deliver(Client, syn), None);
    let syn_ack = connection.segment(Server, SYN | ACK, SERVER_ISN, CLIENT_ISN.wrapping_add(1)).tcp_options(&permitted);
    assert_eq!(connection.deliver(Server, syn_ack), None);
    connection.next = [CLIENT_ISN.wrapping_add(1), SERVER_ISN.wrapping_add(1)];
    connection.send(Client, ACK, 0);
    connection.send(Client, PSH | ACK, 300);
    let acknowledge = |left: u32, right: u32| {
        let mut blocks = vec![1, 1, 5, 10];
        blocks.extend(left.to_be_bytes());
        blocks.extend(right.to_be_bytes());
        let packet = connection.segment(Server, ACK, connection.next[1], connection.next[0].wrapping_sub(300));
        connection.deliver(Server, packet.tcp_options(&blocks))
    };
    let sent = connection.next[0];
    assert_eq!(acknowledge(sent.wrapping_sub(100), sent), None);
    assert_eq!(acknowledge(sent.wrapping_sub(100), sent.wrapping_add(1)), Some(DropReason::TcpWindow));
}

#[test]
fn a_blind_reset_does_not_close() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    connection.open();
    connection.send(Client, PSH | ACK, 100);
    connection.send(Server, ACK, 0);
    for from in [Client, Server] {
        // In the window: the receiver answers with a challenge, so it sees it, but the flow stays (RFC 5961, section 3.2).
        assert_eq!(connection.forge(from, RST, 1000, 0), None);
        assert_eq!(connection.forge(from, RST, -1, 0), Some(DropReason::TcpWindow), "behind it");
        assert_eq!(connection.forge(from, RST, 1_000_000, 0), Some(DropReason::TcpWindow), "beyond it");
    }
    assert_eq!(state(&rig), State::Established);
    assert_eq!(connection.send(Server, PSH | ACK, 100), None, "the connection goes on");
    assert_eq!(connection.forge(Server, RST, 0, 0), None, "in its place it closes");
    assert_eq!(state(&rig), State::Closed);
}

#[test]
fn a_host_that_has_lost_its_memory_is_not_locked_out() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    connection.open();
    // The client has restarted and opens the same tuple; the server challenges, the client resets (RFC 5961, section 4).
    let again = 77u32;
    assert_eq!(connection.deliver(Client, connection.segment(Client, SYN, again, 0)), None);
    assert_eq!(state(&rig), State::Established);
    assert_eq!(connection.send(Server, ACK, 0), None, "the challenge");
    let reset = connection.segment(Client, RST, connection.next[0], 0);
    assert_eq!(connection.deliver(Client, reset), None);
    assert_eq!(state(&rig), State::Closed);
    assert_eq!(connection.deliver(Client, connection.segment(Client, SYN, again, 0)), None);
    // The firewall has lost it, or the server has: an old connection of the server's answers the SYN.
    let stray = connection.segment(Server, ACK, 5000, 9000);
    assert_eq!(connection.deliver(Server, stray), None);
    assert_eq!(connection.deliver(Client, connection.segment(Client, RST, 9000, 0)), None);
    assert_eq!(connection.deliver(Client, connection.segment(Client, SYN, again, 0)), None);
    let answer = connection.segment(Server, SYN | ACK, 300, again + 1);
    assert_eq!(connection.deliver(Server, answer), None);
    assert_eq!(connection.deliver(Client, connection.segment(Client, ACK, again + 1, 301)), None);
    assert_eq!(state(&rig), State::Established);
}

#[test]
fn a_handshake_is_finished_only_by_who_has_seen_its_answer() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    connection.send(Client, SYN, 0);
    connection.send(Server, SYN | ACK, 0);
    assert_eq!(connection.forge(Client, ACK, 0, -1), Some(DropReason::TcpWindow));
    assert_eq!(connection.forge(Client, ACK, 0, 1), Some(DropReason::TcpWindow));
    assert_eq!(state(&rig), State::SynReceived);
    assert_eq!(connection.send(Client, ACK, 0), None);
    assert_eq!(state(&rig), State::Established);
}

#[test]
fn a_fin_ahead_of_a_gap_counts_when_it_is_acknowledged() {
    let Some(rig) = Rig::new() else { return };
    let mut connection = Connection::new(&rig, 0, 4000);
    connection.open();
    // Forged, or its predecessor was lost on the way here: the connection must not end for it.
    assert_eq!(connection.forge(Client, FIN | ACK, 500, 0), None);
    assert_eq!(state(&rig), State::Established);
    assert_eq!(connection.send(Client, PSH | ACK, 500), None, "the predecessor, once more");
    connection.next[0] = connection.next[0].wrapping_add(1);
    assert_eq!(connection.send(Server, ACK, 0), None);
    assert_eq!(state(&rig), State::FinWait);
}

#[test]
fn an_error_about_a_segment_that_was_not_sent_is_dropped() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let mut connection = Connection::new(&rig, family, 4000);
        connection.open();
        connection.send(Client, PSH | ACK, 100);
        let error = |sequence: u32| {
            let quoted = connection.segment(Client, ACK, sequence, 0).build_ip();
            let kind = if family == 0 { 3 } else { 1 };
            let unreachable = Transport::Icmp { kind, code: 1, rest: [0; 4] };
            let packet = Packet::new(connection.server.0, connection.client.0, unreachable).payload(&quoted);
            connection.deliver(Server, packet)
        };
        assert_eq!(error(connection.next[0].wrapping_sub(100)), None);
        assert_eq!(error(connection.next[0].wrapping_sub(101)), Some(DropReason::IcmpUnrelated), "acknowledged");
        assert_eq!(error(connection.next[0].wrapping_add(1)), Some(DropReason::IcmpUnrelated), "never sent");
    }
}

#[test]
fn a_connection_is_picked_up_from_either_end_if_its_originator_may_open_it() {
    for family in 0..2 {
        for first in [Client, Server] {
            let Some(rig) = Rig::new() else { return };
            let mut connection = Connection::new(&rig, family, 4000);
            assert_eq!(connection.send(first, ACK, 0), Some(DropReason::TcpNotSyn), "not by default");
            rig.dataplane.set_settings(&Settings { pick_up: PickUp::Always, ..settings() }).unwrap();
            assert_eq!(connection.send(first, PSH | ACK, 100), None);
            let timeout_of = |state: State| settings().timeouts.seconds[state as usize];
            let timeout = super::flows::flows(&rig)[0].timeout;
            assert_eq!(timeout, timeout_of(State::SynReceived), "the other end may not exist");
            let second = if first == Client { Server } else { Client };
            assert_eq!(connection.send(second, PSH | ACK, 100), None);
            assert_eq!(super::flows::flows(&rig)[0].timeout, timeout_of(State::Established));
            assert_eq!(connection.send(first, ACK, 0), None);
            let flow = super::flows::flows(&rig)[0].flow;
            let packets = [flow.directions[0].packets, flow.directions[1].packets];
            assert_eq!(packets, if first == Client { [2, 1] } else { [1, 2] }, "the client is the originator");
            // The scales are unknown: windows are not checked, but a reset must be exact all the same.
            assert_eq!(connection.forge(Client, ACK, 10_000_000, 0), None);
            assert_eq!(connection.forge(Server, RST, 0, 0), None);
            assert_eq!(state(&rig), State::Closed);
        }
    }
}

#[test]
fn what_neither_end_may_open_is_not_picked_up() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_settings(&Settings { pick_up: PickUp::Always, ..settings() }).unwrap();
    let (ot, it) = pairs()[0];
    let segment = |src, src_port, dst, dst_port, flags| Packet::tcp(src, src_port, dst, dst_port, flags);
    assert_eq!(rig.send(OT, segment(ot, 4000, it, 22, ACK)).reason(), Some(DropReason::Policy));
    assert_eq!(rig.send(IT, segment(it, 22, ot, 4000, ACK)).reason(), Some(DropReason::Policy));
    assert_eq!(rig.send(IT, segment(it, 4000, ot, 80, ACK)).reason(), Some(DropReason::Policy), "the other way round");
    assert_eq!(rig.send(OT, segment(ot, 4000, it, 80, RST | ACK)).reason(), Some(DropReason::TcpNotSyn));
    assert_eq!(rig.send(OT, segment(ot, 4000, it, 80, SYN | ACK)).reason(), Some(DropReason::TcpNotSyn));
}
