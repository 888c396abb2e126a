//! The two stacks of a TCP connection, as far as it takes to send mostly plausible segments.

use fw_testkit::classbench::Random;
use fw_testkit::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN};
use fw_testkit::reference::TcpSegment;

use super::policies::{index, pick};

/// What an end does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has sent anything.
    Start,
    /// The client has sent its SYN.
    Asked,
    /// The server has answered.
    Answered,
    /// Both send.
    Open,
    /// It is over.
    Over,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    ports: (u16, u16),
    stage: Stage,
    /// By end: its next number.
    next: [u32; 2],
    /// By end: what it has acknowledged.
    acked: [u32; 2],
    /// By end: the window that it announces.
    windows: [u16; 2],
    scales: [Option<u8>; 2],
    sack: [bool; 2],
    finished: [bool; 2],
}

/// Windows: of large and of small stacks, and closed.
const WINDOWS: [u16; 6] = [65_535, 29_200, 1000, 512, 1, 0];

impl Connection {
    pub(super) fn random(random: &mut Random, ports: (u16, u16)) -> Self {
        let scale = |random: &mut Random| (random.below(2) == 0).then(|| pick(random, &[0, 2, 7, 14]));
        Self {
            ports,
            stage: Stage::Start,
            next: [start_number(random), start_number(random)],
            acked: [0; 2],
            windows: [pick(random, &WINDOWS[..4]), pick(random, &WINDOWS[..4])],
            scales: [scale(random), scale(random)],
            sack: [random.below(2) == 0, random.below(2) == 0],
            finished: [false; 2],
        }
    }

    /// Who sends, what, and how many bytes of data.
    pub(super) fn next(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        match random.below(20) {
            0 => self.reset(random),
            1 => self.forged(random),
            2 => self.syn_again(random),
            3 if self.stage != Stage::Start => self.stray(random),
            4 if self.stage != Stage::Start => self.forgotten(random),
            _ => self.orderly(random),
        }
    }

    fn orderly(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        match self.stage {
            Stage::Start => {
                self.stage = Stage::Asked;
                // A cookie may let data come with the SYN.
                self.send(0, SYN, if random.below(8) == 0 { 20 } else { 0 })
            }
            // Both ends may open at once.
            Stage::Asked if random.below(12) == 0 => self.send(1, SYN, 0),
            Stage::Asked => {
                self.stage = Stage::Answered;
                self.acked[1] = self.next[0];
                self.send(1, SYN | ACK, 0)
            }
            Stage::Answered => {
                if random.below(6) != 0 {
                    self.stage = Stage::Open;
                }
                self.acked[0] = self.next[1];
                self.send(0, ACK, if random.below(4) == 0 { 20 } else { 0 })
            }
            Stage::Open => self.exchange(random),
            Stage::Over => {
                // The tuple is used again, from either side.
                *self = Self { stage: Stage::Asked, ..Self::random(random, self.ports) };
                let from = usize::from(random.below(6) == 0);
                self.send(from, SYN, 0)
            }
        }
    }

    /// Data, acknowledgements and the ends of both directions.
    fn exchange(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        let from = index(random, 2);
        if random.below(8) == 0 {
            self.windows[from] = pick(random, &WINDOWS);
        }
        if random.below(4) != 0 {
            self.acked[from] = self.next[1 - from];
        }
        if self.finished == [true; 2] && random.below(3) == 0 {
            self.stage = Stage::Over;
        }
        if self.finished[from] {
            return self.send(from, ACK, 0);
        }
        match random.below(10) {
            0 => {
                self.finished[from] = true;
                self.send(from, FIN | ACK, random.port((0, 5)))
            }
            1..=4 => self.send(from, ACK, 0),
            _ => self.send(from, PSH | ACK, random.port((1, 700))),
        }
    }

    /// A reset: right, in the window, or anywhere.
    fn reset(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        let from = index(random, 2);
        let mut segment = self.segment(from, if random.below(2) == 0 { RST } else { RST | ACK });
        segment.seq = segment.seq.wrapping_add(offset(random));
        segment.ack = segment.ack.wrapping_add(pick(random, &[0, 0, 1, u32::MAX]));
        if random.below(3) == 0 {
            segment.seq = self.acked[1 - from];
        }
        (from, segment, 0)
    }

    /// A segment with other numbers than are due, which changes nothing at its sender.
    fn forged(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        let from = index(random, 2);
        let mut segment = self.segment(from, pick(random, &[ACK, ACK, PSH | ACK, FIN | ACK, SYN | ACK]));
        segment.seq = segment.seq.wrapping_add(offset(random));
        segment.ack = segment.ack.wrapping_add(offset(random));
        if random.below(3) == 0 {
            segment.sack = Some((segment.ack.wrapping_add(1), segment.ack.wrapping_add(offset(random))));
        }
        (from, segment, random.port((0, 60)))
    }

    /// A SYN in the middle: repeated, or of a host that has restarted.
    fn syn_again(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        let from = usize::from(random.below(4) == 0);
        let flags = if random.below(3) == 0 { SYN | ACK } else { SYN };
        let segment = self.segment(from, flags);
        let seq = if random.below(2) == 0 { segment.seq.wrapping_sub(1) } else { start_number(random) };
        (from, TcpSegment { seq, ..segment }, 0)
    }

    /// Both ends have restarted, or have given up, and connect anew.
    fn forgotten(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        *self = Self { stage: Stage::Asked, ..Self::random(random, self.ports) };
        let from = usize::from(random.below(6) == 0);
        self.send(from, SYN, 0)
    }

    /// An acknowledgement of another connection.
    fn stray(&mut self, random: &mut Random) -> (usize, TcpSegment, u16) {
        let segment = self.segment(1, ACK);
        (1, TcpSegment { seq: start_number(random), ack: start_number(random), ..segment }, 0)
    }

    fn send(&mut self, from: usize, flags: u8, len: u16) -> (usize, TcpSegment, u16) {
        let segment = self.segment(from, flags);
        let span = u32::from(len) + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[from] = self.next[from].wrapping_add(span);
        (from, segment, len)
    }

    fn segment(&self, from: usize, flags: u8) -> TcpSegment {
        let (client, server) = self.ports;
        let (src_port, dst_port) = if from == 0 { (client, server) } else { (server, client) };
        let is_syn = flags & SYN != 0;
        TcpSegment {
            src_port,
            dst_port,
            flags,
            seq: self.next[from],
            ack: if flags & ACK == 0 { 0 } else { self.acked[from] },
            window: self.windows[from],
            scale: self.scales[from].filter(|_| is_syn),
            sack_permitted: self.sack[from] && is_syn,
            sack: None,
        }
    }
}

/// Near the end of the circle now and then.
fn start_number(random: &mut Random) -> u32 {
    let number = random.bits() as u32;
    if random.below(4) == 0 { u32::MAX - number % 1000 } else { number }
}

/// Distances at which something changes, to both sides.
fn offset(random: &mut Random) -> u32 {
    let distance = match random.below(12) {
        0..=3 => 0,
        4 => 1,
        5 => random.port((1, 2000)).into(),
        6 => pick(random, &WINDOWS).into(),
        7 => u32::from(pick(random, &WINDOWS)) + 1,
        8 => 66_000 + u32::from(random.port((0, 2))),
        9 => u32::from(pick(random, &WINDOWS)) << pick(random, &[2, 7]),
        10 => random.bits() as u32 >> 12,
        _ => random.bits() as u32,
    };
    if random.below(2) == 0 { distance } else { distance.wrapping_neg() }
}
