//! The two ends of an SCTP association, as far as it takes to send mostly plausible packets.

use fw_testkit::classbench::Random;
use fw_testkit::packet::chunk;
use fw_testkit::reference::{SctpChunk, SctpPacket};

use super::policies::{index, pick};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    /// The client has sent its INIT.
    Asked,
    /// The server has answered.
    Answered,
    /// The client has given the cookie back.
    Echoed,
    /// Both send.
    Open,
    /// This end wants to shut down.
    Shutting(usize),
    /// The other one has agreed.
    Agreed(usize),
    Over,
}

#[derive(Clone, Debug)]
pub(super) struct Association {
    ports: (u16, u16),
    stage: Stage,
    /// By end: its tag; and the one before.
    tags: [u32; 2],
    before: [u32; 2],
    /// Whether its beginning is not on this path.
    is_second_path: bool,
}

impl Association {
    pub(super) fn random(random: &mut Random, ports: (u16, u16)) -> Self {
        let tags = [tag(random), tag(random)];
        let is_second_path = random.below(4) == 0;
        let stage = if is_second_path { Stage::Open } else { Stage::Start };
        Self { ports, stage, tags, before: tags, is_second_path }
    }

    /// Who sends, and what.
    pub(super) fn next(&mut self, random: &mut Random) -> (usize, SctpPacket) {
        match random.below(25) {
            0 => self.forged(random),
            1 => self.abort(random),
            2 => self.misplaced(random),
            3 if self.stage != Stage::Start => self.begin_anew(random),
            4 => self.attempt(random),
            5 => self.heartbeat(random),
            6 => self.strange(random),
            _ => self.orderly(random),
        }
    }

    fn orderly(&mut self, random: &mut Random) -> (usize, SctpPacket) {
        use SctpChunk::{Init, InitAck, Plain};
        match self.stage {
            Stage::Start => {
                self.stage = Stage::Asked;
                self.packet(0, 0, vec![Init(self.tags[0])])
            }
            // Both may begin at once.
            Stage::Asked if random.below(10) == 0 => self.packet(1, 0, vec![Init(self.tags[1])]),
            Stage::Asked => {
                self.stage = Stage::Answered;
                self.to_other(1, vec![InitAck(self.tags[1])])
            }
            Stage::Answered => {
                self.stage = Stage::Echoed;
                self.with_data(random, 0, Plain(chunk::COOKIE_ECHO))
            }
            Stage::Echoed if random.below(16) == 0 => self.to_other(1, vec![SctpChunk::Error(pick(random, &[1, 3]))]),
            Stage::Echoed => {
                self.stage = Stage::Open;
                self.with_data(random, 1, Plain(chunk::COOKIE_ACK))
            }
            Stage::Open => self.exchange(random),
            Stage::Shutting(end) => {
                if random.below(3) == 0 {
                    return self.to_other(end, vec![Plain(chunk::SHUTDOWN)]);
                }
                self.stage = Stage::Agreed(end);
                self.to_other(1 - end, vec![Plain(chunk::SHUTDOWN_ACK)])
            }
            Stage::Agreed(end) => {
                self.stage = Stage::Over;
                // By the one that has forgotten the association, under its own name.
                if random.below(4) == 0 {
                    return self.packet(end, self.tags[end], vec![SctpChunk::Reflecting(chunk::SHUTDOWN_COMPLETE)]);
                }
                self.to_other(end, vec![Plain(chunk::SHUTDOWN_COMPLETE)])
            }
            Stage::Over if random.below(3) == 0 => self.to_other(index(random, 2), vec![Plain(chunk::SHUTDOWN_ACK)]),
            Stage::Over => self.begin_anew(random),
        }
    }

    fn exchange(&mut self, random: &mut Random) -> (usize, SctpPacket) {
        let from = index(random, 2);
        let kind = match random.below(12) {
            0 if !self.is_second_path || random.below(4) == 0 => {
                self.stage = Stage::Shutting(from);
                chunk::SHUTDOWN
            }
            0..=2 => chunk::HEARTBEAT,
            3..=5 => chunk::HEARTBEAT_ACK,
            6 => pick(random, &[12, 13, 192, 193]),
            _ => pick(random, &[chunk::SACK, chunk::DATA]),
        };
        match kind {
            // Congestion notifications have a length of their own, and are of no interest.
            12 | 13 => self.to_other(from, vec![SctpChunk::Plain(chunk::SACK), SctpChunk::Plain(193)]),
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if random.below(4) != 0 => {
                self.to_other(from, vec![SctpChunk::Plain(kind)])
            }
            _ => self.with_data(random, from, SctpChunk::Plain(kind)),
        }
    }

    /// Chunks under a tag that is not due.
    fn forged(&self, random: &mut Random) -> (usize, SctpPacket) {
        let from = index(random, 2);
        let tag =
            pick(random, &[0, 1, self.tags[from], self.before[1 - from], self.before[from], self.tags[1 - from] ^ 1]);
        let chunks = some_chunks(random);
        self.packet(from, tag, chunks)
    }

    /// The few chunks that pass under a tag of nobody, or that would do harm if one was believed; of few tags, which come again.
    fn strange(&self, random: &mut Random) -> (usize, SctpPacket) {
        let from = index(random, 2);
        let tag = pick(random, &[1, 2, self.before[1 - from]]);
        if self.stage != Stage::Start && random.below(3) == 0 {
            return self.packet(0, 0, vec![SctpChunk::Init(pick(random, &[1, 2]))]);
        }
        let kind = match self.stage {
            Stage::Start | Stage::Asked | Stage::Answered | Stage::Echoed => {
                pick(random, &[chunk::SHUTDOWN_ACK, chunk::SHUTDOWN_ACK, chunk::COOKIE_ECHO, chunk::COOKIE_ACK])
            }
            Stage::Open | Stage::Shutting(_) | Stage::Agreed(_) | Stage::Over => {
                pick(random, &[chunk::HEARTBEAT, chunk::HEARTBEAT, chunk::HEARTBEAT_ACK])
            }
        };
        if kind == chunk::SHUTDOWN_ACK && random.below(3) == 0 {
            return self.packet(1 - from, tag, vec![SctpChunk::Reflecting(chunk::SHUTDOWN_COMPLETE)]);
        }
        self.packet(from, tag, vec![SctpChunk::Plain(kind)])
    }

    fn abort(&self, random: &mut Random) -> (usize, SctpPacket) {
        let from = index(random, 2);
        let tag = pick(random, &[self.tags[0], self.tags[1], self.before[0], self.before[1], 5]);
        let abort =
            if random.below(2) == 0 { SctpChunk::Plain(chunk::ABORT) } else { SctpChunk::Reflecting(chunk::ABORT) };
        let chunks = if random.below(4) == 0 { vec![SctpChunk::Plain(chunk::SACK), abort] } else { vec![abort] };
        self.packet(from, tag, chunks)
    }

    /// Chunks that are not due, rightly addressed.
    fn misplaced(&self, random: &mut Random) -> (usize, SctpPacket) {
        let from = index(random, 2);
        let chunks = some_chunks(random);
        self.to_other(from, chunks)
    }

    /// An INIT of the client, or of somebody in its name, that begins nothing; or an answer to one.
    fn attempt(&self, random: &mut Random) -> (usize, SctpPacket) {
        let from = index(random, 2);
        let strange = tag(random);
        let initiate_tag = pick(random, &[self.tags[from], self.before[from], strange, 0]);
        if random.below(2) == 0 {
            self.packet(from, if random.below(12) == 0 { 3 } else { 0 }, vec![SctpChunk::Init(initiate_tag)])
        } else {
            let called = pick(random, &[self.tags[1 - from], self.before[1 - from]]);
            self.packet(from, called, vec![SctpChunk::InitAck(initiate_tag)])
        }
    }

    /// Another association between the same ports; on a second path, with other tags from now on.
    fn begin_anew(&mut self, random: &mut Random) -> (usize, SctpPacket) {
        self.before = self.tags;
        self.tags = [tag(random), tag(random)];
        if self.is_second_path && random.below(4) != 0 {
            return self.heartbeat(random);
        }
        self.stage = Stage::Asked;
        let from = usize::from(random.below(6) == 0);
        self.packet(from, 0, vec![SctpChunk::Init(self.tags[from])])
    }

    fn heartbeat(&self, random: &mut Random) -> (usize, SctpPacket) {
        let kind = pick(random, &[chunk::HEARTBEAT, chunk::HEARTBEAT_ACK]);
        self.to_other(index(random, 2), vec![SctpChunk::Plain(kind)])
    }

    fn with_data(&self, random: &mut Random, from: usize, first: SctpChunk) -> (usize, SctpPacket) {
        let mut chunks = vec![first];
        chunks.extend((0..random.below(3)).map(|_| SctpChunk::Plain(chunk::DATA)));
        self.to_other(from, chunks)
    }

    fn to_other(&self, from: usize, chunks: Vec<SctpChunk>) -> (usize, SctpPacket) {
        self.packet(from, self.tags[1 - from], chunks)
    }

    fn packet(&self, from: usize, tag: u32, chunks: Vec<SctpChunk>) -> (usize, SctpPacket) {
        let (client, server) = self.ports;
        let (src_port, dst_port) = if from == 0 { (client, server) } else { (server, client) };
        (from, SctpPacket { src_port, dst_port, tag, chunks })
    }
}

/// Any chunks, in an order that need not be right.
fn some_chunks(random: &mut Random) -> Vec<SctpChunk> {
    let number = random.below(3) + u64::from(random.below(16) != 0);
    (0..number)
        .map(|_| {
            let kind = pick(random, &[0, 0, 3, 4, 5, 7, 8, 9, 10, 11, 14, 6, 2, 1, 192]);
            match kind {
                chunk::INIT => SctpChunk::Init(tag(random)),
                chunk::INIT_ACK => SctpChunk::InitAck(tag(random)),
                chunk::ERROR => SctpChunk::Error(pick(random, &[1, 3, 10])),
                chunk::ABORT | chunk::SHUTDOWN_COMPLETE if random.below(2) == 0 => SctpChunk::Reflecting(kind),
                _ => SctpChunk::Plain(kind),
            }
        })
        .collect()
}

/// Of few, so that guesses are right now and then.
fn tag(random: &mut Random) -> u32 {
    if random.below(4) == 0 { u32::from(random.port((1, 4))) } else { random.bits() as u32 | 1 }
}
