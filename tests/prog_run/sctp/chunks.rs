//! Chains of chunks, whole and in fragments.

use fw_common::DropReason;
use fw_common::conntrack::State;
use fw_testkit::packet::{Chunk, Packet, Transport, chunk, sctp_packet};

use super::{Association, Client, GUESS, PORT, Server};
use crate::flows::{pairs, state};
use crate::rig::{MACS, NEIGHBOUR, OT, Rig};

#[test]
fn malformed_chains_of_chunks_are_dropped() {
    let Some(rig) = Rig::new() else { return };
    let association = Association::new(&rig, 0);
    association.open();
    let malformed = Some(DropReason::SctpChunks);
    assert_eq!(association.send(Client, &[]), malformed);
    for (first, second) in [(chunk::DATA, chunk::INIT), (chunk::INIT, chunk::DATA), (chunk::DATA, chunk::COOKIE_ECHO)] {
        assert_eq!(association.send(Client, &[first, second]), malformed, "{first} and {second}");
    }
    assert_eq!(association.send(Server, &[chunk::SHUTDOWN_COMPLETE, chunk::SACK]), malformed);
    assert_eq!(association.forge(Client, 0, &[Chunk::announcing(chunk::INIT, 0)]), malformed);
    // Lengths of zero, below the least, and beyond the packet; the second chunk, too.
    for (position, len) in [(14, 0u16), (14, 16), (14, 21), (34, 3), (34, 200)] {
        let mut bytes =
            sctp_packet(4000, PORT, association.tags[1], &[Chunk::new(chunk::DATA), Chunk::new(chunk::DATA)]);
        bytes[position..position + 2].copy_from_slice(&len.to_be_bytes());
        let (client, server) = pairs()[0];
        let packet = Packet::new(client, server, Transport::Other(132)).payload(&bytes);
        assert_eq!(association.deliver(Client, packet), malformed, "length {len} at {position}");
    }
    // As many as a packet has room for.
    assert_eq!(association.send(Client, &[chunk::DATA; 60]), None);
    assert_eq!(association.send(Client, &[chunk::COOKIE_ACK, chunk::COOKIE_ACK]), malformed);
    assert_eq!(state(&rig), State::SctpEstablished);
}

#[test]
fn a_packet_in_fragments_is_judged_by_its_first_one() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, family);
        association.open();
        let data = Chunk { value: vec![1; 3000], ..Chunk::new(chunk::DATA) };
        for (id, tag, reason) in [(1, GUESS, Some(DropReason::SctpTag)), (2, association.tags[1], None)] {
            let packet = association.packet(Client, tag, &[Chunk::new(chunk::SACK), data.clone()]);
            let parts = packet.macs(NEIGHBOUR, MACS[OT]).fragments(id, 1200);
            assert_eq!(rig.receive(OT, &parts[0]).reason(), reason);
            let rest = reason.map(|_| DropReason::FragmentOfDropped);
            assert_eq!(rig.receive(OT, &parts[1]).reason(), rest);
        }
        // Without the first chunk's header, and the tag of an INIT, nothing can be judged.
        let packet = association.packet(Client, association.tags[1], &[data]).macs(NEIGHBOUR, MACS[OT]);
        assert_eq!(rig.receive(OT, &packet.fragment(3, 0..16, true)).reason(), Some(DropReason::FragmentTiny));
    }
}
