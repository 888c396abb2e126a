//! Nonsense in `agent.toml`, in a policy and on the socket: an error that says where, and the firewall goes on as it was.

use std::fs;
use std::io::{Read as _, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fw_testkit::lab::{IT, Node};
use fw_testkit::{client, wait};
use rustix::process::Signal;

use crate::firewall::{Firewall, NEVER, SOON, both};
use crate::policy_change::epoch;

fn web_works(firewall: &Firewall) -> bool {
    client::http_get(firewall.lab.ns(Node::Ws), both(IT, 80)[0], "/", SOON).unwrap().is_ok()
}

#[test]
fn an_agent_with_a_broken_configuration_does_not_start_and_attaches_nothing() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let good = fs::read_to_string(firewall.agent.configuration()).unwrap();
    for (broken, line) in [(good.replacen("zones", "zoness", 1), 3), (good.replacen("\"ens6\"", "\"ens6", 1), 2)] {
        firewall.agent.write_configuration(&broken).unwrap();
        firewall.agent.start_unready().unwrap();
        let status = wait::until("the agent ends", SOON, || firewall.agent.ended()).unwrap();
        assert!(!status.success());
        let log = firewall.agent.log();
        assert!(log.contains(&format!("agent.toml:{line}:")), "no place of the mistake in: {log}");
    }
    let links = firewall.lab.run(Node::Fw, &["ip", "-details", "link", "show"]).unwrap().success().unwrap();
    assert!(!links.contains("prog/xdp"), "{links}");
    let ruleset = firewall.lab.run(Node::Fw, &["nft", "list", "ruleset"]).unwrap().success().unwrap();
    assert!(ruleset.contains("policy drop"), "the forward chain stands all the same: {ruleset}");
}

#[test]
fn a_broken_configuration_at_a_reload_leaves_the_old_one_in_force() {
    let Some(mut firewall) = Firewall::up() else { return };
    firewall.agent.write_configuration("[[interface]]\nname = 7\n").unwrap();
    firewall.agent.signal(Signal::HUP).unwrap();
    wait::until_true("the mistake is reported", SOON, || firewall.agent.log().contains("agent.toml:2:")).unwrap();
    assert!(firewall.agent.ended().is_none());
    assert!(web_works(&firewall));
}

#[test]
fn a_broken_policy_leaves_the_old_one_in_force() {
    let Some(firewall) = Firewall::up() else { return };
    let before = epoch(&firewall.agent);
    for broken in ["version = 1\n[[rule]]\nid = \"x\"\nfrom = [\"nowhere\"]\n", "\u{0}\u{1}not toml at all [[[", ""] {
        let reports = firewall.agent.log().matches("20-rules.toml").count();
        fs::write(firewall.rules_file(), broken).unwrap();
        wait::until_true("the mistake is reported", SOON, || {
            firewall.agent.log().matches("20-rules.toml").count() > reports
        })
        .unwrap();
        assert_eq!(epoch(&firewall.agent), before);
        assert!(web_works(&firewall));
        assert!(client::connect(firewall.lab.ns(Node::Ot), both(IT, 80)[0], NEVER).unwrap().is_err());
    }
}

#[test]
fn nonsense_on_the_socket_disturbs_nobody() {
    let Some(mut firewall) = Firewall::up() else { return };
    let unfinished = UnixStream::connect(firewall.agent.socket()).unwrap();
    for nonsense in [&b"\0\xff\xfe garbage"[..], b"{\"unfinished\": ", &[b'A'; 1 << 20], b"GET /\r\n\r\n", b""] {
        let mut socket = UnixStream::connect(firewall.agent.socket()).unwrap();
        // The agent may hang up before it has read everything.
        let _hung_up = socket.write_all(nonsense);
    }
    firewall.agent.fwctl(&["status"]).unwrap().success().unwrap();
    drop(unfinished);
    assert!(firewall.agent.ended().is_none());
    assert!(web_works(&firewall));
}

#[test]
fn clients_that_ask_nothing_do_not_delay_fwctl() {
    let Some(firewall) = Firewall::up() else { return };
    let mut idle: Vec<_> = (0..40).map(|_| UnixStream::connect(firewall.agent.socket()).unwrap()).collect();
    let began = Instant::now();
    firewall.agent.fwctl(&["drops"]).unwrap().success().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    let mut refusal = String::new();
    idle[0].set_read_timeout(Some(SOON)).unwrap();
    idle[0].read_to_string(&mut refusal).unwrap();
    assert!(refusal.contains("too many connections wait"), "{refusal}");
}
