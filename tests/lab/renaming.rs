//! A device gets another name, and is another entry of `agent.toml` by that.

use std::fs;
use std::time::Duration;

use fw_testkit::lab::{ENI_OT, Node, mac_of, mac_text};
use fw_testkit::traffic::NumberedStream;
use fw_testkit::wait;

use crate::attachment::{echo_works, knocking};
use crate::firewall::{Firewall, SOON};

/// How long an agent may take that is not ready, and so is not waited for.
const START: Duration = Duration::from_secs(30);

#[test]
fn nothing_gets_to_the_host_while_a_device_becomes_another_entry_s() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let mac = mac_text(mac_of(ENI_OT.ipv4));
    let usual = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let by_mac = format!("[[interface]]\nname = \"moved\"\nzones = [\"spare\"]\n\n[[interface]]\nmac = \"{mac}\"");
    let config = usual
        .replace("[[interface]]\nname = \"ens7\"", &by_mac)
        .replace("interface = \"ens7\"", &format!("interface = \"{mac}\""));
    firewall.agent.write_configuration(&config).unwrap();
    let zone = "version = 1\n[zones.spare]\nnetworks = [\"10.77.0.0/16\"]\n";
    fs::write(firewall.lab.directory().join("policies/30-spare.toml"), zone).unwrap();
    // There is no device of the first name.
    firewall.agent.start_unready().unwrap();
    wait::until_true("packets cross", START, || echo_works(&firewall.lab)).unwrap();

    let (streams, listening) = knocking(&firewall);
    let is_the_device_of = |key: &str| {
        let status = firewall.agent.fwctl_json(&["status"]).unwrap();
        let interfaces = status["interfaces"].as_array().unwrap();
        interfaces.iter().any(|interface| {
            interface["interface"] == key && interface["device"].is_string() && interface["problem"].is_null()
        })
    };
    for (from, to, key) in [("ens7", "moved", "moved"), ("moved", "ens7", mac.as_str())].repeat(4) {
        firewall.lab.run(Node::Fw, &["ip", "link", "set", from, "name", to]).unwrap().success().unwrap();
        wait::until_true("it is the other entry's", SOON, || is_the_device_of(key)).unwrap();
    }
    let sent: u64 = streams.iter().map(NumberedStream::sent).sum();
    drop(streams);
    for socket in listening {
        assert!(socket.recv(&mut [0; 64]).is_err(), "one of {sent} came through");
    }
    wait::until_true("packets cross", SOON, || echo_works(&firewall.lab)).unwrap();
    let log = firewall.agent.log();
    assert!(log.contains("the device is another interface's now") && !log.contains("has vanished"), "{log}");
}
