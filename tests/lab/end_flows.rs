//! `fwctl flows top` and `kill`: the largest flows, and flows that an operator ends.

use std::io::{Read as _, Write as _};

use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT};
use fw_testkit::wait;
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};

#[test]
fn a_connection_that_is_killed_ends_and_its_next_segment_is_dropped() {
    // Soon after the start of a firewall, its segments would open the connection anew.
    let Some(firewall) = Firewall::with_conntrack("max_flows = 65_536\npick_up = \"never\"") else { return };
    let lab = &firewall.lab;
    for (number, to) in both(OT, 502).into_iter().enumerate() {
        let mut stream = client::connect(lab.ns(Node::It), to, SOON).unwrap().unwrap();
        assert!(client::modbus_read(&mut stream, 0, 2).is_ok());
        let addr = to.ip().to_string();
        let matching =
            ["--addr", addr.as_str(), "--port", "502", "--protocol", "tcp", "--rule", "lab-ot", "--zone", "it"];
        assert_eq!(firewall.agent.matching_flows(&matching).unwrap(), 1);
        assert_eq!(firewall.agent.matching_flows(&["--rule", "lab-web"]).unwrap(), 0);
        let killed = firewall.agent.fwctl_json(&[&["flows", "kill"], &matching[..]].concat()).unwrap();
        assert_eq!(killed["ended"], 1, "{killed}");
        assert_eq!(firewall.agent.matching_flows(&matching).unwrap(), 0);
        let before = firewall.dropped("tcp_not_syn");
        stream.set_read_timeout(Some(NEVER)).unwrap();
        stream.write_all(&[0; 12]).unwrap();
        assert!(stream.read(&mut [0; 64]).is_err(), "an answer came");
        wait::until_true("the segment is dropped", SOON, || firewall.dropped("tcp_not_syn") > before).unwrap();
        let mut record = None;
        wait::until_true("the flow is in the log", SOON, || {
            let text = std::fs::read_to_string(firewall.agent.flow_log()).unwrap_or_default();
            let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            record = records.into_iter().find(|record| record["dst_addr"] == addr && record["end_reason"] == "killed");
            record.is_some()
        })
        .unwrap();
        let record = record.unwrap();
        assert_eq!((&record["rule"], &record["state"]), (&Value::from("lab-ot"), &Value::from("established")));
        let audited = firewall.agent.log();
        let lines = audited.lines().filter(|line| line.contains("flows were ended by an operator"));
        assert_eq!(lines.count(), number + 1, "{audited}");
    }
}

#[test]
fn nothing_is_killed_without_a_condition() {
    let Some(firewall) = Firewall::up() else { return };
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[0], SOON).unwrap().unwrap();
    let refused = firewall.agent.fwctl(&["flows", "kill"]).unwrap();
    assert!(refused.status.code() == Some(2) && refused.stderr.contains("or say `--all`"), "{refused:?}");
    assert_eq!(firewall.agent.matching_flows(&["--port", "5000"]).unwrap(), 1);
    let killed = firewall.agent.fwctl_json(&["flows", "kill", "--all"]).unwrap();
    assert!(killed["ended"].as_u64().unwrap() >= 1, "{killed}");
    assert_eq!(firewall.agent.matching_flows(&["--port", "5000"]).unwrap(), 0);
}

#[test]
fn the_largest_flows_come_first_by_what_is_asked_for() {
    let Some(firewall) = Firewall::up() else { return };
    let ns = firewall.lab.ns(Node::It);
    let [first, second] = both(OT, 5000);
    for _ in 0..3 {
        client::udp_exchange(ns, first, SOON).unwrap().unwrap();
    }
    client::udp_exchange(ns, second, SOON).unwrap().unwrap();
    for order in ["bytes", "packets", "rate"] {
        let prefixes = ["--protocol", "udp", "--port", "5000", "--zone", "ot"];
        let top = firewall.agent.fwctl_json(&[&["flows", "top", "--by", order], &prefixes[..]].concat()).unwrap();
        let rows = top["flows"].as_array().unwrap();
        assert_eq!(rows.len(), 4, "{top}");
        let sizes: Vec<u64> = rows
            .iter()
            .map(|row| match order {
                "bytes" => row["out"]["bytes"].as_u64().unwrap() + row["back"]["bytes"].as_u64().unwrap(),
                "packets" => row["out"]["packets"].as_u64().unwrap() + row["back"]["packets"].as_u64().unwrap(),
                _ => row["bytes_per_second"].as_u64().unwrap(),
            })
            .collect();
        assert!(sizes.is_sorted_by(|larger, smaller| larger >= smaller), "{order}: {sizes:?}");
    }
    let by_prefix = firewall.agent.matching_flows(&["--addr", "10.1.0.0/16", "--port", "5000"]).unwrap();
    assert_eq!(by_prefix, 3, "the IPv4 flows");
    let of_host = firewall.agent.matching_flows(&["--addr", &IT.ipv6.to_string(), "--port", "5000"]).unwrap();
    assert_eq!(of_host, 1);
}
