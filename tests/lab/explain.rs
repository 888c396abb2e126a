//! `fwctl policy explain --live`: the running firewall says what would become of a packet.

use fw_testkit::client;
use fw_testkit::lab::{IT, Node, OT};

use crate::firewall::{Firewall, SOON, both};

#[test]
fn the_running_firewall_says_what_would_become_of_a_packet_and_does_nothing() {
    let Some(firewall) = Firewall::up() else { return };
    let agent = &firewall.agent;
    for (it, ot) in both(IT, 0).into_iter().zip(both(OT, 502)) {
        let (src, dst) = (it.ip().to_string(), ot.ip().to_string());
        let live = |service: &str, from: &str| {
            let arguments = ["policy", "explain", "--live", "--from", from, "--src", &src, "--dst", &dst];
            agent.fwctl_json(&[&arguments[..], &["--service", service, "--src-port", "45000"]].concat()).unwrap()
        };
        let before = (agent.fwctl_json(&["drops"]).unwrap(), agent.fwctl_json(&["rules"]).unwrap());
        let allowed = live("tcp/502", "it");
        assert_eq!(allowed["schema"], "fwctl.explain/1");
        assert_eq!((&allowed["rule"], &allowed["to_zone"]), (&"lab-ot".into(), &"ot".into()), "{allowed}");
        assert!(allowed["outcome"] == "forward" || allowed["outcome"] == "hand_over", "{allowed}");
        assert_eq!(allowed["opens"], "syn-sent");
        assert_eq!(allowed["place"].as_str().unwrap().split(':').next(), Some("20-rules.toml"));
        let denied = live("tcp/503", "it");
        assert_eq!((&denied["outcome"], &denied["reason"]), (&"drop".into(), &"policy".into()), "{denied}");
        let spoofed = live("tcp/502", "ot");
        assert_eq!((&spoofed["reason"], &spoofed["from_zone"]), (&"spoofed".into(), &serde_json::Value::Null));
        assert_eq!(agent.matching_flows(&["--port", "45000"]).unwrap(), 0);
        assert_eq!((agent.fwctl_json(&["drops"]).unwrap(), agent.fwctl_json(&["rules"]).unwrap()), before);
        // What it foretells happens.
        let stream = client::connect(firewall.lab.ns(Node::It), ot, SOON).unwrap();
        assert!(stream.is_ok(), "{dst}");
    }
    let text = agent
        .fwctl(&[
            "policy",
            "explain",
            "--live",
            "--from",
            "it",
            "--src",
            "10.2.1.5",
            "--dst",
            "10.1.1.50",
            "--service",
            "tcp/502",
        ])
        .unwrap();
    assert!(text.status.success() && text.stdout.contains("verdict"), "{text:?}");
    let nowhere = agent.fwctl(&[
        "policy",
        "explain",
        "--live",
        "--from",
        "moon",
        "--src",
        "10.2.1.5",
        "--dst",
        "10.1.1.50",
        "--service",
        "tcp/1",
    ]);
    let nowhere = nowhere.unwrap();
    assert!(
        nowhere.status.code() == Some(2) && nowhere.stderr.contains("no interface is in zone `moon`"),
        "{nowhere:?}"
    );
}
