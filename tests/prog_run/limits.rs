//! `rate` and `max_flows` of rules: who is turned away, and that nothing counts for ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use fw_agent::dataplane::{Dataplane as _, Settings};
use fw_common::DropReason;
use fw_common::abi::limit::{Subject, kind};
use fw_common::conntrack::Timeouts;
use fw_testkit::packet::{Packet, Transport, tcp_flags};

use crate::flows::wait;
use crate::rig::{IT, OT, POLICY, Rig, Setup, settings};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20);

/// A rig whose rule "web" has these limits.
fn limited(limits: &str) -> Option<Rig> {
    let rig = Rig::new()?;
    rig.apply(&policy(limits));
    Some(rig)
}

fn policy(limits: &str) -> String {
    POLICY.replacen("log = true\n", &format!("log = true\n{limits}\n"), 1)
}

/// A datagram that opens a flow, or repeats one.
fn ask(rig: &Rig, source: impl Into<IpAddr>, port: u16) -> Option<DropReason> {
    let source = source.into();
    let server: IpAddr = if source.is_ipv4() { SERVER.into() } else { SERVER6.into() };
    rig.send(OT, Packet::udp(source, port, server, 53)).reason()
}

/// All flows that the entries of the limits count.
fn counted(rig: &Rig) -> u32 {
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/LIMITS", fw_common::ABI_VERSION))).unwrap();
    let subjects: Array<MapData, Subject> = Array::try_from(Map::Array(data)).unwrap();
    let subjects = (0..subjects.len()).map(|number| subjects.get(&number, 0).unwrap());
    subjects.filter(|subject| subject.key.kind == kind::FLOWS).map(|subject| subject.flows).sum()
}

/// What the rule's limits have turned away.
fn limited_packets(rig: &Rig) -> u64 {
    let web = rig.dataplane.rule_names().unwrap().into_iter().find(|(_, id)| id == "web").unwrap().0;
    rig.dataplane.rules().unwrap().into_iter().find(|(handle, _)| *handle == web).unwrap().1.limited
}

fn tcp(from_client: bool, port: u16, flags: u8, [sequence, acknowledgement]: [u32; 2]) -> Packet {
    let (src, dst, src_port, dst_port) =
        if from_client { (CLIENT, SERVER, port, 80) } else { (SERVER, CLIENT, 80, port) };
    Packet::new(src, dst, Transport::Tcp { src_port, dst_port, flags, sequence, acknowledgement })
}

#[test]
fn a_rate_lets_its_burst_pass_and_refills() {
    let Some(rig) = limited("rate = { new_flows = \"2/s\", burst = 3 }") else { return };
    for port in 1..4 {
        assert_eq!(ask(&rig, CLIENT, port), None, "flow {port}");
    }
    assert_eq!(ask(&rig, CLIENT, 4), Some(DropReason::Limit));
    assert_eq!(ask(&rig, CLIENT, 1), None, "a flow that is open is not new");
    assert_eq!(limited_packets(&rig), 1);
    let denied = rig.dataplane.take_denied().unwrap();
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0].0.reason, DropReason::Limit as u8);
    assert_ne!(denied[0].0.rule, 0, "the log names the rule");
    let start = Instant::now();
    while ask(&rig, CLIENT, 5).is_some() {
        assert!(start.elapsed() < Duration::from_secs(2), "half a second is enough for a token");
    }
    assert!(start.elapsed() > Duration::from_millis(300), "not before its time");
}

#[test]
fn a_rate_counts_for_each_source_or_pair() {
    let Some(rig) = limited("rate = { new_flows = \"1/h\", burst = 2, per = \"source\" }") else { return };
    let other = Ipv4Addr::new(10, 1, 1, 51);
    for source in [CLIENT, other] {
        assert_eq!(
            (1..4).map(|port| ask(&rig, source, port)).collect::<Vec<_>>(),
            [None, None, Some(DropReason::Limit)]
        );
    }
    // Two hosts of one /64 are one source, one of another network is not.
    let host = |network: u16, last: u16| Ipv6Addr::new(0xfd00, 0, 0, network, 0, 0, 0, last);
    assert_eq!([ask(&rig, host(0x101, 0x50), 1), ask(&rig, host(0x101, 0x51), 1)], [None, None]);
    assert_eq!(ask(&rig, host(0x101, 0x52), 1), Some(DropReason::Limit));
    assert_eq!(ask(&rig, host(0x102, 0x50), 1), None);
    rig.apply(&policy("rate = { new_flows = \"1/h\", burst = 1, per = \"source-destination\" }"));
    let to = |server| rig.send(OT, Packet::udp(CLIENT, 9, server, 53)).reason();
    rig.ip("neighbour add 10.2.1.21 lladdr 02:00:00:00:01:01 dev it");
    assert_eq!([to(SERVER), to(Ipv4Addr::new(10, 2, 1, 21))], [None, None]);
    assert_eq!(rig.send(OT, Packet::udp(CLIENT, 10, SERVER, 53)).reason(), Some(DropReason::Limit));
}

#[test]
fn as_many_flows_as_the_limit_live_at_once() {
    let Some(rig) = limited("max_flows = { limit = 3, per = \"source\" }") else { return };
    for port in 1..4 {
        assert_eq!(ask(&rig, CLIENT, port), None);
    }
    assert_eq!(ask(&rig, CLIENT, 4), Some(DropReason::Limit));
    assert_eq!(ask(&rig, Ipv4Addr::new(10, 1, 1, 51), 4), None, "another source");
    assert_eq!(counted(&rig), 4);
    assert_eq!(limited_packets(&rig), 1);
}

#[test]
fn a_closed_connection_counts_no_more() {
    use tcp_flags::{ACK, FIN, RST, SYN};
    let Some(rig) = limited("max_flows = { limit = 1 }") else { return };
    let send = |client: bool, port, flags, numbers| {
        rig.send(if client { OT } else { IT }, tcp(client, port, flags, numbers)).reason()
    };
    assert_eq!(send(true, 1, SYN, [100, 0]), None);
    assert_eq!(send(true, 2, SYN, [100, 0]), Some(DropReason::Limit));
    assert_eq!(send(false, 1, RST | ACK, [0, 101]), None, "refused");
    assert_eq!(counted(&rig), 0);
    for (client, flags, numbers) in [
        (true, SYN, [100, 0]),
        (false, SYN | ACK, [500, 101]),
        (true, ACK, [101, 501]),
        (true, FIN | ACK, [101, 501]),
        (false, FIN | ACK, [501, 102]),
    ] {
        assert_eq!(send(client, 3, flags, numbers), None);
        assert_eq!(counted(&rig), 1);
    }
    assert_eq!(send(true, 3, ACK, [102, 502]), None, "the last acknowledgement");
    assert_eq!(counted(&rig), 0);
    assert_eq!(send(true, 4, SYN, [100, 0]), None);
}

#[test]
fn flows_that_idle_make_room_without_the_agent() {
    let Some(rig) = limited("max_flows = { limit = 5 }") else { return };
    rig.dataplane.set_settings(&Settings { timeouts: Timeouts { seconds: [1; 20] }, ..settings() }).unwrap();
    for port in 1..6 {
        assert_eq!(ask(&rig, CLIENT, port), None);
    }
    assert_eq!(ask(&rig, CLIENT, 6), Some(DropReason::Limit));
    wait(5);
    // Who is refused looks for those that are over, so that it needs no other flow, and no agent.
    let opened = (0..200).find(|port| ask(&rig, CLIENT, 1_000 + port).is_none());
    assert!(opened.is_some(), "nobody makes room: {}", counted(&rig));
}

#[test]
fn no_slot_leaks_in_thousands_of_openings() {
    let limits = "max_flows = { limit = 40, per = \"source\" }";
    let Some(rig) = limited(limits) else { return };
    let sources: Vec<Ipv4Addr> = (0..8).map(|last| Ipv4Addr::new(10, 1, 1, 100 + last)).collect();
    let seconds = |seconds| {
        rig.dataplane.set_settings(&Settings { timeouts: Timeouts { seconds: [seconds; 20] }, ..settings() }).unwrap();
    };
    for round in 0..5u16 {
        seconds(60);
        for port in 0..60 {
            for source in &sources {
                let outcome = ask(&rig, *source, 1_000 * round + port + 1);
                assert_eq!(outcome, (port >= 40).then_some(DropReason::Limit), "round {round}, {source}:{port}");
            }
        }
        assert_eq!(counted(&rig), 320);
        // A new policy judges every flow again, and counts each of them once: half of them before the sweep.
        rig.apply(&policy(&limits.replace("40", &(40 + u32::from(round % 2)).to_string())));
        for port in 0..20 {
            for source in &sources {
                assert_eq!(ask(&rig, *source, 1_000 * round + port + 1), None, "an open flow");
            }
        }
        assert_eq!(counted(&rig), 320, "judged again");
        match round % 3 {
            // All idle.
            0 => seconds(0),
            // Cut by a policy, those that send.
            1 => {
                rig.apply(&POLICY.replace("\"udp/53\", ", ""));
                for port in 0..40 {
                    for source in &sources {
                        assert_eq!(ask(&rig, *source, 1_000 * round + port + 1), Some(DropReason::PolicyChanged));
                    }
                }
                assert_eq!(counted(&rig), 0, "cut");
            }
            // Reopened in their own places.
            _ => {
                seconds(0);
                wait(2);
                seconds(60);
                for port in 0..40 {
                    for source in &sources {
                        assert_eq!(ask(&rig, *source, 1_000 * round + port + 1), None, "round {round}");
                    }
                }
                assert_eq!(counted(&rig), 320, "reopened");
                seconds(0);
            }
        }
        wait(4);
        rig.dataplane.sweep().unwrap();
        assert_eq!(counted(&rig), 0, "round {round}");
        rig.apply(&policy(limits));
    }
}

#[test]
fn a_flow_that_gives_way_counts_no_more() {
    let policy = policy("max_flows = { limit = 1000 }");
    let setup = Setup { policy: Some(&policy), max_flows: 1_024, max_half_open: Some(64), ..Setup::default() };
    let Some(rig) = Rig::with(setup) else { return };
    for port in 1..67 {
        assert_eq!(ask(&rig, CLIENT, port), None);
    }
    assert_eq!(rig.dataplane.happenings().unwrap().evicted, 2);
    assert_eq!(counted(&rig), 64);
}

#[test]
fn a_full_table_of_limits_turns_away_what_is_limited_and_nothing_else() {
    let Some(rig) = limited("max_flows = { limit = 5, per = \"source\" }") else { return };
    assert_eq!(ask(&rig, CLIENT, 1), None);
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/LIMITS", fw_common::ABI_VERSION))).unwrap();
    let mut subjects: Array<MapData, Subject> = Array::try_from(Map::Array(data)).unwrap();
    let mut fill = |flows: u32| {
        for number in 0..subjects.len() {
            let mut subject = Subject { flows, ..Subject::default() };
            (subject.key.rule, subject.key.kind, subject.key.source[0]) = (u32::MAX, kind::FLOWS, number);
            subjects.set(number, subject, 0).unwrap();
        }
    };
    fill(1);
    let full = || rig.dataplane.happenings().unwrap().limits_full;
    assert_eq!(full(), 0);
    assert_eq!(ask(&rig, CLIENT, 2), Some(DropReason::Limit));
    assert_eq!(full(), 1);
    assert_eq!(ask(&rig, CLIENT, 1), None, "a flow that is open goes on");
    let ping = Packet::echo_request(CLIENT, Ipv4Addr::new(10, 1, 1, 10), 7, 1);
    assert_eq!(rig.send(OT, ping).reason(), None, "other rules ask for no entry");
    fill(0);
    assert_eq!(ask(&rig, CLIENT, 2), None, "there is room again");
}

#[test]
fn a_rule_without_limits_counts_what_it_takes_over_no_more() {
    let Some(rig) = limited("max_flows = { limit = 2 }") else { return };
    assert_eq!([ask(&rig, CLIENT, 1), ask(&rig, CLIENT, 2)], [None, None]);
    rig.apply(POLICY);
    assert_eq!([ask(&rig, CLIENT, 1), ask(&rig, CLIENT, 2), ask(&rig, CLIENT, 3)], [None; 3]);
    assert_eq!(counted(&rig), 0);
    // And back: what lives is counted beyond the limit, and nothing is cut.
    rig.apply(&policy("max_flows = { limit = 2 }"));
    assert_eq!([ask(&rig, CLIENT, 1), ask(&rig, CLIENT, 2), ask(&rig, CLIENT, 3)], [None; 3]);
    assert_eq!(counted(&rig), 3);
    assert_eq!(ask(&rig, CLIENT, 4), Some(DropReason::Limit));
}

#[test]
fn limits_outlive_the_agent() {
    let Some(rig) = limited("max_flows = { limit = 1 }\nrate = { new_flows = \"1/h\", burst = 2 }") else { return };
    assert_eq!(ask(&rig, CLIENT, 1), None);
    let options = fw_agent::dataplane::kernel::KernelOptions {
        pin_dir: rig.pin_dir.clone(),
        max_flows: None,
        max_half_open: None,
    };
    let next = rig.netns.within(|| fw_agent::dataplane::kernel::KernelDataplane::open(options).unwrap()).unwrap();
    next.apply_policy(&crate::rig::compile(&policy(
        "max_flows = { limit = 2 }\nrate = { new_flows = \"1/h\", burst = 2 }",
    )))
    .unwrap();
    assert_eq!(ask(&rig, CLIENT, 1), None);
    assert_eq!(ask(&rig, CLIENT, 2), None, "one more at once, with the last token");
    assert_eq!(ask(&rig, CLIENT, 3), Some(DropReason::Limit));
}
