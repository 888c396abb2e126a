//! The flow log, end to end: what was allowed and what was denied, with the counts that were on the wire.

use std::net::IpAddr;
use std::time::Duration;

use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT};
use fw_testkit::wait;
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, addresses, both};

/// Flows end soon after their last packet.
const CONNTRACK: &str = r#"max_flows = 1024
[conntrack.timeouts]
udp-new = "1s"
udp-replied = "1s""#;

/// Time-out, grace period, sweep and the log's own rhythm.
const RECORDED: Duration = Duration::from_secs(30);

/// The records of the log that are about this destination.
fn records(firewall: &Firewall, destination: IpAddr, verdict: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(firewall.agent.flow_log()).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|record| record["dst_addr"] == destination.to_string() && record["verdict"] == verdict).collect()
}

#[test]
fn an_allowed_flow_is_recorded_with_both_directions() {
    let Some(firewall) = Firewall::with_conntrack(CONNTRACK) else { return };
    for (to, from) in both(OT, 5000).into_iter().zip(addresses(IT)) {
        let answer = client::udp_exchange(firewall.lab.ns(Node::It), to, SOON).unwrap().unwrap();
        let headers = if to.is_ipv4() { 28 } else { 48 };
        let bytes = answer.len() as u64 + headers;

        let mut found = Vec::new();
        wait::until_true("the flow is recorded", RECORDED, || {
            found = records(&firewall, to.ip(), "allow");
            !found.is_empty()
        })
        .unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let record = &found[0];
        assert_eq!(record["src_addr"], from.to_string());
        assert_eq!(record["dst_port"], 5000);
        assert_eq!(record["protocol"], "udp");
        assert_eq!((&record["from_zone"], &record["to_zone"]), (&Value::from("it"), &Value::from("ot")));
        assert_eq!((&record["packets_out"], &record["packets_in"]), (&Value::from(1), &Value::from(1)), "{record}");
        assert_eq!((&record["bytes_out"], &record["bytes_in"]), (&Value::from(bytes), &Value::from(bytes)), "{record}");
        assert_eq!(record["rule"], "lab-ot");
        assert_eq!(record["end_reason"], "idle");
        let (start, end) = (record["start"].as_str().unwrap(), record["end"].as_str().unwrap());
        assert!(start <= end, "{start} to {end}");
    }
}

#[test]
fn denied_flows_are_recorded_once_with_their_rule_and_count() {
    let Some(firewall) = Firewall::with_conntrack(CONNTRACK) else { return };
    for to in both(IT, 5000) {
        assert!(client::udp_exchange(firewall.lab.ns(Node::Ot), to, NEVER).unwrap().is_err());
        let mut found = Vec::new();
        wait::until_true("the denial is recorded", RECORDED, || {
            found = records(&firewall, to.ip(), "drop");
            !found.is_empty()
        })
        .unwrap();
        let record = &found[0];
        assert_eq!(record["drop_reason"], "policy");
        assert_eq!(record["rule"], "default");
        assert_eq!((&record["from_zone"], &record["to_zone"]), (&Value::from("ot"), &Value::from("it")));
        let packets: u64 = found.iter().map(|record| record["packets_out"].as_u64().unwrap()).sum();
        assert!(packets >= 1, "{record}");
    }
    assert_eq!(firewall.dropped("policy"), {
        let all = addresses(IT).into_iter().flat_map(|to| records(&firewall, to, "drop"));
        all.map(|record| record["packets_out"].as_u64().unwrap()).sum::<u64>()
    });
}
