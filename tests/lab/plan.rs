//! `fwctl policy plan`: what it says would be cut is cut when the files are applied, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use fw_testkit::lab::{IT, Node, OT, OT2};
use fw_testkit::{client, wait};
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};
use crate::policy_change::epoch;

/// Addresses and ports of a flow, as its originator sends.
type Ends = (String, u64, String, u64);

fn ends(flow: &Value) -> Ends {
    let text = |key: &str| flow[key].as_str().unwrap_or_else(|| panic!("{flow}")).to_owned();
    (text("src_addr"), flow["src_port"].as_u64().unwrap(), text("dst_addr"), flow["dst_port"].as_u64().unwrap())
}

fn open_flows(firewall: &Firewall) -> BTreeSet<Ends> {
    let flows = firewall.agent.fwctl_json(&["flows", "--zone", "ot"]).unwrap();
    flows["flows"].as_array().unwrap().iter().map(ends).collect()
}

/// The files of the firewall in another directory, with other rules and zones.
pub(crate) fn other_files(firewall: &Firewall, rules: &str, zones: impl Fn(&str) -> String) -> PathBuf {
    let directory = firewall.lab.directory().join("planned");
    fs::create_dir_all(&directory).unwrap();
    let known = fs::read_to_string(firewall.lab.directory().join("policies/10-zones.toml")).unwrap();
    fs::write(directory.join("10-zones.toml"), zones(&known)).unwrap();
    fs::write(directory.join("20-rules.toml"), rules).unwrap();
    directory
}

pub(crate) fn plan(firewall: &Firewall, directory: &Path, code: i32) -> Value {
    let directory = directory.to_str().unwrap();
    let finished = firewall.agent.fwctl(&["policy", "plan", directory, "-o", "json"]).unwrap();
    assert_eq!(finished.status.code(), Some(code), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

/// Puts the files of a directory in force.
fn apply(firewall: &Firewall, from: &Path) {
    let before = epoch(&firewall.agent);
    for name in ["10-zones.toml", "20-rules.toml"] {
        fs::copy(from.join(name), firewall.lab.directory().join("policies").join(name)).unwrap();
    }
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    assert!(epoch(&firewall.agent) > before);
}

/// Connections and datagrams from IT to both hosts of OT: Modbus to three addresses, echoes to four.
struct Traffic {
    streams: Vec<TcpStream>,
    sockets: Vec<UdpSocket>,
}

impl Traffic {
    fn open(firewall: &Firewall) -> Self {
        let it = firewall.lab.ns(Node::It);
        let modbus: [SocketAddr; 3] = [both(OT, 502)[0], both(OT, 502)[1], both(OT2, 502)[0]];
        let echoes = [both(OT, 5000), both(OT2, 5000)].concat();
        let mut traffic = Self {
            streams: modbus.iter().map(|to| client::connect(it, *to, NEVER).unwrap().unwrap()).collect(),
            sockets: echoes.iter().map(|to| client::udp(it, *to, NEVER).unwrap().unwrap()).collect(),
        };
        assert_eq!(traffic.use_all(), 7);
        traffic
    }

    /// Sends a packet on each; how many are answered.
    fn use_all(&mut self) -> usize {
        let streams = self.streams.iter_mut().filter_map(|stream| client::modbus_read(stream, 1, 1).ok()).count();
        let answered = |socket: &&UdpSocket| socket.send(b"still there?").is_ok() && socket.recv(&mut [0; 64]).is_ok();
        streams + self.sockets.iter().filter(answered).count()
    }
}

/// What is changed, the rules and what becomes of the zones' file, and how many flows that cuts.
type Case<'c> = (&'c str, &'c str, &'c dyn Fn(&str) -> String, usize);

#[test]
fn what_a_plan_says_is_cut_and_nothing_else() {
    // A segment of a connection that was cut shall not open it again, when it is allowed again.
    let Some(firewall) = Firewall::with_conntrack("max_flows = 65_536\npick_up = \"never\"") else { return };
    let first = Firewall::first_rules();
    let same = |zones: &str| zones.to_owned();
    let original = other_files(&firewall, first, same);
    let kept = firewall.lab.directory().join("original");
    fs::rename(&original, &kept).unwrap();
    assert_eq!(plan(&firewall, &kept, 0)["changes"], false);

    let without_modbus = first.replacen("\"@modbus\", \"@echo\"", "\"@echo\"", 1);
    let no_ipv6 =
        "\n[[rule]]\nid = \"no-v6\"\nfrom = [\"it\"]\nto = [\"ot\"]\nsource = [\"fd00::/8\"]\naction = \"drop\"\n";
    let in_front = first.replacen("\n[[rule]]\nid = \"lab-web\"", &format!("{no_ipv6}\n[[rule]]\nid = \"lab-web\""), 1);
    let smaller = |zones: &str| zones.replace("10.1.0.0/16", &format!("{}/32", OT.ipv4));
    let cases: [Case<'_>; 3] = [
        ("a service less", &without_modbus, &same, 3),
        ("a rule in front", &in_front, &same, 3),
        ("a network less", first, &smaller, 2),
    ];
    for (what, rules, zones, expected) in cases {
        firewall.agent.fwctl(&["flows", "kill", "--all"]).unwrap().success().unwrap();
        let mut traffic = Traffic::open(&firewall);
        let before = open_flows(&firewall);
        let directory = other_files(&firewall, rules, zones);
        let planned = plan(&firewall, &directory, 10);
        let groups = planned["live"]["cut"].as_array().unwrap();
        let cut: BTreeSet<Ends> =
            groups.iter().flat_map(|group| group["examples"].as_array().unwrap()).map(ends).collect();
        assert_eq!(cut.len(), expected, "{what}: {planned}");
        assert_eq!(groups.iter().map(|group| group["flows"].as_u64().unwrap()).sum::<u64>(), expected as u64);
        assert_eq!(planned["live"]["unsure"], 0);
        assert_eq!(open_flows(&firewall), before, "a plan changes nothing");

        apply(&firewall, &directory);
        assert_eq!(traffic.use_all(), 7 - expected, "{what}");
        let gone: BTreeSet<Ends> = before.difference(&open_flows(&firewall)).cloned().collect();
        assert_eq!(gone, cut, "{what}: {planned}");
        apply(&firewall, &kept);
    }
}

#[test]
fn what_was_denied_and_would_pass_is_told() {
    let Some(firewall) = Firewall::up() else { return };
    let refused = client::connect(firewall.lab.ns(Node::It), both(OT, 80)[0], NEVER).unwrap();
    assert!(refused.is_err());
    let rules = Firewall::first_rules().replacen("\"@modbus\", \"@echo\"", "\"@modbus\", \"@echo\", \"@web\"", 1);
    let directory = other_files(&firewall, &rules, str::to_owned);
    let mut planned = Value::Null;
    wait::until_true("what was denied is remembered", SOON + SOON, || {
        planned = plan(&firewall, &directory, 10);
        planned["live"]["passing"].as_array().is_some_and(|passing| !passing.is_empty())
    })
    .unwrap();
    let passing = &planned["live"]["passing"][0];
    assert_eq!((&passing["old_rule"], &passing["new_rule"]), (&"default".into(), &"lab-ot".into()), "{planned}");
    let example = &passing["examples"][0];
    let (it, ot) = (IT.ipv4.to_string(), OT.ipv4.to_string());
    assert_eq!((&example["src_addr"], &example["dst_addr"]), (&it.into(), &ot.into()));
    let flip = planned["flips"].as_array().unwrap().iter().find(|flip| flip["new"]["rule"] == "lab-ot").unwrap();
    assert_eq!(
        (&flip["old"]["rule"], &flip["classes"][0]["services"]["shown"][0]),
        (&"default".into(), &"tcp/80".into())
    );
    assert_eq!(planned["live"]["cut"], Value::Array(Vec::new()));
    // For people, in 80 columns.
    let text = firewall.agent.fwctl(&["policy", "plan", directory.to_str().unwrap()]).unwrap();
    assert!(text.stdout.contains("Denied lately, and would pass: 1 of "), "{}", text.stdout);
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80 || !line.contains(' ')), "{}", text.stdout);
    // What is not asked for is not told.
    let short = firewall.agent.fwctl(&["policy", "plan", directory.to_str().unwrap(), "--no-flows", "-o", "json"]);
    let short: Value = serde_json::from_str(&short.unwrap().stdout).unwrap();
    assert_eq!(short["live"], Value::Null);
}
