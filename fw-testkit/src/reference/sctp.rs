//! SCTP as RFC 9260 describes it to somebody between the two ends: an end is called by the tag that it has announced, and what
//! calls it otherwise is not for it.

use fw_common::DropReason;

use super::sctp_names::{Answer, Because, Names};
use super::sctp_packet::{SctpChunk, SctpPacket};
use crate::packet::chunk;

/// How far an association has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    Closed,
    Aborted,
    HeartbeatSent,
}

/// What becomes of a packet of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Pass,
    /// It begins another association.
    Another,
    WrongTag,
    WrongState,
}

/// An association.
#[derive(Clone, Copy, Debug)]
pub(super) struct Association {
    pub(super) phase: Phase,
    /// By end.
    names: [Names; 2],
    seen_from_its_start: bool,
}

const ORIGINATOR: usize = 0;

impl Association {
    /// The association that a packet without one begins.
    pub(super) fn open(packet: &SctpPacket) -> Result<Self, DropReason> {
        match (packet.announced().filter(|_| packet.has(chunk::INIT)), packet.tag) {
            (Some(tag), 0) => Ok(Self {
                phase: Phase::CookieWait,
                names: [Names::only(Some(tag)), Names::default()],
                seen_from_its_start: true,
            }),
            (Some(_), _) | (None, 0) => Err(DropReason::SctpTag),
            (None, tag) if packet.is_all(chunk::HEARTBEAT) => Ok(Self {
                phase: Phase::HeartbeatSent,
                names: [Names::default(), Names::only(Some(tag))],
                seen_from_its_start: false,
            }),
            (None, _) => Err(DropReason::SctpNotInit),
        }
    }

    /// Whether an end can have sent a packet: it calls the other by a name that may be right, or tells its own. Who tells it says nothing
    /// before.
    pub(super) fn may_be_in_flight(&self, from: usize, packet: &SctpPacket) -> bool {
        let told =
            packet.chunks.first().is_some_and(|first| matches!(first, SctpChunk::Init(_) | SctpChunk::InitAck(_)));
        match (packet.tag, packet.announced().filter(|_| told)) {
            (0, Some(tag)) => self.names[from].may_be(tag),
            (0, None) => false,
            (tag, _) => self.names[1 - from].may_be(tag),
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Aborted)
    }

    /// A packet of one end.
    pub(super) fn judge(&mut self, from: usize, packet: &SctpPacket) -> Ruling {
        let to = 1 - from;
        let tag = packet.tag;
        if packet.has(chunk::INIT) {
            return self.init(from, packet);
        }
        if tag == 0 {
            return Ruling::WrongTag;
        }
        for end in [chunk::ABORT, chunk::SHUTDOWN_COMPLETE] {
            if packet.has(end) {
                return self.last_word(from, packet, end);
            }
        }
        if self.is_over() {
            return if self.names[to].may_be(tag) { Ruling::Pass } else { Ruling::WrongTag };
        }
        if matches!(self.phase, Phase::CookieWait | Phase::CookieEchoed) {
            return self.before_agreement(from, packet);
        }
        if self.names[to].is(tag) {
            self.rightly_called(from, packet);
            return Ruling::Pass;
        }
        if self.names[to].name.is_none() {
            self.take_answered(from, packet);
            self.names[to] = Names::only(Some(tag));
            if !packet.is_all(chunk::HEARTBEAT) {
                self.phase = Phase::Established;
                self.shut_down(from, packet);
            }
            return Ruling::Pass;
        }
        self.wrongly_called(from, packet)
    }

    fn init(&mut self, from: usize, packet: &SctpPacket) -> Ruling {
        let Some(tag) = packet.announced() else { return Ruling::WrongState };
        if packet.tag != 0 {
            return Ruling::WrongTag;
        }
        if self.is_over() || self.phase == Phase::HeartbeatSent {
            return Ruling::Another;
        }
        let awaits_agreement = self.phase == Phase::CookieWait;
        if awaits_agreement && self.names[from].name.is_none() {
            self.names[from].name = Some(tag);
        } else if awaits_agreement && !self.names[from].is(tag) {
            self.names[from].begin(tag);
        } else if !self.names[from].is(tag) {
            if from != ORIGINATOR {
                return Ruling::WrongState;
            }
            if !self.has_cookie_under_way() && self.names[from].begin(tag) {
                self.names[1].other = None;
            }
        }
        Ruling::Pass
    }

    /// Whether the originator's other name is one by which an attempt goes on that only who got an INIT ACK can have come so far with. The
    /// reference has no clock: it waits for ever.
    fn has_cookie_under_way(&self) -> bool {
        let echoed = self.phase == Phase::CookieEchoed || matches!(self.names[1].announced(), Some((_, true)));
        echoed && self.names[ORIGINATOR].announced().is_some()
    }

    /// An INIT ACK while nothing is agreed on.
    fn answered(&mut self, from: usize, called: u32, tag: u32) {
        let [own, others] = match from {
            ORIGINATOR => [0, 1],
            _ => [1, 0],
        };
        let to_first_name = self.names[others].is(called);
        // There is a second attempt, with an answer of its own.
        let other_is_taken =
            self.phase == Phase::CookieWait && self.names.iter().all(|names| names.answer() != Answer::Awaited);
        if !to_first_name {
            self.names[others].say(called, Answer::Seen);
        } else if self.names[own].name.is_none() || other_is_taken {
            self.names[own].name = Some(tag);
            return;
        }
        if !self.names[own].is(tag) {
            self.names[own].say(tag, Answer::Seen);
        }
    }

    /// An ABORT or SHUTDOWN COMPLETE, which may have the name of either end.
    fn last_word(&mut self, from: usize, packet: &SctpPacket, kind: u8) -> Ruling {
        let about = if packet.reflects() { from } else { 1 - from };
        let called = self.names[about];
        if kind == chunk::ABORT {
            let nobody_knows = !packet.reflects() && !self.seen_from_its_start && called.name.is_none();
            if called.is(packet.tag) || nobody_knows {
                self.aborted(about, packet.reflects());
                return Ruling::Pass;
            }
            if called.may_be(packet.tag) && !self.is_over() {
                self.names[about].take_back();
            }
        } else if called.is(packet.tag) && self.phase == Phase::ShutdownAckSent {
            self.phase = Phase::Closed;
        }
        let concludes =
            kind != chunk::ABORT && packet.reflects() && called.other == Some((packet.tag, Because::Closing));
        if called.may_be(packet.tag) || concludes { Ruling::Pass } else { Ruling::WrongTag }
    }

    /// An ABORT by the name of an end: the end of the association, or, before both have agreed on one, of an attempt that is not the only one.
    fn aborted(&mut self, about: usize, by_itself: bool) {
        let names = &mut self.names[about];
        let other = names.announced().map(|(tag, _)| tag);
        match self.phase {
            Phase::Closed | Phase::Aborted => {}
            Phase::CookieWait | Phase::CookieEchoed if other.is_some() => *names = Names::only(other),
            // The responder has begun as well, or so it seemed: the originator goes on.
            Phase::CookieWait if about != ORIGINATOR && by_itself => *names = Names::default(),
            Phase::CookieWait
            | Phase::CookieEchoed
            | Phase::Established
            | Phase::ShutdownSent
            | Phase::ShutdownReceived
            | Phase::ShutdownAckSent
            | Phase::HeartbeatSent => self.phase = Phase::Aborted,
        }
    }

    fn before_agreement(&mut self, from: usize, packet: &SctpPacket) -> Ruling {
        let to = 1 - from;
        let waits = self.phase == Phase::CookieWait;
        if !self.names[to].may_be(packet.tag) {
            if waits && from != ORIGINATOR && packet.is_all(chunk::SHUTDOWN_ACK) {
                self.names[to].hear(packet.tag, Because::Closing);
                return Ruling::Pass;
            }
            return Ruling::WrongTag;
        }
        if let Some(tag) = packet.announced() {
            self.answered(from, packet.tag, tag);
        } else if packet.has(chunk::COOKIE_ECHO) {
            // A cookie is for who has begun.
            if self.names[from].name.is_none() {
                return Ruling::WrongState;
            }
            self.names[to] = Names::only(Some(packet.tag));
            self.phase = Phase::CookieEchoed;
        } else if waits {
            let may_come = packet.has(chunk::ERROR) || packet.has(chunk::SHUTDOWN_ACK);
            return if may_come { Ruling::Pass } else { Ruling::WrongState };
        } else if packet.has(chunk::COOKIE_ACK) {
            self.names[to] = Names::only(Some(packet.tag));
            self.names[from].other = None;
            self.phase = Phase::Established;
            self.shut_down(from, packet);
        } else if packet.is_stale_cookie() && from != ORIGINATOR {
            self.phase = Phase::Aborted;
        }
        Ruling::Pass
    }

    /// The name that a HEARTBEAT was sent to is the right one if there is an answer, and nobody has seen the two agree on another.
    fn take_answered(&mut self, from: usize, packet: &SctpPacket) {
        if packet.has(chunk::HEARTBEAT_ACK)
            && !self.seen_from_its_start
            && let Some(tag) = self.names[from].tried()
        {
            self.names[from] = Names::only(Some(tag));
        }
    }

    fn rightly_called(&mut self, from: usize, packet: &SctpPacket) {
        let to = 1 - from;
        if packet.has(chunk::HEARTBEAT) && self.names[to].tried().is_some() {
            self.names[to].other = None;
        }
        self.take_answered(from, packet);
        if from == ORIGINATOR {
            // Who begins anew has forgotten this name.
            for names in &mut self.names {
                names.other = names.other.filter(|(_, because)| *because == Because::Tried);
            }
        }
        let both_are_there = self.names[from].name.is_some() && !packet.is_all(chunk::HEARTBEAT);
        if self.phase == Phase::HeartbeatSent && both_are_there {
            self.phase = Phase::Established;
        }
        self.shut_down(from, packet);
    }

    fn shut_down(&mut self, from: usize, packet: &SctpPacket) {
        match self.phase {
            Phase::Established if packet.has(chunk::SHUTDOWN) => {
                self.phase = if from == ORIGINATOR { Phase::ShutdownSent } else { Phase::ShutdownReceived };
            }
            Phase::ShutdownSent | Phase::ShutdownReceived if packet.has(chunk::SHUTDOWN_ACK) => {
                self.phase = Phase::ShutdownAckSent;
            }
            Phase::CookieWait
            | Phase::CookieEchoed
            | Phase::Established
            | Phase::ShutdownSent
            | Phase::ShutdownReceived
            | Phase::ShutdownAckSent
            | Phase::Closed
            | Phase::Aborted
            | Phase::HeartbeatSent => {}
        }
    }

    /// A packet whose receiver goes by another name: one of an association that is to take this one's place, or of nobody.
    fn wrongly_called(&mut self, from: usize, packet: &SctpPacket) -> Ruling {
        let to = 1 - from;
        if packet.is_all(chunk::HEARTBEAT) {
            self.names[to].hear(packet.tag, Because::Tried);
            return Ruling::Pass;
        }
        if packet.is_all(chunk::HEARTBEAT_ACK)
            && let Some(tag) = self.names[from].tried()
        {
            self.names = [Names::default(); 2];
            self.names[from] = Names::only(Some(tag));
            self.names[to] = Names::only(Some(packet.tag));
            return Ruling::Pass;
        }
        if self.names[to].announced().is_none_or(|(tag, _)| tag != packet.tag) {
            return Ruling::WrongTag;
        }
        if from == ORIGINATOR {
            if !packet.has(chunk::COOKIE_ECHO) {
                return Ruling::WrongTag;
            }
            self.names[to].other = Some((packet.tag, Because::Announced { echoed: true, answer: Answer::Seen }));
            if let Some((_, Because::Announced { answer, .. })) = &mut self.names[from].other
                && *answer == Answer::Seen
            {
                *answer = Answer::Old;
            }
            return Ruling::Pass;
        }
        let mine = self.names[from].announced();
        if let Some(tag) = packet.announced() {
            if !matches!(mine, Some((_, true))) {
                self.names[from].say(tag, Answer::Awaited);
            }
            self.names[to].say(packet.tag, Answer::Seen);
            return Ruling::Pass;
        }
        if let (true, Some((tag, true))) = (packet.has(chunk::COOKIE_ACK), mine) {
            self.names[from] = Names::only(Some(tag));
            self.names[to] = Names::only(Some(packet.tag));
            self.phase = Phase::Established;
            self.shut_down(from, packet);
            return Ruling::Pass;
        }
        if packet.is_stale_cookie() {
            self.names[to].take_back();
        }
        if packet.has(chunk::ERROR) { Ruling::Pass } else { Ruling::WrongTag }
    }
}
