//! Probes of the ways: they say whether the firewall is ready, and whether a policy on trial stays.

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use fw_testkit::lab::{AgentConfig, IT, Node, OT, PLC};
use fw_testkit::{client, wait};
use serde_json::Value;

use crate::firewall::{Firewall, SOON, both};

/// Longer than the hold-down and any trial here.
const PATIENCE: Duration = Duration::from_secs(30);

fn probe(name: &str, target: &str, lines: &str) -> String {
    format!("[[probe]]\nname = \"{name}\"\ntarget = \"{target}\"\n{lines}\n")
}

/// A firewall with these probes, and these lines in the section `[policy]`.
fn with(probes: &str, policy: &str) -> Option<Firewall> {
    let mut firewall = Firewall::before_the_agent("max_flows = 65_536")?;
    let policies = firewall.lab.directory().join("policies");
    firewall.agent.configure(&AgentConfig { extra: probes.to_owned(), ..AgentConfig::new(policies) }).unwrap();
    let text = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let text = text.replace("source = \"directory\"", &format!("source = \"directory\"\n{policy}"));
    firewall.agent.write_configuration(&text).unwrap();
    firewall.agent.start().unwrap();
    Some(firewall)
}

fn status(firewall: &Firewall) -> Value {
    firewall.agent.fwctl_json(&["status"]).unwrap()
}

fn way(status: &Value, name: &str) -> Value {
    let probes = status["probes"].as_array().unwrap();
    probes.iter().find(|probe| probe["probe"] == name).unwrap_or_else(|| panic!("{status}")).clone()
}

fn wait_for(firewall: &Firewall, name: &str, life: &str) -> Value {
    let mut last = Value::Null;
    let seen = wait::until_true("the way has this life", PATIENCE, || {
        last = way(&status(firewall), name);
        last["life"] == life
    });
    seen.unwrap_or_else(|error| panic!("{error}: {last}"));
    last
}

/// Hosts that do not answer at all.
const SILENCE: &str =
    "add table inet silence; add chain inet silence in { type filter hook input priority 0; policy drop; }";

#[test]
fn a_way_that_dies_makes_the_firewall_not_ready_until_it_is_alive_again() {
    let ot6 = OT.ipv6.to_string();
    let probes = [
        probe("plant", &PLC.ipv4.to_string(), ""),
        probe("gateway", &ot6, "check = \"ping\"\nhold_down = \"4s\""),
        probe("modbus", &OT.ipv4.to_string(), "check = \"tcp/502\"\nhold_down = \"4s\""),
        probe("web", &IT.ipv6.to_string(), "check = \"http/80/bytes/10\""),
        probe("page", &IT.ipv4.to_string(), "check = \"http/80/no-such-page\"\nrequired = false"),
        probe("own", "10.1.1.10", "required = false"),
    ];
    let Some(firewall) = with(&probes.concat(), "") else { return };
    for name in ["plant", "gateway", "modbus", "web"] {
        let alive = wait_for(&firewall, name, "alive");
        assert!(alive["took_us"].as_u64().unwrap() > 0, "{alive}");
    }
    let page = wait_for(&firewall, "page", "dead");
    assert_eq!(page["failure"], "HTTP: 404 Not Found");
    let own = wait_for(&firewall, "own", "dead");
    assert_eq!(own["failure"], "10.1.1.10 is an address of the firewall itself: name one beyond the way");
    assert!(status(&firewall)["ready"] == true, "a way that is not required is dead: {}", status(&firewall));
    let rules = firewall.agent.fwctl_json(&["rules"]).unwrap().to_string();
    assert!(rules.contains("system-probe-modbus"), "{rules}");

    firewall.lab.run(Node::Ot, &["nft", SILENCE]).unwrap().success().unwrap();
    for (name, failure) in [("gateway", "no answer within 1s"), ("modbus", "no answer within 1s")] {
        assert_eq!(wait_for(&firewall, name, "dead")["failure"], failure);
    }
    let now = status(&firewall);
    assert!(now["ready"] == false, "{now}");
    let reason =
        now["checks"].as_array().unwrap().iter().find(|check| check["name"] == "probes").unwrap()["reason"].clone();
    let expected = format!("probe gateway: {ot6} does not answer ping (no answer within 1s)");
    assert!(reason.as_str().unwrap().starts_with(&expected), "{reason}");
    let metrics = metrics(&firewall);
    for line in ["outpost_fw_probe_alive{probe=\"modbus\"} 0", "outpost_fw_probe_alive{probe=\"plant\"} 1"] {
        assert!(metrics.lines().any(|actual| actual == line), "{line}: {metrics}");
    }
    assert!(metrics.contains("outpost_fw_probe_delay_seconds_bucket{le=\"0.001\",probe=\"plant\"}"), "{metrics}");

    firewall.lab.run(Node::Ot, &["nft", "delete table inet silence"]).unwrap().success().unwrap();
    for name in ["gateway", "modbus"] {
        wait_for(&firewall, name, "alive");
    }
    assert!(status(&firewall)["ready"] == true);
}

fn metrics(firewall: &Firewall) -> String {
    let to = ([127, 0, 0, 1], 9477).into();
    let mut stream = client::connect(firewall.lab.ns(Node::Fw), to, SOON).unwrap().unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn in_force(firewall: &Firewall) -> u64 {
    firewall.agent.fwctl_json(&["history"]).unwrap()["in_force"].as_u64().unwrap()
}

#[test]
fn probes_confirm_a_policy_under_which_the_ways_work_and_take_back_one_under_which_they_do_not() {
    let probes = [
        probe("modbus", &OT.ipv4.to_string(), "check = \"tcp/502\""),
        probe("nobody", "10.2.1.99", "required = false"),
    ];
    let policy = "watch = false\nconfirm = \"probes\"\nconfirm_within = \"60s\"";
    let Some(firewall) = with(&probes.concat(), policy) else { return };
    wait_for(&firewall, "modbus", "alive");
    // The router says that it does not find the host, which is an answer, and none of the host.
    let nobody = wait_for(&firewall, "nobody", "dead");
    assert!(nobody["failure"].as_str().unwrap().starts_with("ICMP 3/1 from 10.2."), "{nobody}");

    // Of a network that is in no zone nothing comes back.
    let zones = firewall.lab.directory().join("policies/10-zones.toml");
    let good = fs::read_to_string(&zones).unwrap();
    fs::write(&zones, good.replace("\"10.1.0.0/16\"", "\"10.9.0.0/16\"")).unwrap();
    let applied = firewall.agent.fwctl(&["apply"]).unwrap().success().unwrap();
    assert!(applied.contains("it stays if the probes modbus are alive in"), "{applied}");
    assert_eq!(in_force(&firewall), 2);
    wait::until_true("the policy is taken back long before its time is over", PATIENCE, || in_force(&firewall) == 1)
        .unwrap();
    let audit = fs::read_to_string(firewall.lab.directory().join("state/audit.jsonl")).unwrap();
    let last: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], last["who"].to_string().contains("probes")), (&"rolled_back".into(), true), "{last}");
    assert!(last["reason"].as_str().unwrap().starts_with("probe modbus: "), "{last}");
    wait_for(&firewall, "modbus", "alive");

    fs::write(&zones, good).unwrap();
    fs::write(firewall.rules_file(), Firewall::first_rules().replace("\"@web\", ", "")).unwrap();
    firewall.agent.fwctl(&["apply", "--confirm", "4s"]).unwrap().success().unwrap();
    let confirmed = || firewall.agent.fwctl_json(&["history"]).unwrap()["confirmed"].as_u64() == Some(3);
    wait::until_true("the probes have confirmed it", PATIENCE, confirmed).unwrap();
    assert_eq!(in_force(&firewall), 3);
    let stream = client::connect(firewall.lab.ns(Node::It), both(OT, 502)[0], SOON).unwrap();
    assert!(stream.is_ok());
}

#[test]
fn a_trial_that_is_shorter_than_a_probe_takes_is_taken_back() {
    let probe = probe("modbus", &OT.ipv4.to_string(), "check = \"tcp/502\"\ninterval = \"1h\"\nalive_after = 1");
    let Some(firewall) = with(&probe, "watch = false\nconfirm = \"probes\"") else { return };
    wait_for(&firewall, "modbus", "alive");
    fs::write(firewall.rules_file(), Firewall::first_rules().replace("\"@web\", ", "")).unwrap();
    firewall.agent.fwctl(&["apply", "--confirm", "2s"]).unwrap().success().unwrap();
    wait::until_true("the policy is taken back", PATIENCE, || in_force(&firewall) == 1).unwrap();
    let audit = fs::read_to_string(firewall.lab.directory().join("state/audit.jsonl")).unwrap();
    let last: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
    assert_eq!(last["reason"], "probe modbus: no answer since the policy came into force");
}
