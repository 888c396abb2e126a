//! Associations whose beginning was not seen: second paths, and what is picked up.

use fw_agent::dataplane::{Dataplane as _, PickUp, Settings};
use fw_common::DropReason;
use fw_common::conntrack::State;
use fw_testkit::packet::{Chunk, chunk};

use super::{Association, Client, GUESS, Server};
use crate::flows::{flows, state};
use crate::rig::{Rig, settings};

#[test]
fn a_heartbeat_opens_another_path() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let path = Association::new(&rig, family);
        assert_eq!(path.send(Server, &[chunk::HEARTBEAT]), Some(DropReason::Policy));
        assert_eq!(path.send(Client, &[chunk::HEARTBEAT]), None);
        assert_eq!(state(&rig), State::SctpHeartbeatSent);
        assert_eq!(path.send(Server, &[chunk::HEARTBEAT_ACK]), None);
        assert_eq!(state(&rig), State::SctpEstablished);
        assert_eq!(path.send(Server, &[chunk::DATA]), None);
        assert_eq!(path.forge(Client, GUESS, &[Chunk::new(chunk::DATA)]), Some(DropReason::SctpTag));
        // The association was begun anew on its first path: the tags are others on this one, too.
        let anew = Association { tags: [5, 6], ..Association::new(&rig, family) };
        assert_eq!(anew.send(Client, &[chunk::DATA]), Some(DropReason::SctpTag));
        assert_eq!(anew.send(Client, &[chunk::HEARTBEAT]), None);
        assert_eq!(anew.send(Server, &[chunk::HEARTBEAT_ACK]), None);
        assert_eq!(anew.send(Client, &[chunk::DATA]), None);
    }
}

#[test]
fn an_association_is_picked_up_from_either_end_if_its_originator_may_open_it() {
    for family in 0..2 {
        for (first, second) in [(Client, Server), (Server, Client)] {
            let Some(rig) = Rig::new() else { return };
            let association = Association::new(&rig, family);
            assert_eq!(association.send(first, &[chunk::DATA]), Some(DropReason::SctpNotInit), "not by default");
            rig.dataplane.set_settings(&Settings { pick_up: PickUp::Always, ..settings() }).unwrap();
            assert_eq!(association.send(first, &[chunk::ABORT]), Some(DropReason::SctpNotInit));
            assert_eq!(association.send(first, &[chunk::DATA]), None);
            assert_eq!(state(&rig), State::SctpHeartbeatSent);
            assert_eq!(association.send(second, &[chunk::SACK]), None);
            assert_eq!(state(&rig), State::SctpEstablished);
            for from in [first, second] {
                assert_eq!(association.forge(from, GUESS, &[Chunk::new(chunk::DATA)]), Some(DropReason::SctpTag));
                assert_eq!(association.send(from, &[chunk::DATA]), None);
            }
            let packets = flows(&rig)[0].flow.directions.map(|direction| direction.packets);
            assert_eq!(packets, [2, 2], "the client is the originator");
        }
    }
}
