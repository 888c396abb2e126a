//! Strangers, who do not see the association and know none of its tags.

use super::tests::{
    DATA, GUESS, NEW_ONE, NEW_TWO, ONE, ORIGINATOR, RESPONDER, TWO, Watched, established, init, init_ack, message,
};
use super::*;
use proptest::prelude::*;

#[test]
fn a_strangers_init_ends_no_association() {
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, init(GUESS)), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(GUESS, NEW_TWO)), Judgement::Tolerate);
    // The originator discards that answer; the stranger does not see it.
    watched.refuse(ORIGINATOR, message(GUESS + 1, Chunks::COOKIE_ECHO), Judgement::WrongTag);
    // What the responder says to the stranger's tag says nothing about the association.
    watched.refuse(RESPONDER, message(GUESS, Chunks::ERROR), Judgement::Tolerate);
    watched.refuse(RESPONDER, message(GUESS, DATA), Judgement::WrongTag);
    assert_eq!(watched.judge(RESPONDER, message(GUESS, Chunks::ABORT)), Judgement::Tolerate);
    watched.refuse(ORIGINATOR, message(GUESS, Chunks::ABORT), Judgement::WrongTag);
    for (side, tag) in [(ORIGINATOR, TWO), (RESPONDER, ONE)] {
        watched.pass(side, message(tag, DATA), State::SctpEstablished);
    }
    // Nor does it keep one from being opened.
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(ORIGINATOR, init(GUESS), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    assert_eq!(watched.judge(RESPONDER, message(GUESS, Chunks::ABORT)), Judgement::Tolerate);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
}

#[test]
fn a_strangers_heartbeat_changes_nothing() {
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, message(GUESS, Chunks::HEARTBEAT)), Judgement::Tolerate);
    // The originator's own, and its answer.
    watched.pass(ORIGINATOR, message(TWO, Chunks::HEARTBEAT), State::SctpEstablished);
    assert_eq!(watched.judge(ORIGINATOR, message(GUESS, Chunks::HEARTBEAT)), Judgement::Tolerate);
    watched.pass(RESPONDER, message(ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    assert_eq!(watched.ends.map(|end| end.tag), [ONE, TWO]);
    // What was learnt wrongly of a path whose beginning was not seen is put right by the next answer.
    let mut watched = Watched::opened_by(&message(GUESS, Chunks::HEARTBEAT));
    watched.pass(RESPONDER, message(ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    assert_eq!(watched.judge(ORIGINATOR, message(TWO, Chunks::HEARTBEAT)), Judgement::Tolerate);
    watched.pass(RESPONDER, message(ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    watched.pass(ORIGINATOR, message(TWO, DATA), State::SctpEstablished);
    // Or by the first one, if it comes that late.
    let mut watched = Watched::opened_by(&message(GUESS, Chunks::HEARTBEAT));
    assert_eq!(watched.judge(ORIGINATOR, message(TWO, Chunks::HEARTBEAT)), Judgement::Tolerate);
    watched.pass(RESPONDER, message(ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    watched.pass(ORIGINATOR, message(TWO, DATA), State::SctpEstablished);
}

#[test]
fn a_strangers_heartbeat_breaks_no_restart() {
    // After each step of it, in either end's name.
    for (side, step) in
        [(ORIGINATOR, 1), (RESPONDER, 1), (ORIGINATOR, 2), (RESPONDER, 2), (ORIGINATOR, 3), (RESPONDER, 3)]
    {
        let mut watched = established();
        let steps = [
            (ORIGINATOR, init(NEW_ONE)),
            (RESPONDER, init_ack(NEW_ONE, NEW_TWO)),
            (ORIGINATOR, message(NEW_TWO, Chunks::COOKIE_ECHO)),
        ];
        for (number, (end, packet)) in steps.into_iter().enumerate() {
            assert_eq!(watched.judge(end, packet), Judgement::Tolerate, "step {number}");
            if number + 1 == step {
                assert_eq!(watched.judge(side, message(GUESS, Chunks::HEARTBEAT)), Judgement::Tolerate);
            }
        }
        watched.pass(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
        assert_eq!(watched.ends, [End::tagged(NEW_ONE), End::tagged(NEW_TWO)]);
    }
}

#[test]
fn a_strangers_init_keeps_no_path_from_following() {
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, init(GUESS)), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(GUESS, GUESS + 1)), Judgement::Tolerate);
    // The originator goes on: it has not begun anew.
    watched.pass(ORIGINATOR, message(TWO, DATA), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(ONE), End::tagged(TWO)]);
    assert_eq!(watched.judge(ORIGINATOR, message(NEW_TWO, Chunks::HEARTBEAT)), Judgement::Tolerate);
    watched.pass(RESPONDER, message(NEW_ONE, Chunks::HEARTBEAT_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(NEW_ONE), End::tagged(NEW_TWO)]);
}

#[test]
fn strangers_inits_keep_no_handshake_from_its_end() {
    // The answers come in any order; the originator takes the one to its own INIT.
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(ORIGINATOR, init(GUESS), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(GUESS, GUESS + 1), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    for _ in 0..2 {
        watched.pass(ORIGINATOR, init(GUESS + 2), State::SctpCookieWait);
    }
    watched.pass(RESPONDER, init_ack(GUESS + 2, GUESS + 3), State::SctpCookieWait);
    watched.refuse(RESPONDER, init_ack(GUESS, GUESS + 1), Judgement::WrongTag);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(ONE), End::tagged(TWO)]);
    // The stranger was the first; it comes again when the cookie is under way.
    let mut watched = Watched::opened_by(&init(GUESS));
    watched.pass(ORIGINATOR, init(ONE), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(GUESS, GUESS + 1), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.refuse(ORIGINATOR, init(GUESS + 2), Judgement::Tolerate);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(ONE), End::tagged(TWO)]);
}

/// A restart whose COOKIE ECHO has passed.
fn echoed() -> Watched {
    let mut watched = established();
    for (end, packet) in [
        (ORIGINATOR, init(NEW_ONE)),
        (RESPONDER, init_ack(NEW_ONE, NEW_TWO)),
        (ORIGINATOR, message(NEW_TWO, Chunks::COOKIE_ECHO)),
    ] {
        assert_eq!(watched.judge(end, packet), Judgement::Tolerate);
    }
    watched
}

#[test]
fn strangers_inits_take_no_place_from_a_restart_whose_cookie_is_under_way() {
    let mut watched = echoed();
    for later in 0..ECHO_HOLD {
        watched.now = 1000 + later;
        for guess in GUESS..GUESS + 3 {
            watched.refuse(ORIGINATOR, init(guess), Judgement::Tolerate);
            watched.refuse(RESPONDER, init_ack(guess, guess + 9), Judgement::WrongTag);
        }
    }
    // The cookie, repeated, is kept for as long again.
    assert_eq!(watched.judge(ORIGINATOR, message(NEW_TWO, Chunks::COOKIE_ECHO)), Judgement::Tolerate);
    watched.now += ECHO_HOLD - 1;
    watched.refuse(ORIGINATOR, init(GUESS), Judgement::Tolerate);
    watched.pass(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(NEW_ONE), End::tagged(NEW_TWO)]);
    // The place is free again.
    assert_eq!(watched.judge(ORIGINATOR, init(NEW_ONE + 1)), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(NEW_ONE + 1, NEW_TWO + 1)), Judgement::Tolerate);
}

/// An end that crashed behind its COOKIE ECHO, and begins anew, gets through once this has been seen.
#[track_caller]
fn begins_anew(mut watched: Watched) {
    for (end, packet) in [
        (ORIGINATOR, init(ONE + 1)),
        (RESPONDER, init_ack(ONE + 1, TWO + 1)),
        (ORIGINATOR, message(TWO + 1, Chunks::COOKIE_ECHO)),
    ] {
        assert_eq!(watched.judge(end, packet), Judgement::Tolerate, "{packet:?}");
    }
    watched.pass(RESPONDER, message(ONE + 1, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(ONE + 1), End::tagged(TWO + 1)]);
}

#[test]
fn an_attempt_that_was_given_up_keeps_no_other_out() {
    // Nobody has answered the cookie for some time, whatever strangers have sent meanwhile.
    let mut watched = echoed();
    watched.refuse(ORIGINATOR, init(ONE + 1), Judgement::Tolerate);
    watched.now += ECHO_HOLD;
    begins_anew(watched);
    // It was refused, or failed, or its originator has forgotten it.
    let reflected = Chunks::ABORT.and(Chunks::REFLECTED);
    for (end, packet) in [
        (RESPONDER, message(NEW_ONE, Chunks::ABORT)),
        (RESPONDER, message(NEW_TWO, reflected)),
        (ORIGINATOR, message(NEW_TWO, Chunks::ABORT)),
        (ORIGINATOR, message(NEW_ONE, reflected)),
        (RESPONDER, message(NEW_ONE, Chunks::ERROR.and(Chunks::STALE_COOKIE))),
    ] {
        let mut watched = echoed();
        assert_eq!(watched.judge(end, packet), Judgement::Tolerate, "{packet:?}");
        begins_anew(watched);
    }
    // After a stale cookie it may come back under the same tag (RFC 9260, section 5.2.6).
    let mut watched = echoed();
    let stale = Chunks::ERROR.and(Chunks::STALE_COOKIE);
    assert_eq!(watched.judge(RESPONDER, message(NEW_ONE, stale)), Judgement::Tolerate);
    assert_eq!(watched.judge(ORIGINATOR, init(NEW_ONE)), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(NEW_ONE, TWO + 1)), Judgement::Tolerate);
    assert_eq!(watched.judge(ORIGINATOR, message(TWO + 1, Chunks::COOKIE_ECHO)), Judgement::Tolerate);
    // Nobody else ends an attempt.
    for (end, packet) in [
        (RESPONDER, message(GUESS, Chunks::ABORT)),
        (ORIGINATOR, message(GUESS, reflected)),
        (RESPONDER, message(GUESS, stale)),
    ] {
        echoed().refuse(end, packet, Judgement::WrongTag);
    }
    echoed().refuse(ORIGINATOR, message(NEW_TWO, stale), Judgement::WrongTag);
    echoed().refuse(RESPONDER, message(NEW_ONE, Chunks::ERROR), Judgement::Tolerate);
}

#[test]
fn one_init_takes_no_place_from_an_attempt_that_was_answered() {
    // In a restart, until its cookie comes back.
    let mut watched = established();
    assert_eq!(watched.judge(ORIGINATOR, init(NEW_ONE)), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(NEW_ONE, NEW_TWO)), Judgement::Tolerate);
    assert_eq!(watched.judge(ORIGINATOR, init(GUESS)), Judgement::Tolerate);
    watched.refuse(RESPONDER, init_ack(GUESS, GUESS + 1), Judgement::WrongTag);
    let mut goes_on = watched;
    assert_eq!(goes_on.judge(ORIGINATOR, message(NEW_TWO, Chunks::COOKIE_ECHO)), Judgement::Tolerate);
    goes_on.pass(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    // Another answer to the same INIT buys no more time, so that a stranger who repeats his keeps nobody out: who begins anew, and
    // repeats it as everybody does, gets through.
    assert_eq!(watched.judge(RESPONDER, init_ack(NEW_ONE, NEW_TWO + 1)), Judgement::Tolerate);
    begins_anew(watched);
    // In a handshake that a stranger's INIT came before; also in the responder's name, which may begin, too.
    let mut watched = Watched::opened_by(&init(GUESS));
    watched.pass(RESPONDER, init(GUESS + 1), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init(ONE), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init(GUESS + 2), State::SctpCookieWait);
    watched.pass(RESPONDER, init(GUESS + 3), State::SctpCookieWait);
    // The stranger repeats his first one.
    watched.pass(ORIGINATOR, init(GUESS), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(GUESS, GUESS + 5), State::SctpCookieWait);
    watched.refuse(RESPONDER, init_ack(GUESS + 2, GUESS + 4), Judgement::WrongTag);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(ONE), End::tagged(TWO)]);
}

#[test]
fn an_answer_to_the_first_attempt_changes_no_tag_that_a_cookie_has_settled() {
    // The stranger came first, and repeats his INIT.
    let mut watched = Watched::opened_by(&init(GUESS));
    watched.pass(RESPONDER, init_ack(GUESS, GUESS + 1), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init(ONE), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.refuse(ORIGINATOR, init(GUESS), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(GUESS, GUESS + 2)), Judgement::Tolerate);
    watched.pass(ORIGINATOR, message(TWO, DATA), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
    assert_eq!(watched.ends, [End::tagged(ONE), End::tagged(TWO)]);
    // His INIT came in the responder's name, before its answer; the originator answers him, too.
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(RESPONDER, init(GUESS), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init_ack(GUESS, NEW_ONE), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
}

#[test]
fn a_stranger_who_was_first_aborts_his_own_attempt_alone() {
    let reflected = Chunks::ABORT.and(Chunks::REFLECTED);
    let mut watched = Watched::opened_by(&init(GUESS));
    watched.pass(RESPONDER, init_ack(GUESS, GUESS + 1), State::SctpCookieWait);
    watched.pass(ORIGINATOR, init(ONE), State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.clone().pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    // Before the cookie, and behind it.
    let mut before = watched;
    assert_eq!(before.judge(ORIGINATOR, message(GUESS, reflected)), Judgement::Tolerate);
    before.refuse(ORIGINATOR, message(GUESS, reflected), Judgement::WrongTag);
    before.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    assert_eq!(watched.judge(ORIGINATOR, message(GUESS, reflected)), Judgement::Tolerate);
    for mut watched in [before, watched] {
        watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
        assert_eq!(watched.ends, [End::tagged(ONE), End::tagged(TWO)]);
    }
    // In the responder's name.
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(RESPONDER, init(GUESS), State::SctpCookieWait);
    assert_eq!(watched.judge(RESPONDER, message(GUESS, reflected)), Judgement::Tolerate);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    // Who is refused, or gives up, and is alone, is done with.
    for (side, message) in [
        (RESPONDER, message(ONE, Chunks::ABORT)),
        (ORIGINATOR, message(ONE, reflected)),
        (ORIGINATOR, message(TWO, Chunks::ABORT)),
    ] {
        watched.clone().pass(side, message, State::Closed);
    }
}

#[test]
fn answers_to_a_stranger_keep_no_cookie_waiting() {
    let mut watched = Watched::opened_by(&init(ONE));
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    assert_eq!(watched.judge(ORIGINATOR, init(GUESS)), Judgement::Tolerate);
    assert_eq!(watched.judge(RESPONDER, init_ack(GUESS, GUESS + 1)), Judgement::Tolerate, "the flow times out");
    watched.pass(RESPONDER, message(ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
}

#[test]
fn an_older_association_is_still_being_closed() {
    let mut watched = Watched::opened_by(&init(ONE));
    assert_eq!(watched.judge(RESPONDER, message(GUESS, Chunks::SHUTDOWN_ACK)), Judgement::Tolerate);
    let reflected = Chunks::SHUTDOWN_COMPLETE.and(Chunks::REFLECTED);
    watched.refuse(ORIGINATOR, message(GUESS, reflected), Judgement::Tolerate);
    watched.refuse(ORIGINATOR, message(GUESS + 1, reflected), Judgement::WrongTag);
    // That tag is good for nothing else.
    for chunks in [Chunks::COOKIE_ECHO, Chunks::INIT_ACK, Chunks::ABORT, Chunks::ERROR, DATA] {
        watched.refuse(RESPONDER, Message { initiate_tag: TWO, ..message(GUESS, chunks) }, Judgement::WrongTag);
    }
    assert_eq!(watched.state, State::SctpCookieWait);
    watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
}

#[test]
fn the_responder_alone_establishes_nothing() {
    let mut watched = Watched::opened_by(&init(ONE));
    watched.refuse(RESPONDER, message(ONE, Chunks::COOKIE_ECHO), Judgement::WrongState);
    assert_eq!(watched.judge(RESPONDER, message(GUESS, Chunks::SHUTDOWN_ACK)), Judgement::Tolerate);
    watched.refuse(RESPONDER, message(GUESS, Chunks::COOKIE_ECHO), Judgement::WrongTag);
    watched.refuse(RESPONDER, message(GUESS, Chunks::COOKIE_ACK), Judgement::WrongTag);
    // Nor does it take a tag from the originator.
    watched.pass(ORIGINATOR, init(NEW_ONE), State::SctpCookieWait);
    assert_eq!(watched.judge(RESPONDER, message(GUESS, Chunks::SHUTDOWN_ACK)), Judgement::Tolerate);
    watched.pass(RESPONDER, init_ack(NEW_ONE, TWO), State::SctpCookieWait);
    watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
    watched.pass(RESPONDER, message(NEW_ONE, Chunks::COOKIE_ACK), State::SctpEstablished);
}

/// One chunk mostly, which does more than many at once.
fn any_chunks() -> impl Strategy<Value = Chunks> {
    prop_oneof![(0u32..19).prop_map(|bit| Chunks(1 << bit)), (0u32..1 << 19).prop_map(Chunks)]
}

/// Of few, so that a stranger comes back to what it has said.
fn any_tag() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), GUESS..GUESS + 3, any::<u32>()]
}

proptest! {
    /// Who knows none of the tags changes no state of an association that is open, nor its tags.
    #[test]
    fn a_guess_changes_no_state(
        packets in proptest::collection::vec((any_tag(), any_tag(), any_chunks()), 1..20), responder: bool,
    ) {
        let mut watched = established();
        let side = if responder { RESPONDER } else { ORIGINATOR };
        for (tag, initiate_tag, chunks) in packets {
            prop_assume!(![ONE, TWO].contains(&tag) && ![ONE, TWO].contains(&initiate_tag));
            let _ = watched.judge(side, Message { tag, initiate_tag, chunks });
            prop_assert_eq!(watched.state, State::SctpEstablished);
            prop_assert_eq!(watched.ends.map(|end| end.tag), [ONE, TWO]);
        }
        // And both ends go on.
        for (side, tag) in [(ORIGINATOR, TWO), (RESPONDER, ONE)] {
            prop_assert_eq!(watched.judge(side, message(tag, DATA)), Judgement::Pass(State::SctpEstablished));
        }
    }

    /// Nor does anybody keep a cookie that is under way from its answer: in a restart, or in a handshake that a stranger's INIT came
    /// before. The responder answers the stranger's INITs, and the originator, too, where both may begin.
    #[test]
    fn a_guess_stops_no_cookie(
        packets in proptest::collection::vec((any_tag(), any_tag(), any_chunks()), 1..20), responder: bool, restarts: bool, seconds in 0..ECHO_HOLD,
    ) {
        let (mut watched, [one, two]) = if restarts {
            (echoed(), [NEW_ONE, NEW_TWO])
        } else {
            // Who sends in the responder's name does not know the tag of who sends in the originator's.
            let mut watched = Watched::opened_by(&init(if responder { !GUESS } else { GUESS }));
            watched.pass(ORIGINATOR, init(ONE), State::SctpCookieWait);
            watched.pass(RESPONDER, init_ack(ONE, TWO), State::SctpCookieWait);
            watched.pass(ORIGINATOR, message(TWO, Chunks::COOKIE_ECHO), State::SctpCookieEchoed);
            (watched, [ONE, TWO])
        };
        watched.now += seconds;
        let (side, other) = if responder { (RESPONDER, ORIGINATOR) } else { (ORIGINATOR, RESPONDER) };
        for (number, (tag, initiate_tag, chunks)) in (0u32..).zip(packets) {
            let known = [ONE, TWO, NEW_ONE, NEW_TWO];
            prop_assume!(!known.contains(&tag) && !known.contains(&initiate_tag));
            let _ = watched.judge(side, Message { tag, initiate_tag, chunks });
            if chunks.has(Chunks::INIT) && tag == 0 {
                let _ = watched.judge(other, init_ack(initiate_tag, 1 << 30 | number));
            }
        }
        watched.pass(RESPONDER, message(one, Chunks::COOKIE_ACK), State::SctpEstablished);
        prop_assert_eq!(watched.ends, [End::tagged(one), End::tagged(two)]);
    }

    /// Nothing is established without the other end.
    #[test]
    fn nothing_is_established_by_one_end_alone(
        heartbeat: bool, responder: bool,
        packets in proptest::collection::vec((any_tag(), any_tag(), any_chunks()), 0..40),
    ) {
        // Of a path whose beginning was not seen, the responder's first packet is believed: the policy allows it.
        let first = if heartbeat && !responder { message(TWO, Chunks::HEARTBEAT) } else { init(ONE) };
        let mut watched = Watched::opened_by(&first);
        for (tag, initiate_tag, chunks) in packets {
            prop_assume!(![ONE, TWO].contains(&tag) && ![ONE, TWO].contains(&initiate_tag));
            let _ = watched.judge(if responder { RESPONDER } else { ORIGINATOR }, Message { tag, initiate_tag, chunks });
            prop_assert!(matches!(watched.state, State::SctpCookieWait | State::SctpHeartbeatSent | State::Closed), "{:?}", watched);
        }
        // And the handshake goes on.
        if responder {
            prop_assert!(watched.ends[0].is_addressed_by(ONE));
        }
    }
}
