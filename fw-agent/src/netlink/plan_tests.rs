use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::netlink::state::{Address, Mac, Router};

fn link(index: u32, up: bool) -> Link {
    Link { index, name: format!("eth{index}"), mac: Mac::default(), mtu: 1500, up, loopback: false }
}

fn address(ifindex: u32, text: &str) -> Address {
    let net: IpNet = text.parse().unwrap();
    Address { ifindex, addr: net.addr(), prefix_len: net.prefix_len(), avoid: false }
}

fn bound(indices: &[u32]) -> Vec<BoundInterface> {
    indices.iter().map(|index| BoundInterface { key: format!("eth{index}"), link: Some(link(*index, true)) }).collect()
}

fn wanted(destination: &str, slot: usize, via: &str) -> WantedRoute {
    let via = if via == "gateway" { Via::Gateway } else { Via::Address(via.parse().unwrap()) };
    WantedRoute { destination: destination.parse().unwrap(), slot, via }
}

fn route(destination: &str, ifindex: u32, via: Option<&str>) -> Route {
    Route { destination: destination.parse().unwrap(), ifindex, via: via.map(|via| via.parse().unwrap()) }
}

/// Two interfaces, each with IPv4 and IPv6, and a router that advertises itself on the first.
fn observed() -> Observed {
    Observed {
        addresses: vec![
            address(1, "10.0.1.10/24"),
            address(1, "fd00:0:0:1::10/64"),
            address(1, "fe80::a/64"),
            address(2, "10.1.1.10/24"),
        ],
        routers: vec![Router { ifindex: 1, metric: 1024, addr: "fe80::1".parse().unwrap() }],
        rules: Family::ALL.into(),
        ..Observed::default()
    }
}

/// What the kernel has after it has done what the plan says: a new route takes the place of one old one.
fn apply(plan: &RoutePlan, observed: &Observed) -> Observed {
    let mut routes = observed.routes.clone();
    for route in &plan.set {
        if let Some(position) = routes.iter().position(|old| old.destination == route.destination) {
            routes.remove(position);
        }
        routes.push(*route);
    }
    routes.retain(|route| !plan.remove.contains(route));
    routes.sort();
    Observed { routes, rules: Family::ALL.into(), ..observed.clone() }
}

#[test]
fn subnets_are_on_link_and_configured_routes_follow_them() {
    let wanted = [wanted("192.168.0.0/16", 0, "gateway"), wanted("fd00:0:0:a00::/56", 0, "gateway")];
    let plan = plan(&wanted, &bound(&[1, 2]), &Observed { rules: BTreeSet::new(), ..observed() });
    assert_eq!(
        plan.set,
        [
            route("10.0.1.0/24", 1, None),
            route("10.1.1.0/24", 2, None),
            route("fd00:0:0:1::/64", 1, None),
            route("192.168.0.0/16", 1, Some("10.0.1.1")),
            route("fd00:0:0:a00::/56", 1, Some("fe80::1")),
        ]
    );
    assert_eq!(plan.rules, Family::ALL);
    assert_eq!(plan.next_hops.len(), 2);
    assert!(plan.unresolved.is_empty() && plan.remove.is_empty());
}

#[test]
fn a_moved_next_hop_is_replaced_and_not_removed_first() {
    let mut observed = observed();
    observed.routes = vec![route("192.168.0.0/16", 1, Some("10.0.1.99"))];
    let plan = plan(&[wanted("192.168.0.0/16", 0, "gateway")], &bound(&[1, 2]), &observed);
    assert!(plan.set.contains(&route("192.168.0.0/16", 1, Some("10.0.1.1"))));
    assert!(plan.remove.is_empty(), "{:?}", plan.remove);
}

#[test]
fn what_nothing_asks_for_any_more_is_removed() {
    let mut observed = observed();
    observed.routes = vec![route("172.16.0.0/12", 2, Some("10.1.1.1"))];
    assert_eq!(plan(&[], &bound(&[1, 2]), &observed).remove, observed.routes);
}

#[test]
fn a_router_that_is_no_longer_heard_keeps_its_route() {
    let mut observed = observed();
    observed.routers.clear();
    let known = route("fd00:0:0:a00::/56", 1, Some("fe80::1"));
    let wanted = [wanted("fd00:0:0:a00::/56", 0, "gateway")];
    let without = plan(&wanted, &bound(&[1, 2]), &observed);
    assert_eq!(without.unresolved[0].awaits_router, Some(1));
    observed.routes = vec![known];
    let with = plan(&wanted, &bound(&[1, 2]), &observed);
    assert_eq!((with.kept, with.unresolved, with.remove), (vec![known], vec![], vec![]));
}

#[test]
fn the_reason_for_a_missing_route_is_told() {
    let interfaces = vec![
        BoundInterface { key: "gone".to_owned(), link: None },
        BoundInterface { key: "down".to_owned(), link: Some(link(1, false)) },
        BoundInterface { key: "eth2".to_owned(), link: Some(link(2, true)) },
    ];
    let mut observed = observed();
    observed.addresses.push(address(2, "10.2.1.1/24"));
    let wanted = [
        wanted("192.168.1.0/24", 0, "gateway"),
        wanted("192.168.2.0/24", 1, "gateway"),
        wanted("192.168.3.0/24", 2, "10.9.9.9"),
        wanted("192.168.4.0/24", 2, "10.1.1.10"),
        wanted("10.1.1.0/24", 2, "gateway"),
        wanted("fd00:1::/64", 2, "gateway"),
    ];
    let reasons: Vec<_> =
        plan(&wanted, &interfaces, &observed).unresolved.into_iter().map(|route| route.reason).collect();
    assert_eq!(
        reasons,
        [
            "10.1.1.0/24 is a subnet of interface 2",
            "the interface has no device",
            "the interface is down",
            "the next hop 10.9.9.9 is in no subnet of eth2",
            "the next hop 10.1.1.10 is the firewall's own address",
            "no router has advertised itself on the interface",
        ]
    );
}

fn any_route() -> impl Strategy<Value = Route> {
    (0u8..6, 1u32..4, proptest::option::of(1u8..4)).prop_map(|(net, ifindex, via)| {
        let via = via.map(|host| format!("10.{ifindex}.1.{host}"));
        route(&format!("192.168.{net}.0/24"), ifindex, via.as_deref())
    })
}

fn any_wanted() -> impl Strategy<Value = Vec<WantedRoute>> {
    let one = (0u8..6, 0usize..3, proptest::option::of(1u8..4));
    proptest::collection::vec(one, 0..6).prop_map(|routes| {
        let unique: BTreeMap<u8, WantedRoute> = routes
            .into_iter()
            .map(|(net, slot, host)| {
                let via = host.map_or_else(|| "gateway".to_owned(), |host| format!("10.{}.1.{host}", slot + 1));
                (net, wanted(&format!("192.168.{net}.0/24"), slot, &via))
            })
            .collect();
        unique.into_values().collect()
    })
}

proptest! {
    #[test]
    fn one_round_settles(wanted in any_wanted(), routes in proptest::collection::vec(any_route(), 0..10)) {
        let addresses = (1..4).map(|index| address(index, &format!("10.{index}.1.10/24"))).collect();
        let mut routes = routes;
        routes.sort();
        routes.dedup();
        let observed = Observed { addresses, routes, ..Observed::default() };
        let interfaces = bound(&[1, 2, 3]);
        let first = plan(&wanted, &interfaces, &observed);
        let after = apply(&first, &observed);
        let second = plan(&wanted, &interfaces, &after);
        prop_assert!(second.is_settled(), "{second:?}");
        prop_assert_eq!(after.routes.len(), 3 + wanted.len());
        for route in &wanted {
            prop_assert_eq!(after.routes.iter().filter(|actual| actual.destination == route.destination).count(), 1);
        }
    }
}
