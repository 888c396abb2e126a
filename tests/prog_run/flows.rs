//! Flows: who opens one, what passes because of it, and when it ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::{Array, Map, MapData};
use fw_agent::dataplane::{Dataplane as _, FlowRecord, Settings};
use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::abi::flow::{DYING, Flow, Slot4};
use fw_common::conntrack::{State, Timeouts};
use fw_testkit::packet::{Packet, Transport, tcp_flags};

use crate::rig::{EXPOSED, IT, MANAGEMENT, OT, Outcome, POLICY, Rig, Setup, attachment, compile_for, settings};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
const OT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x101, 0, 0, 0, 0x50);
const IT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20);

pub(crate) fn pairs() -> [(IpAddr, IpAddr); 2] {
    [(OT_HOST.into(), IT_HOST.into()), (OT_HOST6.into(), IT_HOST6.into())]
}

pub(crate) fn flows(rig: &Rig) -> Vec<FlowRecord> {
    let mut flows = Vec::new();
    rig.dataplane
        .visit_flows(&mut |flow| {
            flows.push(flow);
            true
        })
        .unwrap();
    flows
}

pub(crate) fn state(rig: &Rig) -> State {
    let flows = flows(rig);
    assert_eq!(flows.len(), 1);
    State::from_number(flows[0].flow.state)
}

/// The slots of IPv4 flows that are taken, and the table.
fn flows4(rig: &Rig) -> (Vec<Slot4>, Array<MapData, Slot4>) {
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/FLOWS4", fw_common::ABI_VERSION))).unwrap();
    let slots: Array<MapData, Slot4> = Array::try_from(Map::Array(data)).unwrap();
    (slots.iter().map(Result::unwrap).filter(|slot| slot.flow.last_seen != 0).collect(), slots)
}

/// Changes the only IPv4 flow.
pub(super) fn change_flow4(rig: &Rig, change: impl FnOnce(&mut Flow)) -> Flow {
    let (taken, mut table) = flows4(rig);
    let [mut slot] = taken[..] else { panic!("{} flows", taken.len()) };
    let number = (0..table.len()).find(|number| table.get(number, 0).unwrap() == slot).unwrap();
    change(&mut slot.flow);
    table.set(number, slot, 0).unwrap();
    slot.flow
}

#[test]
fn a_flow_of_an_address_that_becomes_ours_ends() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        let forth = || Packet::udp(ot, 4001, it, 53);
        assert!(matches!(rig.send(OT, forth()), Outcome::Redirected(_)));
        rig.dataplane.set_local_addresses(&[ot], &[]).unwrap();
        assert_eq!(rig.send(OT, forth()).reason(), Some(DropReason::SourceOwn));
        rig.dataplane.set_local_addresses(&[], &[]).unwrap();
        let back = Packet::udp(it, 53, ot, 4001);
        assert_eq!(rig.send(IT, back).reason(), Some(DropReason::Policy), "there is no flow");
        assert!(matches!(rig.send(OT, forth()), Outcome::Redirected(_)));
    }
}

/// Time-outs of this many seconds for everything.
pub(crate) fn short_timeouts(rig: &Rig, seconds: u32) {
    rig.dataplane.set_settings(&Settings { timeouts: Timeouts { seconds: [seconds; 20] }, ..settings() }).unwrap();
}

/// Waits until the coarse clock of the kernel has advanced by `seconds`. Time is what is awaited, and nothing tells of its passing.
pub(crate) fn wait(seconds: i64) {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse).tv_sec;
    let start = now();
    while now() - start < seconds {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn only_the_reply_passes() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, 4000)).reason(), Some(DropReason::Policy), "before");
        assert!(matches!(rig.send(OT, Packet::udp(ot, 4000, it, 53)), Outcome::Redirected(_)));
        assert!(matches!(rig.send(IT, Packet::udp(it, 53, ot, 4000)), Outcome::Redirected(_)), "the reply");
        assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, 4001)).reason(), Some(DropReason::Policy), "another port");
        assert_eq!(rig.send(IT, Packet::udp(it, 54, ot, 4000)).reason(), Some(DropReason::Policy), "another service");
    }
}

#[test]
fn a_few_at_a_time_all_flows_are_told_once() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        for port in 4_000..4_010 {
            assert!(matches!(rig.send(OT, Packet::udp(ot, port, it, 53)), Outcome::Redirected(_)));
        }
    }
    let keys = |records: &[FlowRecord]| records.iter().map(|record| (record.family, record.key)).collect::<Vec<_>>();
    let all = keys(&flows(&rig));
    assert_eq!(all.len(), 20);
    for most in [1, 3, 20, 64] {
        let (mut told, mut place) = (Vec::new(), Some(0));
        while let Some(from) = place {
            let (records, next) = rig.dataplane.flows_behind(from, most).unwrap();
            assert!(records.len() <= most && (next.is_none() || records.len() == most));
            told.extend(keys(&records));
            place = next;
        }
        assert_eq!(told, all, "{most} at a time");
    }
}

#[test]
fn counters_of_a_flow_count_each_direction() {
    let Some(rig) = Rig::new() else { return };
    for _ in 0..3 {
        rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53).payload(&[0; 10]));
    }
    rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, 4000).payload(&[0; 100]));
    let flow = flows(&rig)[0].flow;
    assert_eq!((flow.directions[0].packets, flow.directions[0].bytes), (3, 3 * 38));
    assert_eq!((flow.directions[1].packets, flow.directions[1].bytes), (1, 128));
    assert_eq!(State::from_number(flow.state), State::UdpReplied);
    let web = rig.dataplane.rule_names().unwrap().into_iter().find(|(_, id)| id == "web").unwrap().0;
    let rules = rig.dataplane.rules().unwrap();
    let (_, counter) = rules.iter().find(|(handle, _)| *handle == web).unwrap();
    assert_eq!((counter.packets, counter.bytes, counter.flows), (4, 3 * 38 + 128, 1));
}

#[test]
fn each_side_pings_for_itself() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        let reply_type = if ot.is_ipv4() { 0 } else { 129 };
        let reply = |src, dst| Packet::new(src, dst, Transport::Icmp { kind: reply_type, code: 0, rest: [0, 5, 0, 1] });
        assert_eq!(rig.send(IT, reply(it, ot)).reason(), Some(DropReason::IcmpUnrelated));
        assert_eq!(rig.send(OT, Packet::echo_request(ot, it, 5, 1)).reason(), None);
        assert_eq!(rig.send(IT, reply(it, ot)).reason(), None);
        // The same identifier from the other side is a request of its own, which nothing allows.
        assert_eq!(rig.send(IT, Packet::echo_request(it, ot, 5, 1)).reason(), Some(DropReason::Policy));
        // With this identifier both sides' requests have one key: the other side's is no reply.
        let request_type = if ot.is_ipv4() { 8 } else { 128 };
        assert_eq!(rig.send(OT, Packet::echo_request(ot, it, request_type, 1)).reason(), None);
        let request = rig.send(IT, Packet::echo_request(it, ot, request_type, 1));
        assert_eq!(request.reason(), Some(DropReason::IcmpUnrelated));
    }
}

#[test]
fn icmp_errors_follow_their_flow() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        let ipv4 = ot.is_ipv4();
        // From a router whose address is in no zone.
        let router: IpAddr = if ipv4 { Ipv4Addr::new(172, 31, 0, 1).into() } else { "2a00:1::1".parse().unwrap() };
        let kind = if ipv4 { 3 } else { 1 };
        let quoted = Packet::udp(ot, 4000, it, 53).payload(&[1; 64]).build_ip();
        let error = Packet::new(router, ot, Transport::Icmp { kind, code: 3, rest: [0; 4] }).payload(&quoted);
        assert_eq!(rig.send(IT, error.clone()).reason(), Some(DropReason::IcmpUnrelated), "without a flow");
        rig.send(OT, Packet::udp(ot, 4000, it, 53));
        let before = flows(&rig);
        let frame = rig.send(IT, error.clone()).frame();
        assert_eq!(frame.src_addr, router);
        assert_eq!(frame.ttl, 63);
        assert!(frame.checksums_are_valid);
        let after = flows(&rig);
        assert_eq!(before.len(), after.len(), "no flow is opened");
        assert_eq!(before[0].flow.directions[1].packets, after[0].flow.directions[1].packets);
        assert_eq!(
            rig.send(OT, error).reason(),
            Some(DropReason::IcmpUnrelated),
            "from where the flow's packets do not go"
        );
        let elsewhere: IpAddr =
            if ipv4 { Ipv4Addr::new(10, 1, 1, 51).into() } else { "fd00:0:0:101::51".parse().unwrap() };
        let misdirected =
            Packet::new(router, elsewhere, Transport::Icmp { kind, code: 3, rest: [0; 4] }).payload(&quoted);
        assert_eq!(rig.send(IT, misdirected).reason(), Some(DropReason::IcmpUnrelated), "to another than it quotes");
    }
}

#[test]
fn flows_outlive_a_new_order_of_the_interfaces() {
    let Some(rig) = Rig::new() else { return };
    rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    // As a restarted agent does that finds the entries of agent.toml in another order.
    let order = [IT, EXPOSED, OT];
    let slots = |place: usize| order.iter().position(|other| *other == place).unwrap_or(MANAGEMENT);
    let wanted: Vec<(u32, u32)> =
        (0..4).map(|place| (rig.ifindexes[place], u32::try_from(slots(place)).unwrap())).collect();
    rig.dataplane.keep_slots(&wanted).unwrap();
    let before = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    assert_eq!(before.reason(), Some(DropReason::UnknownInterface), "nothing is judged under a slot of the old order");
    rig.dataplane.apply_policy(&compile_for(POLICY, order)).unwrap();
    rig.netns
        .within(|| {
            for place in 0..4 {
                rig.dataplane.attach(&attachment(place, rig.ifindexes[place], slots(place))).unwrap();
            }
        })
        .unwrap();
    assert_eq!(rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, 4000)).reason(), None, "the reply");
    assert_eq!(rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53)).reason(), None);
    assert_eq!(rig.send(IT, Packet::udp(OT_HOST, 4001, IT_HOST, 53)).reason(), Some(DropReason::Spoofed));
    assert_eq!(flows(&rig).len(), 1);
}

#[test]
fn redirects_are_not_passed_on() {
    let Some(rig) = Rig::new() else { return };
    rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    let quoted = Packet::udp(OT_HOST, 4000, IT_HOST, 53).build_ip();
    for kind in [4, 5] {
        let message = Transport::Icmp { kind, code: 0, rest: [10, 1, 1, 66] };
        let outcome = rig.send(IT, Packet::new(Ipv4Addr::new(10, 1, 1, 1), OT_HOST, message).payload(&quoted));
        assert_eq!(outcome.reason(), Some(DropReason::IcmpForbidden), "type {kind}");
    }
}

#[test]
fn a_third_party_cannot_report_an_error() {
    let Some(rig) = Rig::new() else { return };
    rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    // About the responder's packets, before it has sent any, from an interface that is no party to the flow.
    let quoted = Packet::udp(IT_HOST, 53, OT_HOST, 4000).build_ip();
    let error = Packet::new(Ipv4Addr::new(192, 168, 1, 1), IT_HOST, Transport::Icmp { kind: 3, code: 3, rest: [0; 4] });
    assert_eq!(rig.send(EXPOSED, error.payload(&quoted)).reason(), Some(DropReason::IcmpUnrelated));
    // About a packet whose next hop is not known yet, and about one to the firewall itself.
    for dst in [Ipv4Addr::new(10, 2, 1, 99), Ipv4Addr::new(10, 1, 1, 10)] {
        assert_eq!(rig.send(OT, Packet::echo_request(OT_HOST, dst, 7, 1)).reason(), None);
        let quoted = Packet::echo_request(OT_HOST, dst, 7, 1).build_ip();
        for (slot, src) in [(MANAGEMENT, Ipv4Addr::new(10, 3, 1, 50)), (EXPOSED, Ipv4Addr::new(10, 0, 1, 50))] {
            let error = Packet::new(src, OT_HOST, Transport::Icmp { kind: 3, code: 1, rest: [0; 4] });
            let outcome = rig.send(slot, error.payload(&quoted));
            assert_eq!(outcome.reason(), Some(DropReason::IcmpUnrelated), "{dst} from {src}");
        }
    }
}

#[test]
fn no_reply_leaves_into_another_zone() {
    let Some(rig) = Rig::new() else { return };
    let client = Ipv4Addr::new(10, 1, 7, 7);
    rig.ip("neighbour add 10.1.1.1 lladdr 02:00:00:00:01:01 dev ot");
    rig.ip("route add 10.1.7.0/24 via 10.1.1.1");
    // Everything that is in no other zone belongs to the exposed interface.
    rig.apply(&POLICY.replace("networks = [\"192.168.0.0/16\", \"fd00:0:0:a00::/56\"]", ""));
    assert!(matches!(rig.send(OT, Packet::udp(client, 4000, IT_HOST, 53)), Outcome::Redirected(_)));
    assert!(matches!(rig.send(IT, Packet::udp(IT_HOST, 53, client, 4000)), Outcome::Redirected(_)));
    // The way back to the client moves to an interface behind which the client is in no zone of the flow.
    rig.ip("route replace 10.1.7.0/24 via 10.0.1.1");
    rig.dataplane.invalidate_next_hops().unwrap();
    for reply in 0..3 {
        let outcome = rig.send(IT, Packet::udp(IT_HOST, 53, client, 4000));
        assert_eq!(outcome.reason(), Some(DropReason::DestinationZone), "reply {reply}");
    }
}

#[test]
fn flows_age_without_the_agent() {
    let Some(rig) = Rig::with(Setup { max_flows: 64, ..Setup::default() }) else { return };
    short_timeouts(&rig, 1);
    // Far more flows than the table holds, but for the slot of the host's; nobody sweeps but the program itself.
    for round in 0..4u16 {
        for port in 0..63 {
            let outcome = rig.send(OT, Packet::udp(OT_HOST, 5000 + 100 * round + port, IT_HOST, 53));
            assert_eq!(outcome.reason(), None, "round {round}, flow {port}");
        }
        // Time-out and grace period.
        wait(5);
    }
    let happenings = rig.dataplane.happenings().unwrap();
    assert_eq!(happenings.opened, 4 * 63);
    assert_eq!(happenings.table_full, 0);
}

#[test]
fn a_reply_after_the_time_out_is_not_let_in() {
    let Some(rig) = Rig::new() else { return };
    short_timeouts(&rig, 1);
    rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    wait(3);
    assert_eq!(rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, 4000)).reason(), Some(DropReason::Policy));
    // The originator opens it anew.
    assert_eq!(rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53)).reason(), None);
    assert_eq!(rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, 4000)).reason(), None);
}

#[test]
fn the_sweep_removes_the_dead_and_reports_them_once() {
    let Some(rig) = Rig::new() else { return };
    short_timeouts(&rig, 1);
    for (ot, it) in pairs() {
        rig.send(OT, Packet::udp(ot, 4000, it, 53).payload(&[0; 10]));
    }
    assert_eq!(rig.dataplane.sweep().unwrap(), 0, "they are alive");
    wait(5);
    assert_eq!(rig.dataplane.sweep().unwrap(), 2);
    assert!(flows(&rig).is_empty());
    let mut ended = Vec::new();
    rig.dataplane.poll_ended(&mut |end| ended.push(*end)).unwrap();
    assert_eq!(ended.len(), 2);
    for end in &ended {
        assert_eq!(EndReason::from_number(end.reason), Some(EndReason::Idle));
        assert_eq!(end.flow.directions[0].packets, 1);
        assert_eq!(end.flow.directions[0].bytes, if end.family == 4 { 38 } else { 58 });
    }
    rig.dataplane.poll_ended(&mut |_| panic!("reported twice")).unwrap();
}

/// What is left of a flow in its slot lets nothing pass, wherever its slot is.
#[test]
fn nothing_passes_by_a_flow_that_was_removed() {
    let Some(rig) = Rig::new() else { return };
    short_timeouts(&rig, 1);
    let ports = 4000..4100;
    for (ot, it) in pairs() {
        for port in ports.clone() {
            assert_eq!(rig.send(OT, Packet::udp(ot, port, it, 53)).reason(), None);
        }
    }
    wait(5);
    rig.dataplane.sweep().unwrap();
    assert!(flows(&rig).is_empty());
    // What idled before the program looked would be over now even if it were found.
    short_timeouts(&rig, 3600);
    for (ot, it) in pairs() {
        for port in ports.clone() {
            assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, port)).reason(), Some(DropReason::Policy), "port {port}");
        }
    }
}

#[test]
fn a_flow_that_is_being_removed_is_left_alone() {
    let Some(rig) = Rig::new() else { return };
    rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    let dying = change_flow4(&rig, |flow| flow.last_seen = DYING);
    let reply = rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, 4000));
    assert_eq!(reply.reason(), Some(DropReason::Policy), "nothing is a reply to it");
    let next = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    assert_eq!(next.reason(), Some(DropReason::FlowRace), "there are no two flows of one key");
    assert_eq!(flows4(&rig).0.iter().map(|slot| slot.flow).collect::<Vec<_>>(), [dying], "nobody revives it");
}

/// Who has claimed a flow may give it back, so nobody is told meanwhile that there is none.
#[test]
fn a_connection_is_not_reset_while_a_processor_has_claimed_it() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_settings(&Settings { reset_unknown_tcp: true, ..settings() }).unwrap();
    let segment = || Packet::tcp(OT_HOST, 4000, IT_HOST, 80, tcp_flags::ACK);
    assert!(matches!(rig.send(OT, segment()), Outcome::Answered(DropReason::TcpNotSyn, _)), "there is none");
    rig.send(OT, Packet::tcp(OT_HOST, 4000, IT_HOST, 80, tcp_flags::SYN));
    change_flow4(&rig, |flow| flow.last_seen = DYING);
    assert_eq!(rig.send(OT, segment()), Outcome::Dropped(DropReason::FlowRace));
}

#[test]
fn a_policy_change_cuts_what_it_forbids_and_keeps_the_rest() {
    let Some(rig) = Rig::new() else { return };
    rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53));
    rig.send(OT, Packet::tcp(OT_HOST, 4000, IT_HOST, 80, tcp_flags::SYN));
    rig.apply(&POLICY.replace("\"udp/53\", ", ""));
    let reply = rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, 4000));
    assert_eq!(reply.reason(), Some(DropReason::PolicyChanged), "judged by the original tuple");
    let syn_ack = tcp_flags::SYN | tcp_flags::ACK;
    assert_eq!(rig.send(IT, Packet::tcp(IT_HOST, 80, OT_HOST, 4000, syn_ack)).reason(), None);
    let alive = flows(&rig).into_iter().filter(|record| record.timeout != 0).count();
    assert_eq!(alive, 1, "the forbidden flow is over");
    wait(4);
    rig.dataplane.sweep().unwrap();
    assert_eq!(flows(&rig).len(), 1, "and gone");
    let mut reasons = Vec::new();
    rig.dataplane.poll_ended(&mut |end| reasons.push(EndReason::from_number(end.reason).unwrap())).unwrap();
    assert_eq!(reasons, [EndReason::PolicyChange]);
    assert_eq!(rig.dataplane.happenings().unwrap().rejudged, 2);
}
