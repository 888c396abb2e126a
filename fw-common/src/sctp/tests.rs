//! Two ends that open, use, shut down and begin associations anew, and strangers who do not know their tags.

use super::*;
use proptest::prelude::*;

pub(super) const ORIGINATOR: Side = Side::Originator;
pub(super) const RESPONDER: Side = Side::Responder;
pub(super) const DATA: Chunks = Chunks::of(chunk_type::DATA);
const SACK: Chunks = Chunks::of(chunk_type::SACK);

/// The tags of the two ends, and those of a restart.
pub(super) const ONE: u32 = 0x1111;
pub(super) const TWO: u32 = 0x2222;
pub(super) const NEW_ONE: u32 = 0x7111;
pub(super) const NEW_TWO: u32 = 0x7222;
/// A tag that nobody has.
pub(super) const GUESS: u32 = 0xdead;

/// The judge with what it remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Watched {
    pub(super) state: State,
    pub(super) ends: [End; 2],
    pub(super) liberal: bool,
    /// Seconds.
    pub(super) now: u32,
}

impl Watched {
    pub(super) fn opened_by(message: &Message) -> Self {
        let Opening::Flow(state) = opening(message, true) else { panic!("{message:?} opens nothing") };
        let (sender, receiver) = message.ends();
        Self { state, ends: [sender, receiver], liberal: state == State::SctpHeartbeatSent, now: 1000 }
    }

    pub(super) fn judge(&mut self, side: Side, message: Message) -> Judgement {
        let [originator, responder] = &mut self.ends;
        let (sender, receiver) = if side == ORIGINATOR { (originator, responder) } else { (responder, originator) };
        let judgement = judge(self.state, side, &message, sender, receiver, self.liberal, self.now);
        if let Judgement::Pass(next) = judgement {
            self.state = next;
        }
        judgement
    }

    /// A packet passes, and the association is in this state.
    #[track_caller]
    pub(super) fn pass(&mut self, side: Side, message: Message, state: State) {
        assert_eq!(self.judge(side, message), Judgement::Pass(state), "{message:?} of the {side:?}");
    }

    /// A packet comes to this, and changes nothing that is known.
    #[track_caller]
    pub(super) fn refuse(&mut self, side: Side, message: Message, judgement: Judgement) {
        let before = *self;
        assert_eq!(self.judge(side, message), judgement, "{message:?} of the {side:?}");
        assert_eq!(*self, before, "{message:?} of the {side:?}");
    }
}

pub(super) fn message(tag: u32, chunks: Chunks) -> Message {
    Message { tag, initiate_tag: 0, chunks }
}

pub(super) fn init(initiate_tag: u32) -> Message {
    Message { tag: 0, initiate_tag, chunks: Chunks::INIT }
}

pub(super) fn init_ack(tag: u32, initiate_tag: u32) -> Message {
    Message { tag, initiate_tag, chunks: Chunks::INIT_ACK }
}

/// An association that is open.
pub(super) fn established() -> Watched {
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO.and(DATA)), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK.and(SACK)), State::SctpEstablished);
    watched
}

#[test]
fn an_association_opens_and_is_shut_down() {
    for (first, asked) in [(ORIGINATOR, State::SctpShutdownSent), (RESPONDER, State::SctpShutdownReceived)] {
        let mut watched = established();
        let (other, to_other, to_first) =
            if first == ORIGINATOR { (RESPONDER, TWO, ONE) } else { (ORIGINATOR, ONE, TWO) };
        watched.pass(first, message(to_other, DATA), State::SctpEstablished);
        watched.pass(first, message(to_other, Chunks::SHUTDOWN.and(SACK)), asked);
        watched.pass(other, message(to_first, DATA), asked);
        watched.pass(first, message(to_other, Chunks::SHUTDOWN), asked);
        watched.pass(other, message(to_first, Chunks::SHUTDOWN_ACK), State::SctpShutdownAckSent);
        watched.pass(first, message(to_other, Chunks::SHUTDOWN_COMPLETE), State::SctpClosed);
        // The last packet was lost: it is asked for, and told again, by its own tag, by who has forgotten the association.
        watched.refuse(other, message(to_first, Chunks::SHUTDOWN_ACK), Judgement::Tolerate);
        let reflected = Chunks::SHUTDOWN_COMPLETE.and(Chunks::REFLECTED);
        watched.refuse(first, message(to_first, reflected), Judgement::Tolerate);
        watched.refuse(first, message(GUESS, reflected), Judgement::WrongTag);
        assert_eq!(watched.judge(ORIGINATOR, init(NEW_ONE)), Judgement::Reopen);
    }
}

#[test]
fn only_an_init_or_a_heartbeat_opens_a_flow() {
    let refused = |reason| Opening::Refused(reason);
    assert_eq!(opening(&init(ONE), false), Opening::Flow(State::SctpCookieWait));
    assert_eq!(opening(&Message { tag: GUESS, ..init(ONE) }, false), refused(DropReason::SctpTag));
    assert_eq!(opening(&message(TWO, Chunks::HEARTBEAT), false), Opening::Flow(State::SctpHeartbeatSent));
    assert_eq!(opening(&message(0, Chunks::HEARTBEAT), false), refused(DropReason::SctpTag));
    assert_eq!(opening(&message(TWO, Chunks::HEARTBEAT.and(DATA)), false), refused(DropReason::SctpNotInit));
    assert_eq!(opening(&message(TWO, DATA), false), refused(DropReason::SctpNotInit));
    assert_eq!(opening(&message(TWO, DATA), true), Opening::Flow(State::SctpHeartbeatSent), "picked up");
    for never in [Chunks::INIT_ACK, Chunks::ABORT, Chunks::SHUTDOWN_COMPLETE] {
        assert_eq!(opening(&message(TWO, never), true), refused(DropReason::SctpNotInit));
    }
}

#[test]
fn a_wrong_tag_does_not_pass() {
    for (side, own) in [(ORIGINATOR, ONE), (RESPONDER, TWO)] {
        let mut watched = established();
        for chunks in [DATA, SACK, Chunks::SHUTDOWN, Chunks::COOKIE_ACK, Chunks::ABORT, Chunks::ERROR, Chunks::INIT_ACK]
        {
            for tag in [GUESS, own, 0] {
                watched.refuse(side, message(tag, chunks), Judgement::WrongTag);
            }
        }
        watched.refuse(side, message(GUESS, Chunks::HEARTBEAT.and(DATA)), Judgement::WrongTag);
        watched.refuse(side, message(GUESS, Chunks::HEARTBEAT_ACK), Judgement::WrongTag);
        watched.refuse(side, Message { tag: GUESS, ..init(NEW_ONE) }, Judgement::WrongTag);
    }
    let mut waiting = Watched::opened_by(&init(ONE));
    waiting.refuse(RESPONDER, init_ack(GUESS, TWO), Judgement::WrongTag);
    waiting.refuse(ORIGINATOR, message(GUESS, Chunks::COOKIE_ECHO), Judgement::WrongTag);
    waiting.refuse(ORIGINATOR, message(GUESS, DATA), Judgement::WrongTag);
}

#[test]
fn an_abort_has_the_receivers_tag_or_reflects_its_own() {
    let reflected = Chunks::ABORT.and(Chunks::REFLECTED);
    for (side, own, others) in [(ORIGINATOR, ONE, TWO), (RESPONDER, TWO, ONE)] {
        let mut watched = established();
        watched.refuse(side, message(own, Chunks::ABORT), Judgement::WrongTag);
        watched.refuse(side, message(others, reflected), Judgement::WrongTag);
        watched.clone().pass(side, message(others, Chunks::ABORT), State::Closed);
        watched.pass(side, message(own, reflected), State::Closed);
        // The other end has not got it.
        watched.refuse(side, message(own, reflected), Judgement::Tolerate);
        watched.refuse(side, message(others, DATA), Judgement::Tolerate);
        watched.refuse(side, message(GUESS, DATA), Judgement::WrongTag);
    }
    let mut refused = Watched::opened_by(&init(ONE));
    refused.pass(RESPONDER, message(ONE, Chunks::ABORT), State::Closed);
    assert_eq!(refused.judge(ORIGINATOR, init(NEW_ONE)), Judgement::Reopen);
}

#[test]
fn a_restart_counts_when_both_ends_agree() {
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, init(NEW_ONE)), Judgement::Tolerate);
    // The old association goes on until then.
    watched.pass(RESPONDER, message(ONE, DATA), State::SctpEstablished);
    assert_eq!(watched.judge(RESPONDER, init_ack(NEW_ONE, NEW_TWO)), Judgement::Tolerate);
    watched.refuse(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), Judgement::WrongTag);
    assert_eq!(watched.judge(ORIGINATOR, message(NEW_TWO, Chunks::COOKIE_ECHO)), Judgement::Tolerate);
    // A second answer is none of this cookie's.
    watched.refuse(RESPONDER, init_ack(NEW_ONE, GUESS), Judgement::Tolerate);
    watched.pass(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(NEW_ONE), End::tagged(NEW_TWO)]);
    watched.pass(ORIGINATOR, message(NEW_TWO, DATA), State::SctpEstablished);
    watched.refuse(ORIGINATOR, message(TWO, DATA), Judgement::WrongTag);
    watched.refuse(RESPONDER, message(ONE, Chunks::ABORT), Judgement::WrongTag);
}

#[test]
fn another_restart_takes_the_place_of_one_that_was_given_up() {
    let mut watched = established();
    for (initiate_tag, answer) in [(NEW_ONE, NEW_TWO), (NEW_ONE + 1, NEW_TWO + 1)] {
        watched.now += ECHO_HOLD;
        assert_eq!(watched.judge(ORIGINATOR, init(initiate_tag)), Judgement::Tolerate);
        assert_eq!(watched.judge(RESPONDER, init_ack(initiate_tag, answer)), Judgement::Tolerate);
        assert_eq!(watched.judge(ORIGINATOR, message(answer, Chunks::COOKIE_ECHO)), Judgement::Tolerate);
    }
    watched.refuse(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), Judgement::WrongTag);
    watched.pass(RESPONDER, message(NEW_ONE + 1, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(NEW_ONE + 1), End::tagged(NEW_TWO + 1)]);
}

#[test]
fn the_responder_begins_nothing_in_an_association() {
    let mut watched = established();
    watched.refuse(RESPONDER, init(NEW_TWO), Judgement::WrongState);
    watched.refuse(RESPONDER, init(TWO), Judgement::Tolerate);
}

#[test]
fn attempts_and_answers_may_cross() {
    // Two attempts and two answers, of which the last ones count.
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(ORIGINATOR, init(ONE), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init(NEW_ONE), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(NEW_ONE, NEW_TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(NEW_TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(NEW_ONE), End::tagged(NEW_TWO)]);
    // Both begin at once (RFC 9260, section 5.2.1).
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(RESPONDER, init(TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init_ack(TWO, ONE), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ACK), State::SctpEstablished);
}

#[test]
fn nothing_but_the_handshake_comes_before_the_cookie() {
    let mut watched = Watched::opened_by(&init(ONE));
    watched.refuse(RESPONDER, message(ONE, DATA), Judgement::WrongState);
    watched.refuse(RESPONDER, message(ONE, Chunks::COOKIE_ACK), Judgement::WrongState);
    watched.refuse(RESPONDER, message(ONE, Chunks::ERROR), Judgement::Tolerate);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.refuse(ORIGINATOR, message(TWO, DATA), Judgement::WrongState);
}

#[test]
fn a_stale_cookie_ends_the_attempt() {
    let stale = Chunks::ERROR.and(Chunks::STALE_COOKIE);
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::ERROR), State::SctpCookieEchoed);
    watched.pass(ORIGINATOR, message(TWO, stale), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, stale), State::Closed);
    assert_eq!(watched.judge(ORIGINATOR, init(NEW_ONE)), Judgement::Reopen);
    established().pass(RESPONDER, message(ONE, stale), State::SctpEstablished);
}

#[test]
fn a_heartbeat_opens_another_path() {
    let mut watched = Watched::opened_by(&message(TWO, Chunks::HEARTBEAT));
    watched.refuse(ORIGINATOR, message(TWO, DATA), Judgement::Pass(State::SctpHeartbeatSent));
    // The responder tries it, too.
    watched.pass(RESPONDER, message(ONE, Chunks::HEARTBEAT), State::SctpHeartbeatSent);
    watched.pass(RESPONDER, message(ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    watched.pass(ORIGINATOR, message(TWO, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    watched.pass(ORIGINATOR, message(TWO, DATA), State::SctpEstablished);
    watched.refuse(RESPONDER, message(GUESS, SACK), Judgement::WrongTag);
    // An INIT is no part of it before anybody has answered.
    let mut watched = Watched::opened_by(&message(TWO, Chunks::HEARTBEAT));
    watched.refuse(ORIGINATOR, init(ONE), Judgement::Reopen);
    watched.refuse(RESPONDER, init(ONE), Judgement::Reopen);
    // Nobody is there.
    let reflected = Chunks::ABORT.and(Chunks::REFLECTED);
    watched.refuse(RESPONDER, message(GUESS, reflected), Judgement::WrongTag);
    watched.pass(RESPONDER, message(TWO, reflected), State::Closed);
}

#[test]
fn a_path_follows_an_association_that_was_begun_anew_on_another() {
    for mut watched in [established(), Watched { liberal: true, ..established() }] {
        watched.refuse(RESPONDER, message(NEW_ONE, Chunks::HEARTBEAT_ACK), Judgement::WrongTag);
        assert_eq!(watched.judge(ORIGINATOR, message(NEW_TWO, Chunks::HEARTBEAT)), Judgement::Tolerate);
        watched.refuse(ORIGINATOR, message(NEW_TWO, DATA), Judgement::WrongTag);
        watched.refuse(RESPONDER, message(NEW_ONE, DATA), Judgement::WrongTag);
        watched.clone().pass(RESPONDER, message(NEW_ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
        watched.pass(RESPONDER, message(NEW_ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
        assert_eq!(watched.ends, [End::tagged(NEW_ONE), End::tagged(NEW_TWO)]);
    }
}

#[test]
fn a_picked_up_association_lives_when_its_other_end_is_heard() {
    let mut watched = Watched::opened_by(&message(TWO, DATA));
    watched.pass(ORIGINATOR, message(TWO, DATA), State::SctpHeartbeatSent);
    watched.clone().pass(RESPONDER, message(ONE, Chunks::SHUTDOWN), State::SctpShutdownReceived);
    watched.clone().pass(RESPONDER, message(ONE, Chunks::ABORT), State::Closed);
    watched.pass(RESPONDER, message(ONE, SACK), State::SctpEstablished);
    watched.refuse(RESPONDER, message(GUESS, SACK), Judgement::WrongTag);
}

#[test]
fn nothing_belongs_to_an_association_that_a_policy_has_ended() {
    for message in [init(NEW_ONE), message(TWO, DATA), message(TWO, Chunks::ABORT)] {
        let mut ended = Watched { state: State::Ended, ..established() };
        ended.refuse(ORIGINATOR, message, Judgement::Reopen);
    }
}

#[test]
fn what_an_error_quotes_names_a_tag() {
    let (one, two) = (End::tagged(ONE), End::tagged(TWO));
    assert!(is_in_flight(TWO, 0, &one, &two) && is_in_flight(0, ONE, &one, &two));
    assert!(!is_in_flight(ONE, 0, &one, &two) && !is_in_flight(0, TWO, &one, &two) && !is_in_flight(0, 0, &one, &two));
    assert!(!is_in_flight(0, 0, &End::default(), &End::default()));
}

proptest! {
    /// Only the two ends' own states come out, and a packet that is dropped changes nothing.
    #[test]
    fn states_of_other_protocols_never_come_out(
        number in 10u8..18, tags: [u16; 4], tag: u16, initiate_tag: u16, chunks in (0u32..1 << 19).prop_map(Chunks), responder: bool, liberal: bool,
        now: u32,
    ) {
        let end = |tag: u16, offered: u16| End { tag: u32::from(tag % 4), offered: u32::from(offered % 4), flags: u32::from(offered / 4) };
        let ends = [end(tags[0], tags[1]), end(tags[2], tags[3])];
        let mut watched = Watched { state: State::from_number(number), ends, liberal, now };
        let message = Message { tag: u32::from(tag % 4), initiate_tag: u32::from(initiate_tag % 4), chunks };
        match watched.judge(if responder { RESPONDER } else { ORIGINATOR }, message) {
            Judgement::Pass(State::Closed) => {}
            Judgement::Pass(next) => prop_assert!((10..18).contains(&(next as u8))),
            Judgement::WrongTag | Judgement::WrongState | Judgement::Reopen => prop_assert_eq!(watched.ends, ends),
            Judgement::Tolerate => {}
        }
    }
}
