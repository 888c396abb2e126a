//! Rules with `mode = "observe"`: what they count and what is told of them, and that they change nothing.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use fw_agent::dataplane::{Dataplane as _, Observed, PickUp, Settings};
use fw_common::DropReason;
use fw_common::abi::counters::RuleCounter;
use fw_common::abi::event::{DENIED_SLOTS, Denied, DeniedKey, DeniedSlot, NO_SLOT};
use fw_common::abi::explained::{Explained, OBSERVING_SHOWN};
use fw_common::abi::limit::Subject;
use fw_common::abi::policy::Action;
use fw_testkit::packet::{Packet, tcp_flags};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::flows::{flows, pairs};
use crate::oracle::explained::Snapshot;
use crate::rig::{IT, MACS, NEIGHBOUR, OT, Outcome, POLICY, Rig, Setup, settings};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

/// A rule from `ot` to `it` that observes.
fn observing(id: &str, keys: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nfrom = [\"ot\"]\nto = [\"it\"]\nmode = \"observe\"\n{keys}\n")
}

/// The usual policy, with rules in front of its own.
fn policy(rules: &str) -> String {
    POLICY.replacen("[[rule]]\n", &format!("{rules}[[rule]]\n"), 1)
}

/// A rig under [`policy`]. Its packets pass one processor, which remembers pairs of hosts for as long as the test.
fn rig(rules: &str) -> Option<Rig> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).unwrap();
    let rig = Rig::with(Setup { policy: Some(&policy(rules)), ..Setup::default() })?;
    rig.dataplane.follow_routes_for(3600).unwrap();
    Some(rig)
}

fn handle(rig: &Rig, id: &str) -> u32 {
    let names = rig.dataplane.rule_names().unwrap();
    names.into_iter().find(|(_, name)| name == id).unwrap_or_else(|| panic!("no rule {id}")).0
}

fn counter(rig: &Rig, id: &str) -> RuleCounter {
    let handle = handle(rig, id);
    rig.dataplane.rules().unwrap().into_iter().find(|(number, _)| *number == handle).unwrap().1
}

fn hits(rig: &Rig, id: &str) -> u64 {
    counter(rig, id).packets
}

/// What would have been done, by the id of the rule, and to how many packets; as the agent takes it out.
fn noted(rig: &Rig) -> Vec<(String, Action, u64)> {
    let names = rig.dataplane.rule_names().unwrap();
    let id = |handle: u32| names.iter().find(|(number, _)| *number == handle).unwrap().1.clone();
    let taken = rig.dataplane.take_denied().unwrap().into_iter();
    let would = |(key, denied): (DeniedKey, Denied)| {
        let would = key.would()?;
        Some((id(key.rule), would, denied.packets))
    };
    let mut noted: Vec<_> = taken.filter_map(would).collect();
    noted.sort();
    noted
}

fn open(rig: &Rig, (ot, it): (IpAddr, IpAddr), port: u16) -> Option<DropReason> {
    rig.send(OT, Packet::udp(ot, port, it, 53)).reason()
}

#[test]
fn a_rule_that_would_drop_counts_each_new_flow_once_and_drops_nothing() {
    let Some(rig) = rig(&observing("watch", "services = [\"udp/53\"]\naction = \"reject\"")) else { return };
    let mut observed_bytes = 0;
    for (round, pair) in (1..).zip(pairs()) {
        let outcome = rig.send(OT, Packet::udp(pair.0, 4000, pair.1, 53));
        assert!(matches!(outcome, Outcome::Redirected(_)), "{outcome:?}");
        let family = if pair.0.is_ipv4() { 4 } else { 6 };
        let flow = flows(&rig).into_iter().find(|record| record.family == family).unwrap().flow;
        assert_eq!(open(&rig, pair, 4000), None);
        assert_eq!(rig.send(IT, Packet::udp(pair.1, 53, pair.0, 4000)).reason(), None);
        assert_eq!(rig.dataplane.end_flows(&mut |_| true).flows, 1);
        let watch = counter(&rig, "watch");
        assert_eq!((watch.packets, watch.flows), (round, 0), "one of three packets of the flow was judged");
        assert_eq!(watch.bytes - observed_bytes, flow.directions[0].bytes);
        observed_bytes = watch.bytes;
        assert!(watch.last_hit > 0);
        assert_eq!(noted(&rig), [("watch".to_owned(), Action::Reject, 1)]);
        let web = counter(&rig, "web");
        assert_eq!((web.packets, web.flows), (3 * round, round), "the rule behind it has decided");
    }
}

#[test]
fn the_record_has_both_ends_and_the_zones() {
    let Some(rig) = rig(&observing("watch", "services = [\"udp/53\"]\naction = \"drop\"")) else { return };
    let [pair, _] = pairs();
    assert_eq!(open(&rig, pair, 4000), None);
    let taken = rig.dataplane.take_denied().unwrap();
    let [(key, denied)] = taken.as_slice() else { panic!("{taken:?}") };
    let flow = flows(&rig)[0].flow;
    let expected = DeniedKey {
        src_port: 4000u16.to_be_bytes(),
        dst_port: 53u16.to_be_bytes(),
        ingress_slot: OT as u16,
        family: 4,
        protocol: 17,
        reason: 0,
        from_zone: flow.from_zone,
        to_zone: flow.to_zone,
        would: Action::Drop as u8 + 1,
        rule: handle(&rig, "watch"),
        src_addr: first_four(OT_HOST),
        dst_addr: first_four(IT_HOST),
    };
    assert_eq!(*key, expected);
    assert_eq!((denied.packets, denied.bytes), (1, flow.directions[0].bytes));
}

fn first_four(addr: Ipv4Addr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&addr.octets());
    bytes
}

#[test]
fn all_rules_in_front_of_the_one_that_decides_are_counted_and_none_behind_it() {
    // In lists of their own: by source and destination, wide and narrow.
    let rules = [
        observing("everything", "action = \"drop\""),
        observing("from-host", "source = [\"10.1.1.50\"]\naction = \"drop\""),
        observing("to-host", "destination = [\"10.2.1.20\"]\nservices = [\"udp\"]\naction = \"allow\""),
        observing("both-hosts", "source = [\"10.1.1.50\"]\ndestination = [\"10.2.1.20\"]\naction = \"reject\""),
        observing("from-net", "source = [\"10.1.0.0/16\"]\nservices = [\"udp/50-60\", \"udp/70\"]\naction = \"drop\""),
        observing("other-host", "source = [\"10.1.1.51\"]\naction = \"drop\""),
        observing("other-service", "services = [\"tcp\"]\naction = \"drop\""),
    ];
    let behind = observing("behind", "services = [\"udp/53\"]\naction = \"drop\"");
    let Some(rig) = rig(&rules.concat()) else { return };
    rig.apply(&(policy(&rules.concat()) + &behind));
    let [pair, _] = pairs();
    for round in 1..=2u16 {
        assert_eq!(open(&rig, pair, 4000 + round), None);
        for id in ["everything", "from-host", "to-host", "both-hosts", "from-net"] {
            assert_eq!(
                hits(&rig, id),
                u64::from(round),
                "{id}; the second time, the lists of both hosts are remembered"
            );
        }
        for id in ["other-host", "other-service", "behind"] {
            assert_eq!(hits(&rig, id), 0, "{id}");
        }
    }
    assert_eq!(rig.send(OT, Packet::udp(pair.0, 4000, pair.1, 54)).reason(), Some(DropReason::Policy));
    assert_eq!((hits(&rig, "everything"), hits(&rig, "behind")), (3, 0), "also of what no rule decides");
}

#[test]
fn packets_that_are_denied_anyway_are_one_record() {
    let Some(rig) = rig(&observing("watch", "services = [\"udp/9\"]\naction = \"allow\"\nlog = true")) else { return };
    for _ in 0..3 {
        let denied = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 9)).reason();
        assert_eq!(denied, Some(DropReason::Policy), "what would be allowed is not");
    }
    assert_eq!(hits(&rig, "watch"), 3);
    assert!(flows(&rig).is_empty());
    let taken = rig.dataplane.take_denied().unwrap();
    let mut records: Vec<_> = taken.iter().map(|(key, denied)| (key.would(), denied.packets)).collect();
    records.sort();
    assert_eq!(records, [(None, 3), (Some(Action::Allow), 3)], "{taken:?}");
}

#[test]
fn limits_of_a_rule_that_observes_are_not_consumed() {
    let limits =
        "services = [\"udp/53\"]\naction = \"allow\"\nrate = { new_flows = \"1/h\" }\nmax_flows = { limit = 1 }";
    let Some(rig) = rig(&observing("watch", limits)) else { return };
    let [pair, _] = pairs();
    for port in 1..=5 {
        assert_eq!(open(&rig, pair, 4000 + port), None);
    }
    let watch = counter(&rig, "watch");
    assert_eq!((watch.packets, watch.limited), (5, 0));
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/LIMITS", fw_common::ABI_VERSION))).unwrap();
    let subjects: Array<MapData, Subject> = Array::try_from(Map::Array(data)).unwrap();
    assert!(subjects.iter().all(|subject| subject.unwrap() == Subject::default()), "nothing was charged");
    // Enforced, it has its whole rate, and counts the flows that it takes over.
    rig.apply(&policy(&observing("watch", limits).replace("mode = \"observe\"", "mode = \"enforce\"")));
    rig.dataplane.end_flows(&mut |_| true);
    assert_eq!(open(&rig, pair, 4010), None);
    assert_eq!(open(&rig, pair, 4011), Some(DropReason::Limit));
}

#[test]
fn a_flow_that_is_judged_anew_is_observed_anew_and_cut_when_the_rule_is_enforced() {
    let Some(rig) = rig("") else { return };
    let watch = observing("watch", "services = [\"udp/53\"]\naction = \"drop\"");
    for pair in pairs() {
        assert_eq!(open(&rig, pair, 4000), None);
    }
    for round in 1..=2 {
        rig.apply(&policy(&(observing(&format!("other-{round}"), "action = \"allow\"") + &watch)));
        for (ot, it) in pairs() {
            // By its responder, and as its originator sent it all the same.
            assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, 4000)).reason(), None);
            assert_eq!(open(&rig, (ot, it), 4000), None);
        }
        assert_eq!(hits(&rig, "watch"), 2 * round, "once for each flow and policy");
        let taken = rig.dataplane.take_denied().unwrap();
        assert!(taken.iter().all(|(key, _)| key.dst_port == 53u16.to_be_bytes()), "{taken:?}");
        assert_eq!(taken.iter().filter(|(key, _)| key.would() == Some(Action::Drop)).count(), 2);
    }
    rig.apply(&policy(&watch.replace("mode = \"observe\"\n", "")));
    for pair in pairs() {
        assert_eq!(open(&rig, pair, 4000), Some(DropReason::PolicyChanged));
        assert_eq!(open(&rig, pair, 4000), Some(DropReason::Policy));
    }
    assert_eq!(hits(&rig, "watch"), 8, "it goes on counting under its id");
}

#[test]
fn nothing_is_told_of_a_rule_that_does_not_log_but_to_who_observes() {
    let Some(rig) = rig(&observing("watch", "services = [\"udp/53\"]\naction = \"drop\"\nlog = false")) else { return };
    let [pair, _] = pairs();
    assert_eq!(open(&rig, pair, 4000), None);
    assert_eq!((hits(&rig, "watch"), noted(&rig)), (1, vec![]));
    rig.dataplane.set_observed(true).unwrap();
    assert_eq!(open(&rig, pair, 4001), None);
    let mut would = Vec::new();
    rig.dataplane
        .wait_observed(Duration::ZERO, &mut |observed| {
            if let Observed::Denied(record) = observed {
                would.push((record.key.would(), record.bytes));
            }
        })
        .unwrap();
    let bytes = flows(&rig)[0].flow.directions[0].bytes;
    assert_eq!(would, [(Some(Action::Drop), bytes)]);
}

#[test]
fn a_connection_that_is_picked_up_is_observed_as_its_originator_opened_it() {
    let back = observing("back", "services = [\"tcp\"]\naction = \"drop\"");
    let back = back.replace("from = [\"ot\"]\nto = [\"it\"]", "from = [\"it\"]\nto = [\"ot\"]");
    let Some(rig) = rig(&(observing("forth", "services = [\"tcp/80\"]\naction = \"drop\"") + &back)) else { return };
    rig.dataplane.set_settings(&Settings { pick_up: PickUp::Always, ..settings() }).unwrap();
    for (count, (ot, it)) in (1..).zip(pairs()) {
        assert_eq!(rig.send(IT, Packet::tcp(it, 80, ot, 4000, tcp_flags::ACK)).reason(), None);
        assert_eq!((hits(&rig, "forth"), hits(&rig, "back")), (count, 0));
    }
    // Neither end may open this one: it is judged as its sender's.
    assert_eq!(
        rig.send(IT, Packet::tcp(IT_HOST, 22, OT_HOST, 4000, tcp_flags::ACK)).reason(),
        Some(DropReason::Policy)
    );
    assert_eq!((hits(&rig, "forth"), hits(&rig, "back")), (2, 1));
}

fn ask(rig: &Rig, packet: Packet) -> Explained {
    let frame = packet.macs(NEIGHBOUR, MACS[OT]).build();
    rig.netns.within(|| rig.dataplane.explain(&frame, rig.ifindexes[OT]).unwrap()).unwrap()
}

#[test]
fn of_a_hundred_rules_all_are_counted_and_some_are_named_to_who_asks() {
    let rules: String = (0..100)
        .map(|number| observing(&format!("watch-{number}"), "services = [\"udp\"]\naction = \"drop\""))
        .collect();
    let Some(rig) = rig(&rules) else { return };
    let packet = || Packet::udp(OT_HOST, 4000, IT_HOST, 53);
    let before = Snapshot::of(&rig.pin_dir);
    let explained = ask(&rig, packet());
    assert_eq!(before.changed(&Snapshot::of(&rig.pin_dir)), Vec::<&str>::new(), "asking counts nothing");
    assert_eq!((explained.observing, explained.rule), (100, handle(&rig, "web")));
    let mut named = explained.observed_by.to_vec();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), OBSERVING_SHOWN);
    assert!(named.iter().all(|named| *named != 0));
    assert_eq!(rig.send(OT, packet()).reason(), None);
    assert!((0..100).all(|number| hits(&rig, &format!("watch-{number}")) == 1));
    let told = noted(&rig).len() as u64 + rig.dataplane.happenings().unwrap().denied_unrecorded;
    assert_eq!(told, 100, "each is in a record, or counted as in none");
    // The next packet belongs to the flow, and the policy is not asked.
    assert_eq!(ask(&rig, packet()).observing, 0);
    rig.apply(&POLICY.replace("\"udp/53\", ", ""));
    assert_eq!(ask(&rig, packet()).observing, 0, "what was named before is forgotten");
}

#[test]
fn what_finds_no_place_in_a_full_table_of_records_is_counted() {
    let Some(rig) = rig(&observing("watch", "services = [\"udp/53\"]\naction = \"drop\"")) else { return };
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/DENIED", fw_common::ABI_VERSION))).unwrap();
    let mut table: Array<MapData, DeniedSlot> = Array::try_from(Map::Array(data)).unwrap();
    let last_at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec as u64 * 1_000_000_000;
    for number in 0..DENIED_SLOTS {
        table.set(number, DeniedSlot { mark: 2, packets: 1, last_at, ..DeniedSlot::default() }, 0).unwrap();
    }
    let [pair, _] = pairs();
    assert_eq!(open(&rig, pair, 4000), None);
    assert_eq!((hits(&rig, "watch"), rig.dataplane.happenings().unwrap().denied_unrecorded), (1, 1));
}

#[test]
fn what_the_host_itself_sends_is_observed_alike() {
    let from_host = |id: &str, keys: &str| {
        format!("[[rule]]\nid = \"{id}\"\nfrom = [\"local\"]\nto = [\"it\"]\nservices = [\"udp/53\"]\n{keys}\n")
    };
    let watch = from_host("watch", "mode = \"observe\"\naction = \"drop\"");
    let Some(rig) = rig(&(watch.clone() + &from_host("own", "action = \"allow\""))) else { return };
    let own = Ipv4Addr::new(10, 2, 1, 10);
    // By the host's own stack, which gives it to `fw_egress`.
    let socket = rig.netns.within(|| UdpSocket::bind((own, 0)).unwrap()).unwrap();
    for _ in 0..3 {
        socket.send_to(b"who?", (IT_HOST, 53)).unwrap();
    }
    let records = flows(&rig);
    let [record] = records.as_slice() else { panic!("{records:?}") };
    let out = record.flow.directions[0];
    assert_eq!((out.packets, counter(&rig, "own").flows), (3, 1), "nothing is dropped");
    assert_eq!((hits(&rig, "watch"), counter(&rig, "watch").bytes), (1, 28 + 4), "the packet that has opened the flow");
    let taken = rig.dataplane.take_denied().unwrap();
    let [(key, denied)] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!((key.would(), key.rule, denied.packets), (Some(Action::Drop), handle(&rig, "watch"), 1));
    assert_eq!((key.from_zone, key.to_zone), (record.flow.from_zone, record.flow.to_zone));
    assert_eq!((key.src_addr, key.dst_addr), (first_four(own), first_four(IT_HOST)));
    assert_eq!(key.ingress_slot, NO_SLOT, "it has come in nowhere");
    // Enforced, it stops them.
    rig.apply(&policy(
        &(watch.replace("mode = \"observe\"", "mode = \"enforce\"") + &from_host("own", "action = \"allow\"")),
    ));
    let refused = socket.send_to(b"who?", (IT_HOST, 53));
    assert_eq!(rig.dataplane.drops().unwrap()[DropReason::PolicyChanged as usize].packets, 1, "{refused:?}");
}
