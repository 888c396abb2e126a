//! The agent is killed, ended and started again under traffic: not one packet is lost, and flows are kept.

use std::fs;
use std::thread;
use std::time::Duration;

use fw_testkit::client::{self, expected_digest};
use fw_testkit::lab::{Agent, IT, Node, OT};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;
use rustix::process::Signal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::firewall::{Firewall, NEVER, SOON, both};
use crate::policy_change::epoch;

/// Size of the transfer in bytes.
const LENGTH: u64 = 60_000_000;

const INTERVAL: Duration = Duration::from_millis(2);

/// Waits until the stream has had this many more answers.
fn more_answers(stream: &NumberedStream, more: u64) {
    let wanted = stream.answered() + more;
    wait::until_true("the stream goes on", SOON, || stream.answered() >= wanted).unwrap();
}

#[test]
fn no_packet_is_lost_while_the_agent_is_killed_and_started_again() {
    let Some(mut firewall) = Firewall::up() else { return };
    let streams = both(OT, 5000).map(|to| NumberedStream::start(firewall.lab.ns(Node::It), to, INTERVAL).unwrap());
    streams.iter().for_each(|stream| more_answers(stream, 100));
    firewall.agent.kill().unwrap();
    streams.iter().for_each(|stream| more_answers(stream, 200));
    firewall.agent.start().unwrap();
    streams.iter().for_each(|stream| more_answers(stream, 200));
    assert!(firewall.agent.terminate().unwrap().unwrap().success(), "{}", firewall.agent.log());
    streams.iter().for_each(|stream| more_answers(stream, 200));
    firewall.agent.start().unwrap();
    streams.iter().for_each(|stream| more_answers(stream, 100));
    for stream in streams {
        let report = stream.finish();
        assert!(report.sent >= 800);
        assert_eq!((report.missing, report.repeated), (Vec::new(), 0), "of {} datagrams", report.sent);
    }
}

#[test]
fn a_transfer_outlives_the_agent() {
    let Some(mut firewall) = Firewall::up() else { return };
    // The agent comes back while the transfer runs, however long its start takes on this machine.
    let seconds = 3 * (firewall.start_took.as_secs() + 1);
    let path = format!("/bytes/{LENGTH}?per_second={}", LENGTH / seconds);
    let address = both(IT, 80)[0];
    let Firewall { agent, lab, .. } = &mut firewall;
    let page = thread::scope(|scope| {
        let transfer = scope.spawn(|| client::http_get(lab.ns(Node::Ws), address, &path, SOON).unwrap());
        wait::until_true("the flow is open", SOON, || established(agent, "80")).unwrap();
        agent.kill().unwrap();
        agent.start().unwrap();
        assert!(!transfer.is_finished(), "the transfer ended before the agent was back");
        transfer.join().unwrap().unwrap()
    });
    assert_eq!((page.status, page.length), (200, LENGTH));
    assert_eq!(page.digest, expected_digest(LENGTH));
}

/// Whether the flow table holds an established TCP flow to this port.
fn established(agent: &Agent, port: &str) -> bool {
    agent.matching_flows(&["--state", "established", "--port", port]).unwrap() > 0
}

#[test]
fn sizes_that_wait_for_new_tables_are_told_until_they_are_there() {
    let Some(mut firewall) = Firewall::with_conntrack("max_flows = 1_024") else { return };
    let told = |firewall: &Firewall| {
        let status = firewall.agent.fwctl_json(&["status"]).unwrap();
        let check =
            status["checks"].as_array().unwrap().iter().find(|check| check["name"] == "table-sizes").cloned().unwrap();
        assert_eq!(check["ok"], true, "the tables work as they are");
        check["reason"].as_str().map(str::to_owned)
    };
    assert_eq!(told(&firewall), None);
    let path = firewall.agent.configuration();
    let text = fs::read_to_string(&path).unwrap().replace("max_flows = 1_024", "max_flows = 2_048");
    firewall.agent.write_configuration(&text).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    let reason =
        "`max_flows` is 2048 in agent.toml, and 1024 in the tables until `fw-agent detach`, which ends all flows";
    assert_eq!(told(&firewall).as_deref(), Some(reason));
    // No restart helps.
    assert!(firewall.agent.terminate().unwrap().unwrap().success());
    firewall.agent.start().unwrap();
    wait::until_true("it is told again", SOON, || told(&firewall).as_deref() == Some(reason)).unwrap();
}

#[test]
fn flows_are_kept_over_a_restart() {
    let Some(mut firewall) = Firewall::up() else { return };
    let mut connection = client::connect(firewall.lab.ns(Node::It), both(OT, 502)[0], SOON).unwrap().unwrap();
    assert_eq!(client::modbus_read(&mut connection, 7, 1).unwrap(), [7]);
    firewall.agent.kill().unwrap();
    assert_eq!(client::modbus_read(&mut connection, 8, 1).unwrap(), [8]);
    firewall.agent.start().unwrap();
    assert_eq!(client::modbus_read(&mut connection, 9, 1).unwrap(), [9]);
    assert!(established(&firewall.agent, "502"));
}

#[test]
fn what_rules_have_done_is_kept_over_a_restart() {
    let Some(mut firewall) = Firewall::up() else { return };
    let done = |agent: &Agent| {
        let rules = agent.fwctl_json(&["rules"]).unwrap();
        let rules = rules["rules"].as_array().unwrap().clone();
        rules.into_iter().find(|rule| rule["id"] == "lab-ot").unwrap()
    };
    assert!(done(&firewall.agent)["last_hit_at"].is_null());
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[0], SOON).unwrap().unwrap();
    let before = done(&firewall.agent);
    assert_eq!((&before["packets"], &before["flows"]), (&2.into(), &1.into()), "{before}");
    assert!(before["last_hit_at"].is_string(), "{before}");
    firewall.agent.kill().unwrap();
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[1], SOON).unwrap().unwrap();
    firewall.agent.start().unwrap();
    let after = done(&firewall.agent);
    assert_eq!((&after["packets"], &after["flows"]), (&4.into(), &2.into()), "{after}");
    assert!(after["bytes"].as_u64() > before["bytes"].as_u64());
    // RFC 3339 in UTC sorts as time does; a timestamp is rounded to the program's second, and the clocks drift by less than that.
    let second = |rule: &serde_json::Value| rule["last_hit_at"].as_str().unwrap()[..19].to_owned();
    assert!(second(&after) >= second(&before), "{before} and {after}");
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let Some(mut firewall) = Firewall::up() else { return };
    let second = firewall.agent.run_second().unwrap();
    assert!(!second.status.success(), "{}{}", second.stdout, second.stderr);
    assert!(firewall.agent.ended().is_none());
    firewall.agent.fwctl(&["status"]).unwrap().success().unwrap();
    client::udp_exchange(firewall.lab.ns(Node::It), both(OT, 5000)[0], SOON).unwrap().unwrap();
}

#[test]
fn a_hang_up_reloads_without_losing_a_packet() {
    let Some(firewall) = Firewall::up() else { return };
    let stream = NumberedStream::start(firewall.lab.ns(Node::It), both(OT, 5000)[0], INTERVAL).unwrap();
    more_answers(&stream, 50);
    for _ in 0..5 {
        firewall.agent.signal(Signal::HUP).unwrap();
        more_answers(&stream, 50);
    }
    let report = stream.finish();
    assert_eq!((report.missing, report.repeated), (Vec::new(), 0), "of {} datagrams", report.sent);
}

/// Also of a rule that expires while no agent runs: the next one sees to it, whatever lies on the disk.
#[test]
fn a_rule_expires_also_if_the_files_are_refused_at_a_restart() {
    let Some(mut firewall) = Firewall::up() else { return };
    // Late enough that the agent is back.
    let expires = (OffsetDateTime::now_utc() + Duration::from_secs(20)).replace_nanosecond(0).unwrap();
    let rule = format!(
        "version = 1\n[[rule]]\nid = \"short\"\nfrom = [\"ot\"]\nto = [\"it\"]\nservices = [\"tcp/502\"]\naction = \"allow\"\nexpires = {}\n",
        expires.format(&Rfc3339).unwrap()
    );
    let file = firewall.lab.directory().join("policies/30-short.toml");
    fs::write(&file, rule).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    let connect =
        |firewall: &Firewall, within| client::connect(firewall.lab.ns(Node::Ot), both(IT, 502)[0], within).unwrap();
    assert!(connect(&firewall, SOON).is_ok());
    firewall.agent.kill().unwrap();
    fs::write(&file, "nonsense\n").unwrap();
    firewall.agent.start_unready().unwrap();
    wait::until_true("the agent answers", SOON, || firewall.agent.fwctl_json(&["status"]).is_ok()).unwrap();
    let in_force = || firewall.agent.fwctl_json(&["rules"]).unwrap().to_string().contains("\"short\"");
    assert!(in_force() && connect(&firewall, SOON).is_ok(), "what was in force still is");
    let before = epoch(&firewall.agent);
    wait::until_true("the rule expires", Duration::from_secs(40), || epoch(&firewall.agent) > before).unwrap();
    assert!(connect(&firewall, NEVER).is_err());
}
