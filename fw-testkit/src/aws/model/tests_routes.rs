//! Routes, and what makes them black holes.

use std::time::Duration;

use super::*;
use crate::aws::{ACCOUNT, Reference};

const OTHER: &str = "999900001111";

fn at(milliseconds: u64) -> Time {
    Duration::from_millis(milliseconds)
}

fn scene() -> (World, Reference, String) {
    let (mut world, reference) = Reference::new(Settings::default());
    let instance = reference.launch_one(&mut world, Time::ZERO, "c5.4xlarge").unwrap();
    world.settle(at(1000));
    (world, reference, instance)
}

fn to(text: &str) -> Destination {
    text.parse().unwrap()
}

fn interface(id: &str) -> Target {
    Target::Interface(id.to_owned())
}

#[test]
fn a_route_is_a_black_hole_until_its_interface_is_on_a_running_instance() {
    let (mut world, reference, instance) = scene();
    let state = |world: &World| {
        let ot = &world.route_tables[&reference.route_tables[1]].routes[&to("0.0.0.0/0")];
        let local = &world.local_gateway_tables[&reference.local_gateway_table];
        (world.route_state(ot), world.local_route_state(&local.routes[&to("10.1.0.0/16")]))
    };
    assert_eq!(state(&world), ("blackhole", "blackhole"));
    for (index, eni) in [&reference.ot, &reference.exposed].into_iter().enumerate() {
        let device_index = u32::try_from(index).unwrap() + 1;
        let attach = Attach { interface: eni, instance: &instance, device_index, card: 0, caller: ACCOUNT };
        world.attach(at(1000), attach).unwrap();
    }
    assert_eq!(state(&world), ("blackhole", "blackhole"));
    world.settle(at(2000));
    assert_eq!(state(&world), ("active", "active"));
    world.terminate(at(2000), &instance).unwrap();
    assert_eq!(state(&world), ("blackhole", "blackhole"));
}

#[test]
fn routes_are_made_replaced_and_taken_away() {
    let (mut world, reference, _) = scene();
    let [_, table, ..] = &reference.route_tables;
    let code = |result: Result<(), ApiError>| result.unwrap_err().code.into_owned();
    let ot = || interface(&reference.ot);
    world.create_route(table, to("10.2.0.0/16"), ot(), ACCOUNT).unwrap();
    assert_eq!(code(world.create_route(table, to("10.2.0.0/16"), ot(), ACCOUNT)), "RouteAlreadyExists");
    // Host bits go.
    assert_eq!(code(world.create_route(table, to("10.2.3.4/16"), ot(), ACCOUNT)), "RouteAlreadyExists");
    let of_other_vpc = world.create_route(table, to("10.3.0.0/16"), interface(&reference.it), ACCOUNT);
    assert_eq!(code(of_other_vpc), "InvalidParameterValue");
    let missing = interface("eni-01234567890123456");
    assert_eq!(
        code(world.create_route(table, to("10.3.0.0/16"), missing, ACCOUNT)),
        "InvalidNetworkInterfaceID.NotFound"
    );
    assert_eq!(code(world.create_route(table, to("10.3.0.0/16"), ot(), OTHER)), "InvalidRouteTableID.NotFound");
    let gateway = Target::Gateway("igw-1".to_owned());
    world.replace_route(table, &to("10.2.0.0/16"), gateway.clone(), ACCOUNT).unwrap();
    assert_eq!(world.route_tables[table].routes[&to("10.2.0.0/16")].target, gateway);
    assert_eq!(code(world.replace_route(table, &to("10.9.0.0/16"), ot(), ACCOUNT)), "InvalidParameterValue");
    world.delete_route(table, &to("10.2.0.0/16"), ACCOUNT).unwrap();
    assert_eq!(code(world.delete_route(table, &to("10.2.0.0/16"), ACCOUNT)), "InvalidRoute.NotFound");
    assert_eq!(code(world.delete_route(table, &to("10.1.0.0/16"), ACCOUNT)), "InvalidParameterValue");
    // That of the VPC itself may lead elsewhere, and back.
    world.replace_route(table, &to("10.1.0.0/16"), ot(), ACCOUNT).unwrap();
    world.replace_route(table, &to("10.1.0.0/16"), Target::Local, ACCOUNT).unwrap();
    assert_eq!(code(world.replace_route(table, &to("0.0.0.0/0"), Target::Local, ACCOUNT)), "InvalidParameterValue");
}

#[test]
fn a_prefix_list_counts_as_many_routes_as_it_may_have_networks() {
    let (mut world, reference, _) = scene();
    world.settings.routes_per_table = 10;
    let [_, table, ..] = &reference.route_tables;
    let list = world.add_prefix_list(ACCOUNT, "plants", 9, &["10.9.0.0/16".parse().unwrap()]);
    world.create_route(table, to(&list), interface(&reference.ot), ACCOUNT).unwrap();
    let over = world.create_route(table, to("10.8.0.0/16"), interface(&reference.ot), ACCOUNT);
    assert_eq!(over.unwrap_err().code, "RouteLimitExceeded");
    let missing = world.create_route(table, to("pl-0"), interface(&reference.ot), ACCOUNT);
    assert_eq!(missing.unwrap_err().code, "InvalidPrefixListId.NotFound");
}

#[test]
fn local_gateway_routes_are_limited_static_ones_win_and_guests_only_look() {
    let (mut world, reference, _) = scene();
    let table = &reference.local_gateway_table;
    let code = |result: Result<(), ApiError>| result.unwrap_err().code.into_owned();
    let exposed = || LocalTarget::Interface(reference.exposed.clone());
    let effective = |world: &World| world.local_gateway_tables[table].effective()[&to("0.0.0.0/0")].clone();
    assert!(!effective(&world).is_static);
    world.set_local_route(table, &to("0.0.0.0/0"), exposed(), false, ACCOUNT).unwrap();
    assert_eq!(effective(&world), LocalRoute { target: exposed(), is_static: true });
    world.delete_local_route(table, &to("0.0.0.0/0"), ACCOUNT).unwrap();
    assert!(!effective(&world).is_static);

    let six = world.set_local_route(table, &to("fd00::/8"), exposed(), false, ACCOUNT);
    assert_eq!(code(six), "InvalidParameterValue");
    let elsewhere = LocalTarget::Interface(reference.it.clone());
    assert_eq!(
        code(world.set_local_route(table, &to("10.7.0.0/16"), elsewhere, false, ACCOUNT)),
        "InvalidParameterValue"
    );
    assert_eq!(
        code(world.set_local_route(table, &to("10.7.0.0/16"), exposed(), true, ACCOUNT)),
        "InvalidRoute.NotFound"
    );
    assert_eq!(code(world.set_local_route(table, &to("10.1.0.0/16"), exposed(), false, ACCOUNT)), "RouteAlreadyExists");

    assert_eq!(
        code(world.delete_local_route(table, &to("10.1.0.0/16"), OTHER)),
        "InvalidLocalGatewayRouteTableID.NotFound"
    );
    world.local_gateway_tables.get_mut(table).unwrap().shared_with.insert(OTHER.to_owned());
    assert_eq!(code(world.delete_local_route(table, &to("10.1.0.0/16"), OTHER)), "UnauthorizedOperation");
    assert!(world.local_gateway_table(table, OTHER).is_ok());

    for number in 0..98 {
        world.set_local_route(table, &to(&format!("10.100.{number}.0/24")), exposed(), false, ACCOUNT).unwrap();
    }
    let over = world.set_local_route(table, &to("10.101.0.0/16"), exposed(), false, ACCOUNT);
    assert_eq!(code(over), "RouteLimitExceeded");
    // One that there is may lead to another interface all the same.
    world.set_local_route(table, &to("10.1.0.0/16"), exposed(), true, ACCOUNT).unwrap();

    world.local_gateway_tables.get_mut(table).unwrap().mode = LocalGatewayMode::CustomerOwnedIp;
    let translated = world.set_local_route(table, &to("10.1.0.0/16"), exposed(), true, ACCOUNT);
    assert_eq!(code(translated), "InvalidParameterValue");
}
