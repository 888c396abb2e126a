//! What others break while the agent runs, and the agent puts back.

use std::time::Duration;

use fw_testkit::client;
use fw_testkit::lab::{Lab, Node, OT};
use fw_testkit::wait;

use crate::firewall::{Firewall, both};

/// How long a repair may take: the agent looks every few seconds.
const REPAIR: Duration = Duration::from_secs(20);

fn echo_works(lab: &Lab) -> bool {
    both(OT, 5000)
        .iter()
        .all(|to| client::udp_exchange(lab.ns(Node::It), *to, Duration::from_millis(300)).unwrap().is_ok())
}

fn run(lab: &Lab, command: &[&str]) -> String {
    lab.run(Node::Fw, command).unwrap().success().unwrap()
}

#[test]
fn removed_pins_are_put_back() {
    let Some(mut firewall) = Firewall::up() else { return };
    assert!(echo_works(&firewall.lab));
    let pins = firewall.agent.pins().to_owned();
    std::fs::remove_dir_all(&pins).unwrap();
    wait::until_true("the program is on the interfaces again", REPAIR, || {
        pins.join("links").read_dir().is_ok_and(|links| links.count() >= 6) && echo_works(&firewall.lab)
    })
    .unwrap();
    // The maps are pinned again, too: a new agent finds the flows and the policy.
    let epoch = firewall.agent.fwctl_json(&["status"]).unwrap()["policy"]["epoch"].clone();
    firewall.agent.kill().unwrap();
    assert!(echo_works(&firewall.lab), "without the agent");
    firewall.agent.start().unwrap();
    assert_eq!(firewall.agent.fwctl_json(&["status"]).unwrap()["policy"]["epoch"], epoch, "adopted");
}

#[test]
fn a_flushed_forward_chain_is_put_back() {
    let Some(firewall) = Firewall::up() else { return };
    run(&firewall.lab, &["nft", "flush", "ruleset"]);
    wait::until_true("the forward chain stands", REPAIR, || {
        run(&firewall.lab, &["nft", "list", "ruleset"]).contains("policy drop")
    })
    .unwrap();
}

#[test]
fn the_way_through_the_kernel_is_put_back() {
    let Some(firewall) = Firewall::up() else { return };
    for breakage in [&["ip", "link", "set", "ofw-in", "down"][..], &["ip", "link", "del", "ofw-out"]] {
        assert!(echo_works(&firewall.lab));
        run(&firewall.lab, breakage);
        wait::until_true("packets without a next hop get through", REPAIR, || {
            run(&firewall.lab, &["ip", "neigh", "flush", "dev", "ens7"]);
            echo_works(&firewall.lab)
        })
        .unwrap();
    }
}

#[test]
fn forwarding_is_turned_on_again() {
    let Some(firewall) = Firewall::up() else { return };
    firewall.lab.ns(Node::Fw).set_sysctl("ipv4/ip_forward", "0").unwrap();
    wait::until_true("the kernel forwards", REPAIR, || {
        run(&firewall.lab, &["cat", "/proc/sys/net/ipv4/ip_forward"]).trim() == "1"
    })
    .unwrap();
}
