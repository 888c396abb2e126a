//! Associations that are begun anew in the place of one that there is, and who can get in the way.

use fw_common::DropReason;
use fw_common::conntrack::State;
use fw_common::sctp::{ECHO_HOLD, end_flags};
use fw_testkit::packet::{Chunk, chunk};

use super::{Association, Client, GUESS, Server};
use crate::flows::{change_flow4, flows, state};
use crate::rig::Rig;

#[test]
fn an_end_that_has_restarted_begins_anew() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let old = Association::new(&rig, family);
        old.open();
        let new = Association { tags: [0x7777_0001, 0x7777_0002], ..Association::new(&rig, family) };
        assert_eq!(new.init(Client), None);
        assert_eq!(new.init_ack(Server), None);
        assert_eq!(old.send(Server, &[chunk::DATA]), None, "until both agree, the old one goes on");
        assert_eq!(new.send(Server, &[chunk::COOKIE_ACK]), Some(DropReason::SctpTag), "no cookie has come back");
        assert_eq!(new.send(Client, &[chunk::COOKIE_ECHO]), None);
        assert_eq!(new.send(Server, &[chunk::COOKIE_ACK]), None);
        assert_eq!(new.send(Client, &[chunk::DATA]), None);
        assert_eq!(old.send(Client, &[chunk::DATA]), Some(DropReason::SctpTag));
        assert_eq!(state(&rig), State::SctpEstablished);
    }
}

/// The client has begun anew, and its COOKIE ECHO has passed.
fn echoed(rig: &Rig, family: usize) -> Association<'_> {
    let old = Association::new(rig, family);
    old.open();
    let new = Association { tags: [0x7777_0001, 0x7777_0002], ..old };
    assert_eq!(new.init(Client), None);
    assert_eq!(new.init_ack(Server), None);
    assert_eq!(new.send(Client, &[chunk::COOKIE_ECHO]), None);
    new
}

#[test]
fn a_strangers_init_breaks_no_restart_whose_cookie_is_under_way() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let new = echoed(&rig, family);
        for stranger in 0..3 {
            let forged = Association { tags: [GUESS + stranger, 3], ..Association::new(&rig, family) };
            assert_eq!(forged.init(Client), None);
            assert_eq!(forged.init_ack(Server), Some(DropReason::SctpTag));
        }
        assert_eq!(new.send(Client, &[chunk::COOKIE_ECHO]), None, "repeated, because no answer has come");
        assert_eq!(new.send(Server, &[chunk::COOKIE_ACK]), None);
        assert_eq!(new.send(Client, &[chunk::DATA]), None);
        assert_eq!(new.send(Server, &[chunk::DATA]), None);
    }
}

#[test]
fn an_end_that_crashes_in_a_restart_begins_anew_some_seconds_later() {
    let Some(rig) = Rig::new() else { return };
    let given_up = echoed(&rig, 0);
    let next = Association { tags: [0x7777_0003, 0x7777_0004], ..Association::new(&rig, 0) };
    assert_eq!(next.init(Client), None);
    assert_eq!(next.init_ack(Server), Some(DropReason::SctpTag), "the other attempt is waited for");
    // As if its COOKIE ECHO had passed that long ago.
    change_flow4(&rig, |flow| {
        let flags = &mut flow.directions[Server as usize].memory[1];
        *flags = flags.wrapping_sub(ECHO_HOLD << end_flags::SECOND_SHIFT);
    });
    assert_eq!(next.init(Client), None);
    assert_eq!(next.init_ack(Server), None);
    assert_eq!(next.send(Client, &[chunk::COOKIE_ECHO]), None);
    assert_eq!(given_up.send(Server, &[chunk::COOKIE_ACK]), Some(DropReason::SctpTag));
    assert_eq!(next.send(Server, &[chunk::COOKIE_ACK]), None);
    assert_eq!(next.send(Client, &[chunk::DATA]), None);
}

#[test]
fn a_restart_that_was_refused_makes_way_for_the_next() {
    for stale in [false, true] {
        let Some(rig) = Rig::new() else { return };
        let refused = echoed(&rig, 0);
        let why = if stale { Chunk::error(3) } else { Chunk::new(chunk::ABORT) };
        assert_eq!(refused.forge(Server, refused.tags[Client as usize], &[why]), None);
        assert_eq!(state(&rig), State::SctpEstablished, "the old one goes on");
        let next = Association { tags: [refused.tags[0], 0x7777_0004], ..refused };
        assert_eq!(next.init(Client), None);
        assert_eq!(next.init_ack(Server), None);
        assert_eq!(next.send(Client, &[chunk::COOKIE_ECHO]), None);
        assert_eq!(next.send(Server, &[chunk::COOKIE_ACK]), None);
        assert_eq!(next.send(Client, &[chunk::DATA]), None);
    }
}

#[test]
fn one_init_of_a_stranger_breaks_no_attempt_that_was_answered() {
    for family in 0..2 {
        for restarts in [false, true] {
            let Some(rig) = Rig::new() else { return };
            let stranger = |tag| Association { tags: [tag, tag + 1], ..Association::new(&rig, family) };
            let mut honest = Association::new(&rig, family);
            if restarts {
                honest.open();
                honest.tags = [0x7777_0001, 0x7777_0002];
            } else {
                // Who came first has the first place.
                assert_eq!(stranger(GUESS).init(Client), None);
                assert_eq!(stranger(GUESS).init_ack(Server), None);
            }
            assert_eq!(honest.init(Client), None);
            assert_eq!(honest.init_ack(Server), None);
            assert_eq!(stranger(GUESS + 2).init(Client), None);
            assert_eq!(stranger(GUESS + 2).init_ack(Server), Some(DropReason::SctpTag));
            assert_eq!(honest.send(Client, &[chunk::COOKIE_ECHO]), None);
            assert_eq!(honest.send(Server, &[chunk::COOKIE_ACK]), None);
            assert_eq!(honest.send(Client, &[chunk::DATA]), None);
            // The place is nobody's for good: who begins anew repeats its INIT, and gets it.
            let mut next = stranger(0x7777_0005);
            for attempt in [GUESS, next.tags[0]] {
                next.tags[0] = attempt;
                assert_eq!(next.init(Client), None);
                assert_eq!(next.init(Client), None);
                assert_eq!(next.init_ack(Server), None);
            }
            assert_eq!(next.send(Client, &[chunk::COOKIE_ECHO]), None);
            assert_eq!(next.send(Server, &[chunk::COOKIE_ACK]), None);
        }
    }
}

#[test]
fn answers_to_a_stranger_keep_no_handshake_waiting() {
    let Some(rig) = Rig::new() else { return };
    let association = Association::new(&rig, 0);
    assert_eq!(association.init(Client), None);
    assert_eq!(association.init_ack(Server), None);
    assert_eq!(association.send(Client, &[chunk::COOKIE_ECHO]), None);
    let seen = change_flow4(&rig, |flow| flow.last_seen -= 1).last_seen;
    let forged = Association { tags: [GUESS, GUESS + 1], ..Association::new(&rig, 0) };
    assert_eq!(forged.init(Client), None);
    assert_eq!(forged.init_ack(Server), None);
    assert_eq!(flows(&rig)[0].flow.last_seen, seen, "it times out as if nobody had sent this");
    assert_eq!(association.send(Server, &[chunk::COOKIE_ACK]), None);
}
