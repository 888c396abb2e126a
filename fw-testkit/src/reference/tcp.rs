//! A TCP connection as a router in its middle sees it: RFC 9293 for the states, van Rooij's four conditions (as in
//! nf_conntrack) for the windows, RFC 5961 for resets, RFC 7323 for scales, RFC 5927 for what an ICMP error quotes.

use super::datagram::TcpSegment;
use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    SynSent,
    SynReceived,
    Established,
    FinWait,
    TimeWait,
    Closed,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Pass,
    /// The connection is over and this is the SYN of another.
    Another,
    WrongState,
    OutOfWindow,
}

/// The side that opened the connection, and the other.
pub(super) const ORIGINATOR: usize = 0;
const RESPONDER: usize = 1;

/// What one end has said.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// It has sent something.
    heard: bool,
    /// It has sent more than resets.
    numbered: bool,
    /// It has sent something behind its SYN.
    past_syn: bool,
    /// Its initial sequence number.
    initial: u32,
    /// The number behind the last that it has sent.
    next: u32,
    /// The highest number that it has acknowledged.
    acked: Option<u32>,
    /// The number behind the last that it takes.
    edge: u32,
    /// The largest window that it has announced, in bytes.
    largest: u32,
    scale: Option<u8>,
    sack: bool,
    /// The number behind its FIN, while nothing is known behind that.
    fin: Option<u32>,
    /// The FIN came when everything before it had been seen.
    fin_in_place: bool,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    ends: [End; 2],
    /// The number of the opener's last SYN that the connection did not heed.
    unheeded: Option<u32>,
    /// Of its SYN only the number was remembered, so that windows cannot be checked.
    liberal: bool,
}

/// How far `one` is ahead of `other` in the circle of sequence numbers.
const fn ahead(one: u32, other: u32) -> i32 {
    one.wrapping_sub(other) as i32
}

/// RFC 9293, 3.8.6.1: a window of zero is probed with a byte.
fn room(window: u32) -> u32 {
    window.max(1)
}

/// nf_conntrack's least distance by which acknowledgements may lag.
const LEAST_LAG: u32 = 66_000;

impl Connection {
    /// The connection that a SYN opens.
    pub(super) fn open(syn: &TcpSegment, len: u16) -> Self {
        let mut ends = [End::default(); 2];
        ends[ORIGINATOR].start(syn, span(syn, len));
        Self { phase: Phase::SynSent, ends, unheeded: None, liberal: false }
    }

    /// Judges a segment and takes it over if it passes.
    pub(super) fn judge(&mut self, from: usize, segment: &TcpSegment, len: u16) -> Ruling {
        let mut after = *self;
        let ruling = after.take(from, segment, span(segment, len));
        if ruling == Ruling::Pass {
            *self = after;
        }
        ruling
    }

    fn take(&mut self, from: usize, segment: &TcpSegment, span: u32) -> Ruling {
        if segment.has(RST) {
            return self.reset(from, segment);
        }
        let is_answer = from == RESPONDER && self.phase == Phase::SynSent;
        match (segment.has(SYN), segment.has(ACK)) {
            (true, false) => return self.syn(from, segment, span),
            (true, true) if from == RESPONDER && self.answers_unheeded(segment) => {
                self.start_anew(segment, span);
                return Ruling::Pass;
            }
            _ if self.phase == Phase::Closed => return self.too_late(from, segment, span),
            (true, true) if self.phase == Phase::SynSent && from == ORIGINATOR => return Ruling::WrongState,
            (true, true) if is_answer && self.acknowledges_syn(segment) => self.ends[from].start(segment, span),
            // RFC 9293, 3.5.1: the responder has crashed and answers a repeated SYN with another number.
            (true, true) if from == RESPONDER && self.awaits_last_step() && self.acknowledges_syn(segment) => {
                self.ends[from].start(segment, span);
            }
            _ if is_answer => return self.stray(segment, span),
            _ => {
                if !self.fits(from, segment, span) {
                    return Ruling::OutOfWindow;
                }
                self.advance(from, segment, span);
            }
        }
        self.step(from, segment)
    }

    /// RFC 9293, 3.10.7.3: what answers a SYN acknowledges it, and nothing that was not sent.
    fn acknowledges_syn(&self, segment: &TcpSegment) -> bool {
        self.acknowledges(segment, ORIGINATOR)
    }

    fn acknowledges(&self, segment: &TcpSegment, end: usize) -> bool {
        let syn = &self.ends[end];
        segment.has(ACK) && ahead(segment.ack, syn.initial) > 0 && ahead(segment.ack, syn.next) <= 0
    }

    /// The answer has come, and the opener has not acknowledged it.
    fn awaits_last_step(&self) -> bool {
        self.phase == Phase::SynReceived && self.ends[ORIGINATOR].acked.is_none()
    }

    /// nf_conntrack: both ends agree on a connection of which only the SYN was seen, and not heeded.
    fn answers_unheeded(&self, segment: &TcpSegment) -> bool {
        let is_alive = matches!(self.phase, Phase::SynReceived | Phase::Established | Phase::FinWait);
        is_alive && self.unheeded.is_some_and(|seq| seq != 0 && segment.ack == seq.wrapping_add(1))
    }

    fn start_anew(&mut self, answer: &TcpSegment, span: u32) {
        if let Some(seq) = self.unheeded.take() {
            self.ends[ORIGINATOR] = End::default();
            self.ends[ORIGINATOR].start(&TcpSegment { seq, window: u16::MAX, ..TcpSegment::default() }, 1);
            self.liberal = true;
        }
        self.ends[RESPONDER].start(answer, span);
        self.phase = Phase::SynReceived;
    }

    /// After a reset: who has not got it goes on, as long as it is in its place.
    fn too_late(&self, from: usize, segment: &TcpSegment, span: u32) -> Ruling {
        if !self.ends.iter().all(|end| end.numbered) {
            return Ruling::WrongState;
        }
        if self.fits(from, segment, span) { Ruling::Pass } else { Ruling::OutOfWindow }
    }

    /// RFC 9293, 3.10.7.4, and RFC 5961, 4: a SYN in a connection is answered with an acknowledgement and changes nothing.
    fn syn(&mut self, from: usize, segment: &TcpSegment, span: u32) -> Ruling {
        match self.phase {
            Phase::SynSent => {
                self.ends[from].start(segment, span);
                if from == RESPONDER {
                    self.phase = Phase::SynReceived;
                }
                Ruling::Pass
            }
            Phase::SynReceived if segment.seq.wrapping_add(span) == self.ends[from].next => Ruling::Pass,
            Phase::SynReceived | Phase::Established | Phase::FinWait => {
                if from == ORIGINATOR {
                    self.unheeded = Some(segment.seq);
                }
                Ruling::Pass
            }
            Phase::TimeWait | Phase::Closed => Ruling::Another,
        }
    }

    /// RFC 9293, 3.5.1, case 2 of "half-open connections": an end that remembers an older connection acknowledges what it
    /// knows, and is reset with that number.
    fn stray(&mut self, segment: &TcpSegment, span: u32) -> Ruling {
        if segment.has(FIN) {
            return Ruling::WrongState;
        }
        let end = &mut self.ends[RESPONDER];
        (end.heard, end.numbered) = (true, segment.has(SYN) || segment.has(ACK));
        end.next = segment.seq.wrapping_add(span);
        end.acked = Some(segment.ack);
        end.edge = segment.ack.wrapping_add(room(segment.window.into()));
        Ruling::Pass
    }

    /// RFC 5961, 3.2: a reset counts at the number that its receiver expects. The router knows two numbers that can be it:
    /// the last that the receiver acknowledged, and the next of the sender. Elsewhere in the window it is challenged.
    fn reset(&mut self, from: usize, segment: &TcpSegment) -> Ruling {
        let (own, peer) = (&self.ends[from], &self.ends[1 - from]);
        let exact = match (self.phase, from) {
            // A refusal, again.
            (Phase::Closed, _) if !own.numbered => {
                return if self.acknowledges(segment, 1 - from) { Ruling::Pass } else { Ruling::OutOfWindow };
            }
            (Phase::SynSent, RESPONDER) if !self.acknowledges_syn(segment) => return Ruling::OutOfWindow,
            (Phase::SynSent, RESPONDER) => true,
            _ => segment.seq == own.next || peer.acked == Some(segment.seq),
        };
        if self.phase == Phase::Closed {
            return if exact || self.liberal { Ruling::Pass } else { Ruling::OutOfWindow };
        }
        if exact {
            self.phase = Phase::Closed;
            return Ruling::Pass;
        }
        let challenged =
            peer.acked.is_some_and(|acked| ahead(segment.seq, acked) >= 0 && ahead(segment.seq, peer.edge) <= 0);
        if challenged || self.liberal { Ruling::Pass } else { Ruling::OutOfWindow }
    }

    /// By how much the windows of an end are shifted: RFC 7323, 2.2: by nothing unless both have said so.
    fn shift(&self, end: usize) -> u32 {
        match (self.ends[end].scale, self.ends[1 - end].scale) {
            (Some(scale), Some(_)) => u32::from(scale.min(14)),
            _ => 0,
        }
    }

    fn fits(&self, from: usize, segment: &TcpSegment, span: u32) -> bool {
        let (own, peer) = (&self.ends[from], &self.ends[1 - from]);
        if self.liberal || !peer.heard {
            return true;
        }
        // Who completes a handshake has seen the answer's number.
        if self.phase == Phase::SynReceived
            && from == ORIGINATOR
            && !peer.past_syn
            && segment.has(ACK)
            && segment.ack != peer.next
        {
            return false;
        }
        let end = segment.seq.wrapping_add(span);
        let upper_edge = peer.acked.is_none() || ahead(segment.seq, peer.edge) <= 0;
        let lower_edge = !own.heard || ahead(end, own.next.wrapping_sub(peer.largest).wrapping_sub(1)) >= 0;
        let lag = own.largest.max(LEAST_LAG);
        let block = segment.sack.map(|(_, right)| right).filter(|_| own.sack && peer.sack);
        let acknowledges = !segment.has(ACK)
            || (ahead(segment.ack, peer.next) <= 0
                && ahead(segment.ack, peer.next.wrapping_sub(lag)) >= 0
                && block.is_none_or(|right| ahead(right, segment.ack) <= 0 || ahead(right, peer.next) <= 0));
        upper_edge && lower_edge && acknowledges
    }

    fn advance(&mut self, from: usize, segment: &TcpSegment, span: u32) {
        let shift = self.shift(from);
        let own = &mut self.ends[from];
        let end = segment.seq.wrapping_add(span);
        let grows = !own.heard || ahead(end, own.next) > 0;
        if segment.has(FIN) && (grows || end == own.next) {
            own.fin = Some(end);
            own.fin_in_place |= !own.heard || ahead(segment.seq, own.next) <= 0;
        } else if grows {
            // Data behind a FIN: one of both was forged, and the connection is not over.
            own.fin = None;
        }
        if grows {
            own.next = end;
        }
        own.heard = true;
        own.numbered |= segment.has(SYN) || segment.has(ACK);
        // RFC 7323, 2.2: the window of a SYN is never scaled.
        let window = if segment.has(SYN) { u32::from(segment.window) } else { u32::from(segment.window) << shift };
        // Windows are counted in units of the scale, rounded up, as soon as there is one.
        if !segment.has(SYN) || own.past_syn {
            own.largest = own.largest.max(window).div_ceil(1 << shift) << shift;
            own.past_syn |= !segment.has(SYN);
        } else {
            own.largest = own.largest.max(window);
        }
        if segment.has(ACK) {
            let edge = segment.ack.wrapping_add(room(window));
            let first = own.acked.is_none();
            own.acked = Some(own.acked.filter(|acked| ahead(segment.ack, *acked) <= 0).unwrap_or(segment.ack));
            if first || ahead(edge, own.edge) > 0 {
                own.edge = edge;
            }
        }
    }

    /// Whether an end has sent all that it will: its FIN came in its place, or was acknowledged.
    fn has_finished(&self, end: usize) -> bool {
        let own = &self.ends[end];
        own.fin_in_place || (own.fin.is_some() && self.ends[1 - end].acked == own.fin)
    }

    /// The table of nf_conntrack (net/netfilter/nf_conntrack_proto_tcp.c) for what is neither SYN nor RST.
    fn step(&mut self, from: usize, segment: &TcpSegment) -> Ruling {
        use Phase::{Closed, Established, FinWait, SynReceived, SynSent, TimeWait};
        let finished = [self.has_finished(ORIGINATOR), self.has_finished(RESPONDER)];
        let (any, both) = (finished.contains(&true), finished == [true; 2]);
        let next = if segment.has(SYN) {
            match (self.phase, from) {
                (SynSent | SynReceived, _) => SynReceived,
                (Established, _) => Established,
                (FinWait | TimeWait, RESPONDER) => self.phase,
                (FinWait | TimeWait | Closed, _) => return Ruling::WrongState,
            }
        } else if segment.has(FIN) {
            match self.phase {
                SynReceived | Established if any => FinWait,
                SynReceived | Established | FinWait | TimeWait => self.phase,
                SynSent | Closed => return Ruling::WrongState,
            }
        } else {
            match (self.phase, from) {
                (SynReceived, ORIGINATOR) => Established,
                (Established, _) if any => FinWait,
                (FinWait, _) if both => TimeWait,
                (SynReceived | Established | FinWait | TimeWait, _) => self.phase,
                (SynSent | Closed, _) => return Ruling::WrongState,
            }
        };
        self.phase = next;
        Ruling::Pass
    }

    /// RFC 5927, 4.1: whether a segment with this number can be under way. What its receiver has not acknowledged is bounded by
    /// the window of that one.
    pub(super) fn may_be_in_flight(&self, from: usize, seq: u32) -> bool {
        let (own, peer) = (&self.ends[from], &self.ends[1 - from]);
        let oldest = match (peer.acked, own.acked) {
            (Some(acked), _) => acked,
            (None, None) => own.initial,
            (None, Some(_)) => own.next.wrapping_sub(peer.largest).wrapping_sub(1),
        };
        self.liberal || (own.heard && ahead(seq, oldest) >= 0 && ahead(seq, own.next) <= 0)
    }
}

impl End {
    /// The first segment of this end, or the first of another attempt.
    fn start(&mut self, syn: &TcpSegment, span: u32) {
        // RFC 7413, 4.1.3: data in a SYN that was lost is sent again later.
        let sent = if self.heard && !self.past_syn && self.acked.is_none() && self.initial == syn.seq {
            self.next
        } else {
            syn.seq
        };
        let next = syn.seq.wrapping_add(span);
        *self = Self {
            heard: true,
            numbered: true,
            initial: syn.seq,
            next: if ahead(sent, next) > 0 { sent } else { next },
            acked: syn.has(ACK).then_some(syn.ack),
            edge: syn.ack.wrapping_add(room(syn.window.into())),
            largest: syn.window.into(),
            scale: syn.scale,
            sack: syn.sack_permitted,
            ..Self::default()
        };
    }
}

/// The sequence numbers that a segment takes: its data, its SYN, its FIN.
fn span(segment: &TcpSegment, len: u16) -> u32 {
    u32::from(len) + u32::from(segment.has(SYN)) + u32::from(segment.has(FIN))
}
