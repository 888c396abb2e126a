//! A policy is edited while traffic runs: it takes effect at once, cuts what it forbids, and loses nothing of what it allows.

use std::fs;
use std::time::{Duration, Instant};

use fw_testkit::lab::{Agent, IT, Node, OT};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::{client, wait};

use crate::firewall::{Firewall, NEVER, SOON, both};

const INTERVAL: Duration = Duration::from_millis(2);
/// How long a flow may go on under a policy that forbids it.
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// How many policies follow each other under a stream.
const SWAPS_VARIABLE: &str = "OUTPOST_FW_SWAPS";
const SWAPS: u32 = 6;

/// The epoch of the running policy.
pub(crate) fn epoch(agent: &Agent) -> u64 {
    let status = agent.fwctl_json(&["status"]).unwrap();
    status["policy"]["epoch"].as_u64().unwrap_or_else(|| panic!("no epoch in {status}"))
}

/// Changes the rules and waits until they are in force.
pub(crate) fn change(firewall: &Firewall, rules: &str) {
    let before = epoch(&firewall.agent);
    fs::write(firewall.rules_file(), rules).unwrap();
    wait::until_true("the new policy is in force", SOON, || epoch(&firewall.agent) > before).unwrap();
}

#[test]
fn an_edit_changes_what_is_allowed_and_its_reversal_restores_it() {
    let Some(firewall) = Firewall::up() else { return };
    let web = |within| client::http_get(firewall.lab.ns(Node::Ws), both(IT, 80)[0], "/", within).unwrap();
    assert!(web(SOON).is_ok());
    change(&firewall, &Firewall::first_rules().replace("\"@web\", ", ""));
    assert!(web(NEVER).is_err());
    change(&firewall, Firewall::first_rules());
    assert!(web(SOON).is_ok());
}

#[test]
fn an_open_flow_that_the_new_policy_forbids_is_cut() {
    let Some(firewall) = Firewall::up() else { return };
    let mut connection = client::connect(firewall.lab.ns(Node::It), both(OT, 502)[0], NEVER).unwrap().unwrap();
    assert_eq!(client::modbus_read(&mut connection, 1, 1).unwrap(), [1]);
    change(&firewall, &Firewall::first_rules().replace("\"@modbus\", ", ""));
    assert!(client::modbus_read(&mut connection, 2, 1).is_err());
    assert!(firewall.dropped("policy_changed") > 0);
}

#[test]
fn a_live_flow_that_the_new_policy_forbids_is_cut_within_a_second() {
    let Some(firewall) = Firewall::up() else { return };
    let stream = NumberedStream::start(firewall.lab.ns(Node::It), both(OT, 5000)[0], INTERVAL).unwrap();
    wait::until_true("the stream runs", SOON, || stream.answered() >= 50).unwrap();
    let before = epoch(&firewall.agent);
    fs::write(firewall.rules_file(), Firewall::first_rules().replacen("\"@modbus\", \"@echo\"", "\"@modbus\"", 1))
        .unwrap();
    wait::until_true("the new policy is in force", SOON, || epoch(&firewall.agent) > before).unwrap();
    let in_force = Instant::now();
    // Answers end: the stream goes on, and a tenth of a second of it stays without any.
    let (mut answered, mut sent) = (stream.answered(), stream.sent());
    wait::until_true("the stream is cut", SOON, || {
        if stream.answered() != answered {
            (answered, sent) = (stream.answered(), stream.sent());
        }
        stream.sent() >= sent + 50
    })
    .unwrap();
    let within = in_force.elapsed();
    println!("cut {within:?} after the policy was seen in force, a tenth of a second of silence included");
    assert!(within < CUT_WITHIN, "{within:?}");
    assert!(firewall.dropped("policy_changed") > 0);
}

#[test]
fn an_allowed_stream_loses_nothing_while_policies_change() {
    let Some(firewall) = Firewall::up() else { return };
    let swaps = std::env::var(SWAPS_VARIABLE).map_or(SWAPS, |text| text.parse().unwrap());
    let stream = NumberedStream::start(firewall.lab.ns(Node::It), both(OT, 5000)[0], INTERVAL).unwrap();
    for round in 0..swaps {
        let wanted = stream.answered() + 50;
        wait::until_true("the stream goes on", SOON, || stream.answered() >= wanted).unwrap();
        let rules = Firewall::first_rules();
        change(&firewall, &if round % 2 == 0 { rules.replace("\"@modbus\", ", "") } else { rules.to_owned() });
    }
    let report = stream.finish();
    println!("{swaps} policies, {} datagrams, {} without an answer", report.sent, report.missing.len());
    let drops = firewall.agent.fwctl(&["drops"]).unwrap().stdout;
    assert_eq!((report.missing, report.repeated), (Vec::new(), 0), "of {} datagrams; dropped:\n{drops}", report.sent);
}
