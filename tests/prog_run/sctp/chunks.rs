//! Chains of chunks, whole and in fragments.

use fw_common::DropReason;
use fw_common::conntrack::State;
use fw_testkit::packet::{Chunk, Packet, Transport, chunk, sctp_packet};

use super::{Association, Client, GUESS, PORT, Server};
use crate::flows::{flows, pairs, state};
use crate::rig::{IT, MACS, NEIGHBOUR, OT, Rig};

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

#[test]
fn a_first_fragment_hides_no_chunk_that_matters() {
    for family in 0..2 {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, family);
        let long = |kind: u8| Chunk { value: vec![1; 600], ..Chunk::new(kind) };
        // The first 64 bytes, the common header included.
        let first = |id, tag: u32, chunks: &[Chunk]| {
            let packet = association.packet(Client, tag, chunks).macs(NEIGHBOUR, MACS[OT]);
            rig.receive(OT, &packet.fragment(id, 0..64, true)).reason()
        };
        let hidden = Some(DropReason::SctpChunks);
        // Behind a HEARTBEAT of 52 bytes anything could follow, and be the first packet of its flow.
        let heartbeat = Chunk { value: vec![1; 48], ..Chunk::new(chunk::HEARTBEAT) };
        assert_eq!(first(1, association.tags[1], &[heartbeat.clone(), Chunk::new(chunk::DATA)]), hidden);
        assert!(flows(&rig).is_empty());
        // An INIT that goes on stands alone, but one that ends with the fragment is followed by something.
        let mut init = Chunk::announcing(chunk::INIT, association.tags[0]);
        init.value.resize(48, 0);
        assert_eq!(first(2, 0, &[init.clone(), Chunk::new(chunk::DATA)]), hidden);
        init.value.resize(600, 0);
        assert_eq!(first(3, 0, &[init]), None);
        let mut answer = Chunk::announcing(chunk::INIT_ACK, association.tags[1]);
        answer.value.resize(600, 0);
        let packet = association.packet(Server, association.tags[0], &[answer]).macs(NEIGHBOUR, MACS[IT]);
        assert_eq!(rig.receive(IT, &packet.fragment(4, 0..64, true)).reason(), None);
        assert_eq!(first(5, association.tags[1], &[long(chunk::COOKIE_ECHO)]), None);
        assert_eq!(association.send(Server, &[chunk::COOKIE_ACK]), None);
        assert_eq!(state(&rig), State::SctpEstablished);
        // Behind data there is only data.
        let data = |len| Chunk { value: vec![1; len], ..Chunk::new(chunk::DATA) };
        assert_eq!(first(6, association.tags[1], &[Chunk::new(chunk::SACK), long(chunk::DATA)]), None);
        assert_eq!(first(7, association.tags[1], &[data(48), data(48)]), None);
        for kind in [chunk::SACK, chunk::HEARTBEAT, chunk::SHUTDOWN, chunk::ABORT, chunk::ERROR, chunk::COOKIE_ACK] {
            assert_eq!(first(8 + u32::from(kind), association.tags[1], &[long(kind)]), hidden, "chunk {kind}");
        }
        assert_eq!(state(&rig), State::SctpEstablished);
    }
}
