//! Strangers, who see nothing of the association and know none of its tags.

use fw_common::DropReason;
use fw_common::conntrack::State;
use fw_testkit::packet::{Chunk, Packet, Transport, chunk};

use super::{Association, Client, GUESS, Server};
use crate::flows::state;
use crate::rig::Rig;

#[test]
fn a_wrong_verification_tag_is_dropped() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, family);
        association.open();
        for from in [Client, Server] {
            let own = association.tags[from as usize];
            for kind in [chunk::DATA, chunk::SACK, chunk::ABORT, chunk::SHUTDOWN, chunk::ERROR, chunk::COOKIE_ACK] {
                for tag in [GUESS, own, 0] {
                    let outcome = association.forge(from, tag, &[Chunk::new(kind)]);
                    assert_eq!(outcome, Some(DropReason::SctpTag), "chunk {kind} of the {from:?}, tag {tag:#x}");
                }
            }
            let reflecting = [Chunk::reflecting(chunk::ABORT)];
            assert_eq!(association.forge(from, GUESS, &reflecting), Some(DropReason::SctpTag));
        }
        assert_eq!(state(&rig), State::SctpEstablished);
    }
}

#[test]
fn a_strangers_init_does_not_end_an_association() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, family);
        association.open();
        // In the client's name; the server answers, and the client discards that.
        let forged = Association { tags: [GUESS, 0x3333_3333], ..Association::new(&rig, family) };
        assert_eq!(forged.init(Client), None, "its receiver may be the one that has forgotten the association");
        assert_eq!(forged.init_ack(Server), None);
        // The stranger does not see the answer.
        assert_eq!(association.forge(Client, GUESS, &[Chunk::new(chunk::COOKIE_ECHO)]), Some(DropReason::SctpTag));
        assert_eq!(association.send(Client, &[chunk::DATA]), None);
        assert_eq!(association.send(Server, &[chunk::SACK]), None);
        assert_eq!(state(&rig), State::SctpEstablished);
        // An INIT keeps no association alive, either.
        assert_eq!(forged.init(Server), Some(DropReason::SctpState), "nor does the server begin one");
    }
}

#[test]
fn a_stranger_in_the_servers_name_establishes_nothing() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, family);
        assert_eq!(association.init(Client), None);
        let forge = |chunk| association.forge(Server, GUESS, &[chunk]);
        assert_eq!(forge(Chunk::new(chunk::SHUTDOWN_ACK)), None, "the server may be closing an older association");
        assert_eq!(forge(Chunk::new(chunk::COOKIE_ECHO)), Some(DropReason::SctpTag));
        assert_eq!(forge(Chunk::new(chunk::COOKIE_ACK)), Some(DropReason::SctpTag));
        assert_eq!(association.send(Server, &[chunk::COOKIE_ECHO]), Some(DropReason::SctpState), "it has not begun");
        assert_eq!(state(&rig), State::SctpCookieWait);
        let answer = [Chunk::reflecting(chunk::SHUTDOWN_COMPLETE)];
        assert_eq!(association.forge(Client, GUESS, &answer), None);
        assert_eq!(association.init_ack(Server), None);
        assert_eq!(association.send(Client, &[chunk::COOKIE_ECHO]), None);
        assert_eq!(association.send(Server, &[chunk::COOKIE_ACK]), None);
        assert_eq!(state(&rig), State::SctpEstablished);
    }
}

#[test]
fn an_error_about_a_packet_that_was_not_sent_is_dropped() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, family);
        let [(client, _), (server, _)] = association.ends;
        let error = |tag: u32, chunks: &[Chunk], quoted_len: usize| {
            let mut quoted = association.packet(Client, tag, chunks).build_ip();
            quoted.truncate(if family == 0 { 20 } else { 40 } + quoted_len);
            let kind = if family == 0 { 3 } else { 1 };
            let unreachable = Transport::Icmp { kind, code: 1, rest: [0; 4] };
            association.deliver(Server, Packet::new(server, client, unreachable).payload(&quoted))
        };
        assert_eq!(association.init(Client), None);
        let init = |tag| [Chunk::announcing(chunk::INIT, tag)];
        assert_eq!(error(0, &init(association.tags[0]), 32), None);
        assert_eq!(error(0, &init(GUESS), 32), Some(DropReason::IcmpUnrelated));
        assert_eq!(error(0, &init(association.tags[0]), 8), Some(DropReason::IcmpUnrelated), "its tag is not quoted");
        association.open();
        assert_eq!(error(association.tags[1], &[Chunk::new(chunk::DATA)], 8), None);
        assert_eq!(error(association.tags[0], &[Chunk::new(chunk::DATA)], 8), Some(DropReason::IcmpUnrelated));
        assert_eq!(error(GUESS, &[Chunk::new(chunk::DATA)], 8), Some(DropReason::IcmpUnrelated));
    }
}
