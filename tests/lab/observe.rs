//! `fwctl observe`: what happens to flows, as it happens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use aya::maps::{Array, Map, MapData};
use fw_common::abi::config::{Config, config_flags};
use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT};
use serde_json::{Value, json};

use crate::firewall::{Firewall, NEVER, SOON, both};

/// An observer, from whose making on everything is told.
pub(crate) struct Observer {
    events: BufReader<UnixStream>,
}

impl Observer {
    pub(crate) fn of(firewall: &Firewall, filter: &Value) -> Self {
        let mut request = json!({"command": "observe"});
        request.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let mut stream = UnixStream::connect(firewall.agent.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut observer = Self { events: BufReader::new(stream) };
        assert_eq!(observer.next()["event"], "begin");
        observer
    }

    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.events.read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["schema"], "fwctl.observe/1");
        event
    }
}

#[test]
fn a_flow_is_told_when_it_opens_and_when_it_ends() {
    let Some(firewall) = Firewall::up() else { return };
    let mut observer = Observer::of(&firewall, &json!({"zone": "ot", "rule": "lab-ot"}));
    for to in both(OT, 5000) {
        client::udp_exchange(firewall.lab.ns(Node::It), to, SOON).unwrap().unwrap();
        let opened = observer.next();
        assert_eq!((&opened["event"], &opened["verdict"]), (&Value::from("opened"), &Value::from("allow")));
        assert_eq!((&opened["dst_addr"], &opened["dst_port"]), (&Value::from(to.ip().to_string()), &Value::from(5000)));
        assert_eq!((&opened["from_zone"], &opened["to_zone"]), (&Value::from("it"), &Value::from("ot")));
        let addr = to.ip().to_string();
        firewall.agent.fwctl(&["flows", "kill", "--addr", &addr]).unwrap().success().unwrap();
        let ended = observer.next();
        assert_eq!((&ended["event"], &ended["reason"]), (&Value::from("ended"), &Value::from("killed")), "{ended}");
        assert_eq!((&ended["out"]["packets"], &ended["back"]["packets"]), (&Value::from(1), &Value::from(1)));
    }
}

#[test]
fn a_denied_flow_is_told_and_filters_are_applied() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let mut all = Observer::of(&firewall, &json!({"verdict": "deny", "port": 5000}));
    let mut of_reason = Observer::of(&firewall, &json!({"reason": "policy", "addr": "fd00::/16", "port": 5000}));
    let mut rejected = Observer::of(&firewall, &json!({"verdict": "reject", "port": 5000}));
    for to in both(IT, 5000) {
        assert!(client::udp_exchange(lab.ns(Node::Ot), to, NEVER).unwrap().is_err());
        let event = all.next();
        assert_eq!((&event["event"], &event["reason"]), (&Value::from("denied"), &Value::from("policy")), "{event}");
        assert_eq!((&event["rule"], &event["dst_addr"]), (&Value::from("default"), &Value::from(to.ip().to_string())));
    }
    assert_eq!(of_reason.next()["dst_addr"], IT.ipv6.to_string(), "only the one of the prefix");
    let ws = fw_testkit::lab::WS;
    assert!(client::udp_exchange(lab.ns(Node::It), (ws.ipv4, 5000).into(), NEVER).unwrap().is_err());
    assert_eq!(rejected.next()["dst_addr"], ws.ipv4.to_string(), "nothing but what was rejected");
}

#[test]
fn a_reader_that_does_not_keep_up_loses_events_that_are_counted() {
    let Some(firewall) = Firewall::up() else { return };
    let lab = &firewall.lab;
    let mut slow = Observer::of(&firewall, &json!({"verdict": "deny", "zone": "ot"}));
    let sender = fw_testkit::capture::Sender::on(lab.ns(Node::Ot), "eth0").unwrap();
    let macs = (fw_testkit::lab::mac_of(OT.ipv4), fw_testkit::lab::mac_of(fw_testkit::lab::ENI_OT.ipv4));
    // More than the socket and the queue hold; each is a flow of its own.
    let sent = 12_000;
    for port in 1..=sent {
        let packet = fw_testkit::packet::Packet::udp(OT.ipv4, port, IT.ipv4, 9).macs(macs.0, macs.1);
        sender.send(&packet.build()).unwrap();
    }
    fw_testkit::wait::until_true("all are dropped", SOON, || firewall.dropped("policy") >= u64::from(sent)).unwrap();
    let unrecorded = firewall.agent.fwctl_json(&["status"]).unwrap()["flows"]["denied_unrecorded"].as_u64().unwrap();
    let (mut told, mut lost) = (0, 0);
    while told + lost + unrecorded < u64::from(sent) {
        match slow.next() {
            event if event["event"] == "denied" => told += 1,
            event => lost += event["lost"].as_u64().unwrap(),
        }
    }
    assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
}

/// Whether the program tells what happens to flows.
fn is_observed(firewall: &Firewall) -> bool {
    let pin = firewall.agent.pins().join(format!("abi-{}/CONFIG", fw_common::ABI_VERSION));
    let config: Array<MapData, Config> = Map::Array(MapData::from_pin(pin).unwrap()).try_into().unwrap();
    config.get(&0, 0).unwrap().flags & config_flags::OBSERVED != 0
}

#[test]
fn an_observer_that_is_killed_leaves_nothing_switched_on() {
    let Some(firewall) = Firewall::up() else { return };
    assert!(!is_observed(&firewall));
    let fwctl = firewall.agent.fwctl_path().to_string_lossy().into_owned();
    let socket = firewall.agent.socket().to_string_lossy().into_owned();
    let mut observer = firewall.lab.spawn(Node::Fw, &[&fwctl, "--socket", &socket, "observe", "-f"]).unwrap();
    fw_testkit::wait::until_true("it observes", SOON, || is_observed(&firewall)).unwrap();
    observer.kill().unwrap();
    fw_testkit::wait::until_true("it is switched off", SOON, || !is_observed(&firewall)).unwrap();
}

#[test]
fn fwctl_prints_events_until_it_has_enough() {
    let Some(firewall) = Firewall::up() else { return };
    // For ever; and longer than the clock can count.
    for patience in [&["-f"][..], &["--seconds", "18446744073709551615"]] {
        let arguments = [&["observe", "--count", "1", "--rule", "lab-ot", "-o", "jsonl"], patience].concat();
        let printed = std::thread::scope(|scope| {
            let observing = scope.spawn(|| firewall.agent.fwctl(&arguments).unwrap());
            let to = both(OT, 5000)[0];
            // Flows open until one of them is seen.
            fw_testkit::wait::until_true("an event is printed", SOON, || {
                client::udp_exchange(firewall.lab.ns(Node::It), to, SOON).unwrap().unwrap();
                observing.is_finished()
            })
            .unwrap();
            observing.join().unwrap()
        });
        let printed = printed.success().unwrap();
        let event: Value = serde_json::from_str(printed.trim()).unwrap();
        assert_eq!((&event["event"], &event["rule"]), (&Value::from("opened"), &Value::from("lab-ot")));
    }
}
