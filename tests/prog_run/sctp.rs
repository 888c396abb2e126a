//! SCTP associations: what opens them, their states, and how they end.

mod chunks;
mod paths;
mod restarts;
mod strangers;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::conntrack::State;
use fw_testkit::packet::{Chunk, Packet, chunk, sctp_packet};
use rustix::net::{AddressFamily, SendFlags, SocketType};

use super::flows::{flows, pairs, state, wait};
use super::rig::{IT, OT, Outcome, POLICY, Rig, settings};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}
use End::{Client, Server};

/// An association whose ends know their tags.
struct Association<'r> {
    rig: &'r Rig,
    ends: [(IpAddr, u16); 2],
    /// The verification tags of the client and of the server.
    tags: [u32; 2],
}

const PORT: u16 = 2905;
/// A tag that nobody has.
const GUESS: u32 = 0x0bad_cafe;

impl<'r> Association<'r> {
    fn new(rig: &'r Rig, family: usize) -> Self {
        let (client, server) = pairs()[family];
        Self { rig, ends: [(client, 4000), (server, PORT)], tags: [0x1111_1111, 0x2222_2222] }
    }

    fn packet(&self, from: End, tag: u32, chunks: &[Chunk]) -> Packet {
        Packet::sctp(self.ends[from as usize], self.ends[1 - from as usize], tag, chunks)
    }

    fn deliver(&self, from: End, packet: Packet) -> Option<DropReason> {
        let outcome = self.rig.send(if from == Client { OT } else { IT }, packet);
        if outcome.reason().is_none() {
            assert!(matches!(outcome, Outcome::Redirected(_)), "{outcome:?}");
        }
        outcome.reason()
    }

    /// Sends chunks under a tag of one's own choice.
    fn forge(&self, from: End, tag: u32, chunks: &[Chunk]) -> Option<DropReason> {
        self.deliver(from, self.packet(from, tag, chunks))
    }

    /// Sends chunks as this end would.
    fn send(&self, from: End, kinds: &[u8]) -> Option<DropReason> {
        let chunks: Vec<Chunk> = kinds.iter().map(|kind| Chunk::new(*kind)).collect();
        self.forge(from, self.tags[1 - from as usize], &chunks)
    }

    fn init(&self, from: End) -> Option<DropReason> {
        self.forge(from, 0, &[Chunk::announcing(chunk::INIT, self.tags[from as usize])])
    }

    fn init_ack(&self, from: End) -> Option<DropReason> {
        let answer = Chunk::announcing(chunk::INIT_ACK, self.tags[from as usize]);
        self.forge(from, self.tags[1 - from as usize], &[answer])
    }

    /// The four steps of the handshake.
    fn open(&self) {
        assert_eq!(self.init(Client), None);
        assert_eq!(self.init_ack(Server), None);
        assert_eq!(self.send(Client, &[chunk::COOKIE_ECHO, chunk::DATA]), None);
        assert_eq!(self.send(Server, &[chunk::COOKIE_ACK, chunk::SACK]), None);
        assert_eq!(state(self.rig), State::SctpEstablished);
    }
}

#[test]
fn sctp_goes_through_its_states() {
    for family in 0..2 {
        for first in [Client, Server] {
            let Some(rig) = Rig::new() else { return };
            let association = Association::new(&rig, family);
            let (second, asked) = match first {
                Client => (Server, State::SctpShutdownSent),
                Server => (Client, State::SctpShutdownReceived),
            };
            assert_eq!(association.init(Client), None);
            assert_eq!(state(&rig), State::SctpCookieWait);
            assert_eq!(association.send(Server, &[chunk::DATA]), Some(DropReason::SctpState));
            assert_eq!(association.init_ack(Server), None);
            assert_eq!(state(&rig), State::SctpCookieWait);
            assert_eq!(association.send(Client, &[chunk::COOKIE_ECHO]), None);
            assert_eq!(state(&rig), State::SctpCookieEchoed);
            assert_eq!(association.send(Server, &[chunk::COOKIE_ACK]), None);
            assert_eq!(state(&rig), State::SctpEstablished);
            assert_eq!(association.send(Server, &[chunk::SACK, chunk::DATA, chunk::DATA]), None);
            assert_eq!(association.send(first, &[chunk::SACK, chunk::SHUTDOWN]), None);
            assert_eq!(state(&rig), asked);
            assert_eq!(association.send(second, &[chunk::SHUTDOWN_ACK]), None);
            assert_eq!(state(&rig), State::SctpShutdownAckSent);
            assert_eq!(association.send(first, &[chunk::SHUTDOWN_COMPLETE]), None);
            assert_eq!(state(&rig), State::SctpClosed);
            let again = Association { tags: [3, 4], ..association };
            again.open();
            let mut reasons = Vec::new();
            rig.dataplane.poll_ended(&mut |end| reasons.push(EndReason::from_number(end.reason).unwrap())).unwrap();
            assert_eq!(reasons, [EndReason::Closed], "the tuple was used again");
        }
    }
}

#[test]
fn only_an_init_or_a_heartbeat_opens_an_association() {
    let Some(rig) = Rig::new() else { return };
    let association = Association::new(&rig, 0);
    for kind in (chunk::DATA..=chunk::SHUTDOWN_COMPLETE).filter(|kind| ![chunk::INIT, chunk::HEARTBEAT].contains(kind))
    {
        let refused = [Some(DropReason::SctpNotInit), Some(DropReason::SctpChunks)];
        assert!(refused.contains(&association.send(Client, &[kind])), "chunk {kind}");
    }
    assert_eq!(association.send(Client, &[chunk::HEARTBEAT, chunk::DATA]), Some(DropReason::SctpNotInit));
    assert_eq!(
        association.forge(Client, GUESS, &[Chunk::new(chunk::INIT)]),
        Some(DropReason::SctpTag),
        "an INIT has no verification tag"
    );
    assert!(flows(&rig).is_empty());
    assert_eq!(association.init(Server), Some(DropReason::Policy), "the policy allows the other direction");
    assert_eq!(association.init(Client), None);
}

#[test]
fn an_abort_closes_if_its_tag_is_right() {
    for reflects in [false, true] {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, 0);
        association.open();
        let (tag, abort) = if reflects {
            (association.tags[Server as usize], Chunk::reflecting(chunk::ABORT))
        } else {
            (association.tags[Client as usize], Chunk::new(chunk::ABORT))
        };
        assert_eq!(association.forge(Server, tag, &[abort]), None);
        assert_eq!(state(&rig), State::Closed);
        assert_eq!(association.send(Client, &[chunk::DATA]), None, "who has not heard of it is told again");
        association.open();
        let mut reasons = Vec::new();
        rig.dataplane.poll_ended(&mut |end| reasons.push(EndReason::from_number(end.reason).unwrap())).unwrap();
        assert_eq!(reasons, [EndReason::Reset]);
    }
}

#[test]
fn a_stale_cookie_ends_the_attempt() {
    let Some(rig) = Rig::new() else { return };
    let association = Association::new(&rig, 0);
    assert_eq!(association.init(Client), None);
    assert_eq!(association.init_ack(Server), None);
    assert_eq!(association.send(Client, &[chunk::COOKIE_ECHO]), None);
    let tag = association.tags[Client as usize];
    assert_eq!(association.forge(Server, tag, &[Chunk::error(1)]), None);
    assert_eq!(state(&rig), State::SctpCookieEchoed);
    assert_eq!(association.forge(Server, tag, &[Chunk::error(3)]), None);
    assert_eq!(state(&rig), State::Closed);
    association.open();
}

#[test]
fn states_time_out_by_themselves_and_an_init_revives_nothing() {
    let Some(rig) = Rig::new() else { return };
    let association = Association::new(&rig, 0);
    assert_eq!(association.init(Client), None);
    let timeout_of = |state: State| settings().timeouts.seconds[state as usize];
    assert_eq!(flows(&rig)[0].timeout, timeout_of(State::SctpCookieWait));
    wait(i64::from(timeout_of(State::SctpCookieWait)) + 1);
    assert_eq!(association.init_ack(Server), Some(DropReason::SctpNotInit), "it is over");
    association.open();
    assert_eq!(flows(&rig)[0].timeout, timeout_of(State::SctpEstablished));
}

#[test]
fn a_policy_change_cuts_an_association_that_it_forbids() {
    for allows in [true, false] {
        let Some(rig) = Rig::new() else { return };
        let association = Association::new(&rig, 0);
        association.open();
        rig.apply(&if allows { format!("{POLICY}\n# again\n") } else { POLICY.replace(", \"sctp/2905\"", "") });
        let expected = if allows { None } else { Some(DropReason::PolicyChanged) };
        assert_eq!(association.send(Server, &[chunk::DATA]), expected);
        assert_eq!(association.init(Client), if allows { None } else { Some(DropReason::Policy) });
    }
}

#[test]
fn the_host_s_own_associations_are_judged_alike() {
    let Some(rig) = Rig::new() else { return };
    rig.apply(&format!(
        "{POLICY}\n[[rule]]\nid = \"own-sctp\"\nfrom = [\"local\"]\nto = [\"it\"]\nservices = [\"sctp/2905\"]\naction = \"allow\"\n"
    ));
    let (host, server) = (Ipv4Addr::new(10, 2, 1, 10), Ipv4Addr::new(10, 2, 1, 20));
    let count = |reason: DropReason| rig.dataplane.drops().unwrap()[reason as usize].packets;
    // By the host's own stack, which gives it to `fw_egress`.
    let send = |tag: u32, chunks: &[Chunk]| {
        let bytes = sctp_packet(4000, PORT, tag, chunks);
        let to = SocketAddrV4::new(server, 0);
        rig.netns
            .within(|| {
                let protocol = rustix::net::ipproto::SCTP;
                let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).unwrap();
                rustix::net::sendto(&socket, &bytes, SendFlags::empty(), &to).map(drop)
            })
            .unwrap()
    };
    let receive = |tag: u32, chunks: &[Chunk]| rig.send(IT, Packet::sctp((server, PORT), (host, 4000), tag, chunks));
    // For two minutes after the start, anything else would be picked up.
    let _ = send(9, &[Chunk::new(chunk::ABORT)]);
    assert_eq!(count(DropReason::SctpNotInit), 1);
    assert_eq!(receive(0, &[Chunk::announcing(chunk::INIT, 2)]).reason(), Some(DropReason::Policy));
    assert_eq!(send(0, &[Chunk::announcing(chunk::INIT, 1)]), Ok(()));
    assert_eq!(receive(7, &[Chunk::announcing(chunk::INIT_ACK, 2)]).reason(), Some(DropReason::SctpTag));
    assert_eq!(receive(1, &[Chunk::announcing(chunk::INIT_ACK, 2)]), Outcome::Passed);
    assert_eq!(send(2, &[Chunk::new(chunk::COOKIE_ECHO), Chunk::new(chunk::DATA)]), Ok(()));
    assert_eq!(receive(1, &[Chunk::new(chunk::COOKIE_ACK)]), Outcome::Passed);
    assert_eq!(state(&rig), State::SctpEstablished);
    let _ = send(7, &[Chunk::new(chunk::DATA)]);
    assert_eq!(count(DropReason::SctpTag), 2);
    let _ = send(2, &[Chunk::new(chunk::DATA), Chunk::new(chunk::COOKIE_ACK)]);
    assert_eq!(count(DropReason::SctpChunks), 1);
    assert_eq!(send(2, &[Chunk::new(chunk::ABORT)]), Ok(()));
    assert_eq!(state(&rig), State::Closed);
}
