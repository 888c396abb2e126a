//! `fwctl rules hits` and `unused`: what rules have done is kept when the data plane's counters are not, and under new ids.

use std::fs;

use fw_testkit::client;
use fw_testkit::lab::{Agent, Node, OT};
use serde_json::Value;

use crate::firewall::{Firewall, SOON, both};

fn of(answer: &Value, list: &str, id: &str) -> Option<Value> {
    answer[list].as_array().unwrap().iter().find(|rule| rule["id"] == id).cloned()
}

pub(crate) fn hits(agent: &Agent, id: &str) -> Value {
    let answer = agent.fwctl_json(&["rules", "hits"]).unwrap();
    of(&answer, "rules", id).unwrap_or_else(|| panic!("{id}: {answer}"))
}

fn exchange(firewall: &Firewall) {
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[0], SOON).unwrap().unwrap();
}

#[test]
fn hits_outlive_the_data_plane_and_follow_a_rule_to_its_new_id() {
    let Some(mut firewall) = Firewall::up() else { return };
    exchange(&firewall);
    let first = hits(&firewall.agent, "lab-ot");
    assert_eq!((&first["packets"], &first["flows"]), (&2.into(), &1.into()), "{first}");
    firewall.agent.terminate().unwrap();
    // As after a reboot: the maps and their counters are gone.
    assert!(firewall.agent.detach().unwrap().status.success());
    firewall.agent.start().unwrap();
    let kept = hits(&firewall.agent, "lab-ot");
    assert_eq!((&kept["packets"], &kept["first_counted_at"]), (&2.into(), &first["first_counted_at"]));
    exchange(&firewall);
    assert_eq!(hits(&firewall.agent, "lab-ot")["packets"], 4);
    let renamed = Firewall::first_rules().replace("id = \"lab-ot\"", "id = \"it-reads-ot\"\nrenamed_from = \"lab-ot\"");
    fs::write(firewall.rules_file(), renamed).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    let moved = hits(&firewall.agent, "it-reads-ot");
    assert_eq!((&moved["packets"], &moved["first_counted_at"]), (&4.into(), &first["first_counted_at"]), "{moved}");
    exchange(&firewall);
    assert_eq!(hits(&firewall.agent, "it-reads-ot")["packets"], 6);
    let recent = firewall.agent.fwctl_json(&["rules", "hits", "--since", "1h"]).unwrap();
    assert!(of(&recent, "rules", "it-reads-ot").is_some() && of(&recent, "rules", "lab-web").is_none(), "{recent}");
    // No rule has been counted for 90 days, and each for a second.
    let unused = firewall.agent.fwctl_json(&["rules", "unused", "--since", "90d"]).unwrap();
    assert_eq!(unused["unused"], Value::Array(Vec::new()));
    assert!(of(&unused, "too_young", "lab-web").is_some() && of(&unused, "too_young", "it-reads-ot").is_none());
    let unused = firewall.agent.fwctl_json(&["rules", "unused", "--since", "1s"]).unwrap();
    assert!(of(&unused, "unused", "lab-web").is_some(), "{unused}");
}

#[test]
fn a_broken_record_is_set_aside_and_counting_begins_anew() {
    let Some(mut firewall) = Firewall::up() else { return };
    firewall.agent.terminate().unwrap();
    let record = firewall.agent.flow_log().with_file_name("state").join("hits.json");
    assert!(record.exists(), "it is kept when the agent stops");
    fs::write(&record, "{\"schema\":").unwrap();
    firewall.agent.start().unwrap();
    assert!(firewall.agent.log().contains("counting begins anew"), "{}", firewall.agent.log());
    exchange(&firewall);
    assert_eq!(hits(&firewall.agent, "lab-ot")["flows"], 1);
    firewall.agent.terminate().unwrap();
    let kept: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_eq!(kept["rules"]["lab-ot"]["count"]["flows"], 1);
}
