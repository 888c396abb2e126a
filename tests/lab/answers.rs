//! What the firewall answers as a router: a TTL that runs out, a destination without a route. And the errors of routers whose
//! own addresses are in no zone, which must pass because they belong to a flow.

use std::net::IpAddr;

use fw_testkit::lab::{IT, Lab, Node, OT2, WS};

use crate::firewall::Firewall;

fn traceroute(lab: &Lab, from: Node, to: IpAddr) -> String {
    let line = ["traceroute", "-n", "-q1", "-w2", "-m10", &to.to_string()];
    lab.run(from, &line).unwrap().success().unwrap()
}

#[test]
fn the_firewall_is_a_hop_of_a_traceroute() {
    let Some(firewall) = Firewall::up() else { return };
    let cases: [(Node, IpAddr, &[&str]); 4] = [
        (Node::Ws, IT.ipv4.into(), &["172.31.255.2", "10.0.1.10"]),
        (Node::Ws, IT.ipv6.into(), &["fd99::2", "fd00:0:0:1::10"]),
        (Node::It, OT2.ipv4.into(), &["10.2.1.10", "10.1.1.1"]),
        (Node::It, OT2.ipv6.into(), &["fd00:0:0:201::10", "fd00:0:0:101::1"]),
    ];
    for (from, to, hops) in cases {
        let route = traceroute(&firewall.lab, from, to);
        let shown = |hop: &str| route.lines().skip(1).any(|line| line.split_whitespace().any(|word| word == hop));
        assert!(hops.iter().all(|hop| shown(hop)), "{from} to {to}, hops {hops:?}: {route}");
        assert!(shown(&to.to_string()), "{from} does not arrive at {to}: {route}");
    }
    assert!(firewall.dropped("ttl_expired") >= 4);
}

#[test]
fn errors_of_a_router_in_no_zone_pass_with_their_flow() {
    let Some(firewall) = Firewall::up() else { return };
    for (to, hops) in
        [(IpAddr::from(WS.ipv4), ["172.31.254.1", "172.31.255.5"]), (WS.ipv6.into(), ["fd98::1", "fd99:0:0:1::1"])]
    {
        let route = traceroute(&firewall.lab, Node::It, to);
        assert!(hops.iter().all(|hop| route.contains(hop)), "{hops:?} in {route}");
    }
}

#[test]
fn a_destination_without_a_route_is_answered() {
    let Some(firewall) = Firewall::up() else { return };
    let before = firewall.dropped("no_route");
    let ping = firewall.lab.run(Node::It, &["ping", "-n", "-c1", "-W2", "172.20.0.1"]).unwrap();
    assert!(ping.stdout.contains("From 10.2.1.10 icmp_seq=1 Destination Net Unreachable"), "{}", ping.stdout);
    assert!(firewall.dropped("no_route") > before);
}
