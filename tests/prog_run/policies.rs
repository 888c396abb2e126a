//! The classifier in the kernel against the same tables on the host.

use std::net::{IpAddr, Ipv4Addr};

use fw_agent::dataplane::Dataplane as _;
use fw_common::abi::policy::Action;
use fw_common::policy::Query;
use fw_testkit::packet::Packet;

use crate::rig::{IT, OT, Outcome, POLICY, Rig, compile};

const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

/// A policy in which many rules share one pair of address classes.
fn long_policy(rules: u16) -> String {
    let mut policy = POLICY[..POLICY.find("[[rule]]").unwrap()].to_owned();
    for number in 0..rules {
        policy.push_str(&format!(
            "[[rule]]\nid = \"rule-{number}\"\nfrom = [\"ot\"]\nto = [\"it\"]\nservices = [\"udp/{}\"]\naction = \"{}\"\n",
            1000 + number,
            if number % 3 == 0 { "drop" } else { "allow" },
        ));
    }
    policy
}

#[test]
fn long_lists_are_searched_to_their_end() {
    let Some(rig) = Rig::new() else { return };
    rig.apply(&long_policy(3000));
    for number in [0, 1, 2, 3, 255, 256, 1000, 2997, 2998, 2999, 3000] {
        let outcome = rig.send(OT, Packet::udp(Ipv4Addr::new(10, 1, 1, 50), 1, IT_HOST, 1000 + number));
        let allowed = number < 3000 && number % 3 != 0;
        assert_eq!(matches!(outcome, Outcome::Redirected(_)), allowed, "rule {number}: {outcome:?}");
    }
}

#[test]
fn the_kernel_and_the_host_agree() {
    let Some(rig) = Rig::new() else { return };
    let policy = format!(
        "{POLICY}
[addresses]
some = [\"10.1.1.0/24\", \"!10.1.1.64/26\", \"10.1.2.7\", \"10.1.3.9-10.1.3.77\"]
[[rule]]
id = \"sets\"
from = [\"ot\"]
to = [\"it\"]
source = [\"@some\"]
destination = [\"10.2.1.0/25\", \"!10.2.1.16/28\"]
services = [\"udp/2000-2010\", \"!udp/2005\"]
action = \"allow\"
"
    );
    let compiled = compile(&policy);
    rig.dataplane.apply_policy(&compiled).unwrap();
    rig.ip("neighbour add 10.1.1.1 lladdr 02:00:00:00:01:01 dev ot");
    rig.ip("route add 10.1.0.0/16 via 10.1.1.1");
    rig.ip("route add 10.2.0.0/16 via 10.2.1.20");
    let zone = |slot, addr: IpAddr| compiled.tables.zone(slot, &addr.into());
    let mut seen = [0, 0];
    for source in [[1, 1], [1, 63], [1, 64], [1, 127], [1, 128], [2, 6], [2, 7], [3, 8], [3, 9], [3, 77], [3, 78]] {
        for destination in [[1, 15], [1, 20], [1, 31], [1, 32], [1, 127], [1, 128], [2, 1]] {
            for port in [1999, 2000, 2004, 2005, 2006, 2010, 2011, 53] {
                let src: IpAddr = Ipv4Addr::new(10, 1, source[0], source[1]).into();
                let dst: IpAddr = Ipv4Addr::new(10, 2, destination[0], destination[1]).into();
                let query = Query {
                    src_addr: src.into(),
                    dst_addr: dst.into(),
                    from_zone: zone(u32::try_from(OT).unwrap(), src),
                    to_zone: zone(u32::try_from(IT).unwrap(), dst),
                    protocol: 17,
                    src_port: 7,
                    dst_port: port,
                };
                let expected = compiled.tables.classify(&query).action;
                let outcome = rig.send(OT, Packet::udp(src, 7, dst, port));
                let allowed = matches!(outcome, Outcome::Redirected(_));
                assert_eq!(allowed, expected == Action::Allow, "{src} > {dst}:{port}: {expected:?}, {outcome:?}");
                seen[usize::from(allowed)] += 1;
            }
        }
    }
    assert!(seen[0] > 100 && seen[1] > 100, "both verdicts occur: {seen:?}");
}

#[test]
fn handles_outlive_the_policy() {
    let Some(rig) = Rig::new() else { return };
    let handle = |id: &str| {
        rig.dataplane.rule_names().unwrap().into_iter().find(|(_, name)| name == id).map(|(handle, _)| handle)
    };
    let before = handle("no-81").unwrap();
    let first = rig.apply(&long_policy(3));
    let second = rig.apply(POLICY);
    assert_eq!(second, first + 1);
    assert_eq!(handle("no-81"), Some(before));
    assert!(handle("rule-1").is_some(), "flows may still name it");
}
