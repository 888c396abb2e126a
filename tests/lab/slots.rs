//! Slots belong to the policy in force: one that is refused gives none away.

use std::fs;
use std::time::Duration;

use fw_common::abi::interface::{Interface, interface_flags};
use fw_testkit::client;
use fw_testkit::lab::{Node, OT};
use fw_testkit::wait;

use crate::attachment::stored_interface;
use crate::firewall::{Firewall, SOON, both};

/// How long an agent may take that is not ready, and so is not waited for.
const START: Duration = Duration::from_secs(30);

/// What the data plane has of a device, if anything.
fn known(firewall: &Firewall, device: &str) -> Option<Interface> {
    let line = firewall.lab.run(Node::Fw, &["ip", "-oneline", "link", "show", device]).unwrap().success().unwrap();
    let (index, _) = line.split_once(':').unwrap();
    stored_interface(firewall, index.parse().unwrap())
        .filter(|interface| interface.flags & interface_flags::PRESENT != 0)
}

#[test]
fn an_interface_that_is_new_with_a_refused_policy_gets_no_slot_of_the_old_one() {
    let Some(mut firewall) = Firewall::up() else { return };
    firewall.lab.run(Node::Fw, &["ip", "link", "add", "spare", "type", "bridge"]).unwrap().success().unwrap();
    let management = known(&firewall, "ens5").unwrap();
    assert_eq!(management.slot, 3);
    firewall.agent.terminate().unwrap();
    let before = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let new = "[[interface]]\nname = \"spare\"\nzones = [\"spare\"]\nmode = \"generic\"\n\n[management]";
    firewall.agent.write_configuration(&before.replace("[management]", new)).unwrap();
    // The zone is missing, so that the policy is refused: slot 3 is still what it was.
    firewall.agent.start_unready().unwrap();
    let waiting = || {
        let status = firewall.agent.fwctl_json(&["status"]).ok()?;
        let spare = status["interfaces"].as_array()?.iter().find(|interface| interface["device"] == "spare")?.clone();
        Some((status["ready"].clone(), spare["problem"].as_str()?.to_owned()))
    };
    let (ready, problem) = wait::until("the agent tells of the interface", START, waiting).unwrap();
    assert_eq!(ready, false);
    assert!(problem.starts_with("spare: the policy in force was not made for this interface"), "{problem}");
    assert_eq!(known(&firewall, "spare"), None);
    assert_eq!(
        known(&firewall, "ens5").map(|interface| (interface.slot, interface.flags)),
        Some((3, management.flags))
    );
    let crosses = || {
        let asked = both(OT, 5000).map(|to| client::udp_exchange(firewall.lab.ns(Node::It), to, SOON));
        asked.into_iter().all(|answer| answer.unwrap().is_ok())
    };
    assert!(crosses(), "what the policy in force decided goes on");

    let zone = "version = 1\n[zones.spare]\nnetworks = [\"10.77.0.0/16\"]\n";
    fs::write(firewall.lab.directory().join("policies/30-spare.toml"), zone).unwrap();
    wait::until_true("the new interface has its slot", START, || {
        known(&firewall, "spare").is_some_and(|interface| interface.slot == 3)
            && known(&firewall, "ens5").is_some_and(|interface| interface.slot == 4)
    })
    .unwrap();
    wait::until_true("packets cross", SOON, crosses).unwrap();
}
