//! Random traffic: a few conversations at once, whose ends mostly do what stacks do next, and otherwise what stacks under
//! loss, and attackers, do. All of it is between few addresses and ports, so that packets meet each other's flows.

use fw_testkit::classbench::Random;
use fw_testkit::packet::tcp_flags::{ACK, FIN, RST, SYN};
use fw_testkit::reference::{Body, Datagram};

use super::association::Association;
use super::connection::Connection;
use super::policies::{index, pick};
use super::surroundings::{HOSTS, ODD, OWN, addr};

/// An end: the interface behind which it is, and its address.
pub(super) type Host = (usize, &'static str);

const CONVERSATIONS: usize = 4;
const SERVERS: [u16; 7] = [53, 80, 81, 443, 2000, 2905, 0];
const CLIENTS: [u16; 3] = [4000, 4001, 4099];

/// What two ends speak.
#[derive(Clone, Debug)]
enum Speech {
    Tcp(Connection),
    Udp(u16, u16),
    Sctp(Association),
    /// Type of the query, and its identifier.
    Query(u8, u16),
    /// ICMP that neither asks nor answers.
    Statement(u8),
    Other(u8),
}

#[derive(Clone, Debug)]
struct Conversation {
    ends: [Host; 2],
    speech: Speech,
    /// What was said, for retransmissions and quotes.
    said: Vec<(usize, Datagram)>,
}

#[derive(Default)]
pub(super) struct Traffic {
    conversations: Vec<Conversation>,
}

impl Traffic {
    /// The next packet, and the interface by which it comes in.
    pub(super) fn next(&mut self, random: &mut Random) -> (usize, Datagram) {
        if self.conversations.len() < CONVERSATIONS && random.below(12) == 0 || self.conversations.is_empty() {
            self.conversations.push(Conversation::random(random));
        } else if random.below(60) == 0 {
            let position = index(random, self.conversations.len());
            self.conversations[position] = Conversation::random(random);
        }
        let position = index(random, self.conversations.len());
        self.conversations[position].next(random)
    }
}

impl Conversation {
    fn random(random: &mut Random) -> Self {
        let client = host(random);
        let server = loop {
            let server = host(random);
            if addr(server.1).is_ipv4() == addr(client.1).is_ipv4() && (server.0 != client.0 || random.below(8) == 0) {
                break server;
            }
        };
        // To the host itself go no TCP segments: for two minutes it takes connections from before it started.
        let to_host = OWN.iter().any(|(_, own)| *own == server.1 || *own == client.1);
        let ports = (pick(random, &CLIENTS), pick(random, &SERVERS));
        let speech = match random.below(20) {
            0..=11 if !to_host => Speech::Tcp(Connection::random(random, ports)),
            0..=12 => Speech::Udp(ports.0, ports.1),
            // As of TCP: the host takes over what began before it.
            13..=15 if !to_host => {
                let server = if random.below(2) == 0 { 2905 } else { ports.1 };
                Speech::Sctp(Association::random(random, (ports.0, server)))
            }
            13..=17 => {
                let kind = if addr(client.1).is_ipv4() { pick(random, &[8, 8, 8, 13]) } else { 128 };
                Speech::Query(kind, 1000 + random.port((0, 2)))
            }
            18 => Speech::Statement(if addr(client.1).is_ipv4() {
                pick(random, &[9, 40])
            } else {
                pick(random, &[140, 200])
            }),
            _ => Speech::Other(pick(random, &[2, 47, 50, 115])),
        };
        Self { ends: [client, server], speech, said: Vec::new() }
    }

    fn next(&mut self, random: &mut Random) -> (usize, Datagram) {
        let (slot, datagram) = match random.below(24) {
            0 if !self.said.is_empty() => pick_cloned(random, &self.said),
            1 | 2 if !self.said.is_empty() => self.error(random),
            _ => self.proper(random),
        };
        if self.said.len() < 12 {
            self.said.push((slot, datagram.clone()));
        } else {
            let position = index(random, self.said.len());
            self.said[position] = (slot, datagram.clone());
        }
        // By a wrong interface, now and then.
        let slot = if random.below(60) == 0 { index(random, 4) } else { slot };
        (slot, odd(random, datagram))
    }

    /// What one of the ends says by itself.
    fn proper(&mut self, random: &mut Random) -> (usize, Datagram) {
        let (from, body, len) = match &mut self.speech {
            Speech::Tcp(connection) => {
                let (from, segment, len) = connection.next(random);
                (from, Body::Tcp(segment), len)
            }
            Speech::Udp(client, server) => {
                let from = index(random, 2);
                let body = if from == 0 { Body::Udp(*client, *server) } else { Body::Udp(*server, *client) };
                (from, body, random.port((0, 40)))
            }
            Speech::Sctp(association) => {
                let (from, packet) = association.next(random);
                (from, Body::Sctp(packet), 0)
            }
            Speech::Query(kind, id) => {
                let from = index(random, 2);
                // Sometimes the other side asks, too.
                let asks = (from == 0) != (random.below(8) == 0);
                // A timestamp message holds three of them.
                let len = if *kind == 13 && random.below(8) != 0 { 12 } else { 0 };
                let reply = if *kind == 8 { 0 } else { *kind + 1 };
                (from, Body::Icmp { kind: if asks { *kind } else { reply }, code: 0, id: *id, quote: None }, len)
            }
            Speech::Statement(kind) => {
                let code = u8::try_from(random.below(2)).unwrap();
                (index(random, 2), Body::Icmp { kind: *kind, code, id: 0, quote: None }, 0)
            }
            Speech::Other(number) => (index(random, 2), Body::Other(*number), 8),
        };
        let (source, destination) = (self.ends[from], self.ends[1 - from]);
        let datagram = Datagram { len, ..Datagram::new(addr(source.1), addr(destination.1), body) };
        (source.0, datagram)
    }

    /// An ICMP error about something that was said, from a router or anybody.
    fn error(&self, random: &mut Random) -> (usize, Datagram) {
        let (_, mut quoted) = pick_cloned(random, &self.said);
        if let Body::Tcp(segment) = &mut quoted.body {
            segment.seq = segment.seq.wrapping_add(pick(random, &[0, 0, 0, 1, 2, u32::MAX, 70_000, 0x7000_0000]));
        }
        if let Body::Sctp(packet) = &mut quoted.body
            && random.below(4) == 0
        {
            packet.tag ^= 1;
        }
        if let Body::Icmp { quote, .. } = &mut quoted.body {
            *quote = None;
        }
        let ends = if addr(self.ends[1].1) == quoted.dst {
            (self.ends[1], self.ends[0])
        } else {
            (self.ends[0], self.ends[1])
        };
        let (slot, reporter) = if random.below(3) == 0 { host(random) } else { ends.0 };
        let ipv4 = quoted.src.is_ipv4();
        let kind = if ipv4 { pick(random, &[3, 3, 11, 12, 4, 5]) } else { pick(random, &[1, 2, 3, 4]) };
        let src = if addr(reporter).is_ipv4() == ipv4 { addr(reporter) } else { quoted.dst };
        let dst = if random.below(16) == 0 && addr(ends.0.1).is_ipv4() == ipv4 { addr(ends.0.1) } else { quoted.src };
        (slot, Datagram::new(src, dst, Body::Icmp { kind, code: 1, id: 0, quote: Some(Box::new(quoted)) }))
    }
}

fn host(random: &mut Random) -> Host {
    match random.below(60) {
        0 | 1 => pick(random, ODD),
        2 | 3 => pick(random, OWN),
        _ => pick(random, HOSTS),
    }
}

fn pick_cloned<T: Clone>(random: &mut Random, from: &[T]) -> T {
    from[index(random, from.len())].clone()
}

/// Now and then something is odd about a packet.
fn odd(random: &mut Random, mut datagram: Datagram) -> Datagram {
    match random.below(120) {
        0 => datagram.ttl = 1,
        1 => datagram.ttl = 0,
        2 => datagram.len = 1390,
        3 => (datagram.len, datagram.may_fragment) = (1390, true),
        4 => {
            if let Body::Tcp(segment) = &mut datagram.body {
                segment.flags = pick(random, &[0, FIN, SYN | FIN, SYN | RST, FIN | RST | ACK, 0x20]);
            }
        }
        5 => datagram.src = datagram.dst,
        _ => {}
    }
    datagram
}
